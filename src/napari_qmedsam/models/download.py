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
from typing import TYPE_CHECKING

import platformdirs

from napari_qmedsam.errors import BadCheckpoint, Cancelled, DownloadFailed
from napari_qmedsam.models.catalogue import CheckpointEntry, entry_of
from napari_qmedsam.models.web_answers import (
    confirmation_address,
    is_web_page,
    offered_range,
)

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

HOME_VARIABLE = "QMEDSAM_HOME"
"""Environment variable that moves the data folder."""

CHUNK_BYTES = 1 << 16
"""Read at a time: Cancel answers after one, a broken connection loses one at most."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""For the connection, and for silence on it."""

ATTEMPTS = 3
"""Tries per address when a connection breaks; each goes on where it stopped."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far, and the bytes in all if known."""


class _Unusable(Exception):
    """An address does not give the file; the text says why, without a full stop."""


class _Broken(_Unusable):
    """The connection broke; the same address is worth another try."""


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
        Asked between chunks; True stops the download and keeps its part.

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
            os.replace(part, destination)
        except _Unusable as reason:
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
        resumed = _stored_bytes(part) > 0
        try:
            _transfer(entry, url, part, progress, should_cancel)
            _verify(entry, part)
        except _Broken:
            if attempt == ATTEMPTS:
                raise
        except _Unusable:
            # What was there before may be of another file: once more, afresh.
            if not resumed or part.exists() or attempt == ATTEMPTS:
                raise
        else:
            return


def _transfer(
    entry: CheckpointEntry,
    url: str,
    part: Path,
    progress: Progress | None,
    should_cancel: Callable[[], bool] | None,
) -> None:
    """Append to `part` what is still missing of it."""
    # Imported here: it takes longer than the rest of this package together.
    import requests

    start = _stored_bytes(part)
    try:
        with requests.Session() as session:
            response = _ask(session, url, start)
            if is_web_page(response):
                # Drive's "too large to scan for viruses" is a form with a button.
                confirmed = confirmation_address(response)
                response.close()
                if confirmed is not None:
                    response = _ask(session, confirmed, start)
            with response:
                _append(entry, response, part, start, progress, should_cancel)
    except requests.RequestException as error:
        stored = _stored_bytes(part)
        if stored > start:
            raise _Broken(_stopped(_host(url), stored, None)) from error
        raise _Broken(f"{_host(url)} cannot be reached") from error


def _ask(session: "requests.Session", url: str, start: int) -> "requests.Response":
    # Without "identity" a server may compress, and its lengths mean nothing.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)


def _append(
    entry: CheckpointEntry,
    response: "requests.Response",
    part: Path,
    start: int,
    progress: Progress | None,
    should_cancel: Callable[[], bool] | None,
) -> None:
    """Write the body of `response` to `part`, from `start` if it goes on there."""
    host = _host(response.url)
    first, total = offered_range(response)
    if response.status_code == 416:
        # Nothing lies beyond `start`: the part is whole, or of another file.
        if total is not None and total != start:
            part.unlink(missing_ok=True)
            raise _Unusable(f"{host} has {total} bytes, but {start} were there")
        return
    if not response.ok:
        raise _Unusable(f"{host} answered {response.status_code} {response.reason}")
    if is_web_page(response):
        hint = " (too many downloads of it today?)" if "google" in host else ""
        raise _Unusable(f"{host} sent a web page instead of the file{hint}")
    if entry.size_bytes is not None and total not in (None, entry.size_bytes):
        raise _Unusable(
            f"{host} offers {total} bytes where {entry.size_bytes} are expected"
        )

    if first not in (0, start):
        part.unlink(missing_ok=True)
        raise _Broken(f"{host} sent another part of the file than was asked for")
    done = first
    with part.open("ab" if done else "wb") as file:
        if progress is not None:
            progress(done, total)
        for chunk in response.iter_content(CHUNK_BYTES):
            if should_cancel is not None and should_cancel():
                raise Cancelled(
                    f"The download of {entry.title} was stopped; "
                    f"{done} bytes are kept for the next time."
                )
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total is not None and done < total:
        raise _Broken(_stopped(host, done, total))


def _verify(entry: CheckpointEntry, part: Path) -> None:
    """Remove `part` and say so if it is not the published file."""
    size = _stored_bytes(part)
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
        raise _Unusable(f"{problem} and was removed")


def _stopped(host: str, done: int, total: int | None) -> str:
    whole = f" of {total}" if total is not None else ""
    return f"{host} stopped after {done}{whole} bytes, which are kept to go on from"


def _stored_bytes(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _host(url: str) -> str:
    return url.split("/")[2]
