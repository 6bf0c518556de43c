"""One answer of a web server, appended to a file that is there in part."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from napari_qmedsam.cancelling import is_cancelled
from napari_qmedsam.checkpoints.catalogue import CheckpointEntry
from napari_qmedsam.checkpoints.supplier import (
    POLL_SECONDS,
    Broken,
    DownloadProgress,
    Unusable,
    stored_bytes,
)
from napari_qmedsam.checkpoints.web_answers import (
    confirmation_address,
    is_web_page,
    offered_range,
)
from napari_qmedsam.errors import Cancelled

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 1 << 16
"""Read at a time; a broken connection loses one at most."""

TIMEOUT_SECONDS = (10.0, 60.0)
"""For the connection, and for silence on it."""


class Transfer(threading.Thread):
    """Appends to `part` what is still missing of it.

    In a thread of its own, and one that the interpreter does not wait for:
    nothing else interrupts the wait for a server that has fallen silent.
    """

    def __init__(
        self,
        entry: CheckpointEntry,
        url: str,
        part: Path,
        progress: DownloadProgress | None,
    ) -> None:
        super().__init__(daemon=True)
        self.entry, self.part = entry, part
        self.error: BaseException | None = None
        self._url, self._progress = url, progress
        self._is_given_up = False
        self._writing = threading.Lock()

    def give_up(self) -> None:
        """Write nothing from now on."""
        with self._writing:
            self._is_given_up = True

    def run(self) -> None:
        """Keep the error for whoever waits."""
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001  raised in `run_until`
            self.error = error

    def _run(self) -> None:
        # Imported here: it takes longer than the rest of this package together.
        import requests

        url, start = self._url, stored_bytes(self.part)
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
                    self._append(response, start)
        except requests.RequestException as error:
            stored = stored_bytes(self.part)
            if stored > start:
                raise Broken(_stopped(_host(url), stored, None)) from error
            raise Broken(f"{_host(url)} cannot be reached") from error

    def _append(self, response: "requests.Response", start: int) -> None:
        """Write the body of `response`, from `start` if it goes on there."""
        host, part = _host(response.url), self.part
        with self._writing:
            if self._is_given_up:
                return
            done, total = _checked_range(self.entry, response, part, start)
            if done is None:
                return
            # Unbuffered: nothing is left to be written by a thread given up.
            file = part.open("ab" if done else "wb", buffering=0)
        with file:
            if self._progress is not None:
                self._progress(done, total)
            for chunk in response.iter_content(CHUNK_BYTES):
                with self._writing:
                    if self._is_given_up:
                        return
                    file.write(chunk)
                done += len(chunk)
                if self._progress is not None:
                    self._progress(done, total)
        if total is not None and done < total:
            raise Broken(_stopped(host, done, total))


def run_until(transfer: Transfer) -> None:
    """Run a transfer to its end, or leave it behind where that is asked for."""
    transfer.start()
    try:
        while transfer.is_alive():
            transfer.join(POLL_SECONDS)
            if is_cancelled():
                transfer.give_up()
                raise Cancelled(
                    f"The download of {transfer.entry.title} was stopped; "
                    f"{stored_bytes(transfer.part)} bytes are kept for the next time."
                )
    finally:
        transfer.give_up()
    if transfer.error is not None:
        raise transfer.error


def _ask(session: "requests.Session", url: str, start: int) -> "requests.Response":
    # Without "identity" a server may compress, and its lengths mean nothing.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)


def _checked_range(
    entry: CheckpointEntry, response: "requests.Response", part: Path, start: int
) -> tuple[int | None, int | None]:
    """Return where the body begins, None if nothing is missing, and the whole size."""
    host = _host(response.url)
    first, total = offered_range(response)
    if response.status_code == 416:
        # Nothing lies beyond `start`: the part is whole, or of another file.
        if total is not None and total != start:
            part.unlink(missing_ok=True)
            raise Unusable(f"{host} has {total} bytes, but {start} were there")
        return None, total
    if not response.ok:
        raise Unusable(f"{host} answered {response.status_code} {response.reason}")
    if is_web_page(response):
        hint = " (too many downloads of it today?)" if "google" in host else ""
        raise Unusable(f"{host} sent a web page instead of the file{hint}")
    if entry.size_bytes is not None and total not in (None, entry.size_bytes):
        raise Unusable(
            f"{host} offers {total} bytes where {entry.size_bytes} are expected"
        )

    if first not in (0, start):
        part.unlink(missing_ok=True)
        raise Broken(f"{host} sent another part of the file than was asked for")
    return first, total


def _stopped(host: str, done: int, total: int | None) -> str:
    whole = f" of {total}" if total is not None else ""
    return f"{host} stopped after {done}{whole} bytes, which are kept to go on from"


def _host(url: str) -> str:
    return url.split("/")[2]
