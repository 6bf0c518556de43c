"""Fetching published weights: resumable, verified, kept in the data folder.

A download grows in a file ending in ``.part`` next to its destination and is
renamed only after its size and checksum are right, so a file under its final
name is always whole. What stops half-way goes on from there the next time.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from napari_qmedsam.checkpoints.catalogue import CheckpointEntry, entry_of
from napari_qmedsam.checkpoints.transfer import (
    Broken,
    Progress,
    Transfer,
    Unusable,
    run_until,
    stored_bytes,
)
from napari_qmedsam.disk import move_into_place
from napari_qmedsam.errors import BadCheckpoint, DownloadFailed

logger = logging.getLogger(__name__)

HOME_VARIABLE = "QMEDSAM_HOME"
"""Environment variable that moves the data folder."""

ATTEMPTS = 3
"""Tries per address when a connection breaks; each goes on where it stopped."""


def data_folder() -> Path:
    """Return the folder for downloads and caches, which may not exist yet.

    ``$QMEDSAM_HOME`` if it is set, else the user's data folder as the
    operating system has it.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-qmedsam", appauthor=False)


def weights_path(entry: CheckpointEntry) -> Path:
    """Return where the weights of `entry` are, or will be once fetched."""
    if entry.is_embedded:
        return Path(__file__).with_name("weights") / entry.filename
    return data_folder() / "weights" / entry.filename


def is_fetched(entry: CheckpointEntry) -> bool:
    """Tell whether the weights of `entry` are on this machine.

    A file of another size than the published one does not count.
    """
    path = weights_path(entry)
    if not path.is_file():
        return False
    return entry.size_bytes is None or path.stat().st_size == entry.size_bytes


def fetch(
    name: str | CheckpointEntry,
    *,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Path:
    """Return the weights file called `name`, downloading it if needed.

    Parameters
    ----------
    name : str or CheckpointEntry
        Name in the catalogue, or an entry of your own.
    progress : callable, optional
        Called with (bytes so far, bytes in all or None).
    should_cancel : callable, optional
        Asked ten times a second; True stops the download and keeps its part.

    Returns
    -------
    Path
        The whole, verified file.

    Raises
    ------
    UnknownModel
        If no checkpoint has that name.
    BadCheckpoint
        If weights that come with the package are not in it.
    DownloadFailed
        If no address gave the file; the message says how to get it by hand.
    Cancelled
        If `should_cancel` said so.
    """
    entry = entry_of(name) if isinstance(name, str) else name
    destination = weights_path(entry)
    if is_fetched(entry):
        return destination
    if entry.is_embedded:
        raise BadCheckpoint(
            f"The weights of {entry.name!r} should come with the package, but "
            f"{destination} is not there. Reinstall napari-qmedsam."
        )

    reasons = []
    part = destination.with_name(destination.name + ".part")
    for url in entry.urls:
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            _download(entry, url, part, progress, should_cancel)
            move_into_place(part, destination)
        except Unusable as reason:
            logger.warning("%s: %s", url, reason)
            reasons.append(str(reason))
        except OSError as error:
            raise DownloadFailed(
                f"Cannot store {entry.title} as {destination}: "
                f"{error.strerror or error}. "
                f"Free space, or set {HOME_VARIABLE} to another folder."
            ) from error
        else:
            logger.info("Fetched %s to %s", url, destination)
            return destination
    raise DownloadFailed(
        f"Could not download {entry.title}: {'; '.join(reasons)}. Fetch it with a "
        f"browser from {entry.page or entry.urls[0]} and save it as {destination}, "
        "or name the file with --weights FILE."
    )


def _download(
    entry: CheckpointEntry,
    url: str,
    part: Path,
    progress: Progress | None,
    should_cancel: Callable[[], bool] | None,
) -> None:
    """Complete `part` from `url` and verify it, or say why not."""
    for attempt in range(1, ATTEMPTS + 1):
        resumed = stored_bytes(part) > 0
        try:
            run_until(Transfer(entry, url, part, progress), should_cancel)
            _verify(entry, part)
        except Broken:
            if attempt == ATTEMPTS:
                raise
        except Unusable:
            # What was there before may be of another file: once more, afresh.
            if not resumed or part.exists() or attempt == ATTEMPTS:
                raise
        else:
            return


def _verify(entry: CheckpointEntry, part: Path) -> None:
    """Remove `part` and say so if it is not the published file."""
    size = stored_bytes(part)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    problem = ""
    if size == 0:
        problem = "the file was empty"
    elif entry.size_bytes is not None and size != entry.size_bytes:
        problem = f"the file had {size} bytes instead of {entry.size_bytes}"
    elif entry.sha256 is not None and digest != entry.sha256:
        problem = f"the file had SHA-256 {digest} instead of {entry.sha256}"
    if problem:
        part.unlink()
        raise Unusable(f"{problem} and was removed")
