"""What a finished run of a session did."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from napari_qmedsam.segmentation.endings import RunEnd
from napari_qmedsam.segmentation.tracking import SliceUpdate


@dataclass(frozen=True)
class Segmentation:
    """A run that is done; its masks are in the session's labels.

    Iterates over its visits of slices, in their order. Between key boxes a slice is
    visited up to three times, and counts as one.

    Parameters
    ----------
    updates : tuple of SliceUpdate
        One of each visit, without masks.
    seconds : float
    """

    updates: tuple[SliceUpdate, ...]
    seconds: float

    def __iter__(self) -> Iterator[SliceUpdate]:
        return iter(self.updates)

    def __len__(self) -> int:
        """Return how many visits there are."""
        return len(self.updates)

    @property
    def slices(self) -> int:
        """How many different slices there are."""
        return len({(update.axis, update.slice_index) for update in self})

    @property
    def milliseconds_per_slice(self) -> float:
        """Mean time of a slice; 0 without any."""
        return 1000 * self.seconds / max(1, self.slices)

    @property
    def end(self) -> RunEnd:
        """Why each object was tracked no further."""
        return RunEnd.of(self.updates)

    def __str__(self) -> str:
        return (
            f"{self.slices} slices segmented in {self.seconds:.1f} s "
            f"({self.milliseconds_per_slice:.0f} ms per slice)"
        )

    __repr__ = __str__


def run_to_end(
    updates: Generator[SliceUpdate, None, None],
    progress: Callable[[int, int], None] | None = None,
    before: int = 0,
    after: int = 0,
) -> Segmentation:
    """Do all the work of a generator.

    Parameters
    ----------
    updates : generator of SliceUpdate
    progress : callable, optional
        Called after each visit with the slices done and planned.
    before, after : int
        Slices of earlier and later runs, which count too.
    """
    start, done = time.perf_counter(), []
    for update in updates:
        # Masks of a whole volume would take more memory than its labels.
        done.append(replace(update, masks=()))
        if progress is not None:
            progress(before + update.done, before + update.total + after)
    return Segmentation(tuple(done), time.perf_counter() - start)
