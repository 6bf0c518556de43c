"""Where cases are worked on: in this process, in others of this machine, on a cluster.

Each hands cases out one by one and yields what came back as it comes. A worker that
is killed takes only its case with it, which another one tries again.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from napari_qmedsam.errors import InvalidSettings, MissingDependency

Item = TypeVar("Item")
Value = TypeVar("Value")

ATTEMPTS = 3
"""How often a case is tried whose worker dies."""

DIED = f"{ATTEMPTS} workers died at it: killed, or out of memory."

TOO_LARGE = "it needs more memory than a worker may have."
"""Said of a case whose worker had to end because of its memory."""

TOO_LARGE_STATUS = 77
"""Exit status of such a worker."""

WATCH_SECONDS = 0.1
"""How often a worker's memory is looked at where the system does not bound it."""

CONNECT_SECONDS = 10
"""How long a scheduler may take to answer, and a first worker to be there."""


class Outcome(NamedTuple, Generic[Item, Value]):
    """What came of an item: a value, or why there is none."""

    item: Item
    value: Value | None
    error: str = ""


class Executor(Protocol):
    """Works on items somewhere."""

    def run(
        self, work: Callable[[Item], Value], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield what came of each item, in the order in which it comes.

        Parameters
        ----------
        work : callable
            Can be pickled, as can items and values.
        items : sequence
        """
        ...


class InThisProcess:
    """Works on one item after the other, here: for notebooks, and to find faults."""

    def run(
        self, work: Callable[[Item], Value], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield what came of each item, in their order."""
        for item in items:
            yield Outcome(item, work(item))


@dataclass
class LocalProcesses:
    """Processes of this machine, each with one item at a time.

    Parameters
    ----------
    workers : int
    memory_bytes : int, optional
        What a worker may have. Linux bounds what it allocates: more is a MemoryError in
        it. Other systems bound nothing, so there a worker looks at its own memory and
        ends where it is more.
    """

    workers: int
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InvalidSettings(f"workers must be 1 or more, not {self.workers}.")

    def run(
        self, work: Callable[[Item], Value], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield what came of each item; one whose worker dies is tried again."""
        waiting = deque((item, 1) for item in items)
        slots = [_Slot(self.memory_bytes) for _ in range(min(self.workers, len(items)))]
        running: dict[Future, tuple[_Slot, Item, int]] = {}
        idle = deque(slots)
        try:
            while waiting or running:
                while waiting and idle:
                    slot, (item, attempt) = idle.popleft(), waiting.popleft()
                    running[slot.submit(work, item)] = slot, item, attempt
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    slot, item, attempt = running.pop(future)
                    idle.append(slot)
                    error = future.exception()
                    if error is None:
                        yield Outcome(item, future.result())
                    elif not isinstance(error, BrokenProcessPool):
                        yield Outcome(item, None, _reason(error))
                    elif slot.restart() == TOO_LARGE_STATUS:
                        yield Outcome(item, None, TOO_LARGE)
                    elif attempt < ATTEMPTS:
                        waiting.append((item, attempt + 1))
                    else:
                        yield Outcome(item, None, DIED)
        finally:
            for slot in slots:
                slot.stop(at_once=bool(running))


@dataclass
class _Slot:
    """A pool of one process: where it breaks, one knows at which item."""

    memory_bytes: int | None
    pool: ProcessPoolExecutor | None = None
    processes: list = field(default_factory=list)

    def submit(self, work: Callable, item: object) -> Future:
        """Start work on an item, and the process if there is none."""
        if self.pool is not None:
            return self.pool.submit(work, item)
        self.pool = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self.memory_bytes,),
        )
        others = multiprocessing.active_children()
        future = self.pool.submit(work, item)
        self.processes = [
            p for p in multiprocessing.active_children() if p not in others
        ]
        return future

    def restart(self) -> int | None:
        """Forget a process that died; return its exit status if it has one."""
        self.stop(at_once=True)
        self.pool = None
        return next((process.exitcode for process in self.processes), None)

    def stop(self, at_once: bool) -> None:
        """End the process, in the middle of its item if need be."""
        if at_once:
            for process in self.processes:
                process.terminate()
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(memory_bytes: int | None) -> None:
    """Set a worker up: it has its bound, and does not outlive the driver."""
    if memory_bytes is not None:
        bound_memory(memory_bytes, watch=sys.platform != "linux")
    # What readers say of a case is in its result; of many it would be noise.
    logging.getLogger("napari_qmedsam").addHandler(logging.NullHandler())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def bound_memory(limit: int, watch: bool) -> None:
    """Bound the memory of this process.

    Parameters
    ----------
    limit : int
        Bytes.
    watch : bool
        Look at the memory now and then and end the process where it is more, instead
        of having the system refuse it.
    """
    if not watch:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        return
    import psutil

    process = psutil.Process()

    def look() -> None:
        while process.memory_info().rss <= limit:
            time.sleep(WATCH_SECONDS)
        os._exit(TOO_LARGE_STATUS)

    threading.Thread(target=look, daemon=True).start()


@dataclass(frozen=True)
class DaskCluster:
    """The workers of a Dask scheduler, which see the same files in the same places.

    Parameters
    ----------
    address : str
        ``tcp://host:port``.
    """

    address: str

    def run(
        self, work: Callable[[Item], Value], items: Sequence[Item]
    ) -> Iterator[Outcome[Item, Value]]:
        """Yield what came of each item.

        Dask tries items again whose worker dies, three times unless its own
        settings say otherwise (``distributed.scheduler.allowed-failures``).

        Raises
        ------
        MissingDependency
            If Dask is not installed here.
        InvalidSettings
            If nothing answers, there is no worker, or one has another version.
        """
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise MissingDependency(
                "A Dask cluster needs the package distributed: "
                "pip install 'napari-qmedsam[cluster]'."
            ) from error
        try:
            client = Client(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InvalidSettings(
                f"No Dask scheduler answers at '{self.address}'. Start one with "
                "`dask scheduler`, and give its address: tcp://host:8786."
            ) from error
        with client:
            self._check(client)
            futures = {client.submit(work, item, pure=False): item for item in items}
            try:
                for future in as_completed(list(futures), loop=client.loop):
                    item = futures.pop(future)
                    failure = future.exception()
                    if failure is None:
                        yield Outcome(item, future.result())
                    else:
                        yield Outcome(item, None, _reason(failure))
            finally:
                with suppress(OSError):
                    client.cancel(list(futures))

    def _check(self, client: Any) -> None:
        """Refuse a cluster without workers, or with other versions of this package."""
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise InvalidSettings(
                f"The Dask scheduler at '{self.address}' has no worker. Start some "
                f"with `dask worker {self.address}`."
            ) from error
        here = _version()
        for worker, version in client.run(_version, on_error="return").items():
            if version != here:
                raise InvalidSettings(
                    f"The worker {worker} has napari-qmedsam {version}, but {here} "
                    "runs here. Install one version everywhere."
                )


def _version() -> str:
    import napari_qmedsam

    return napari_qmedsam.__version__


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
