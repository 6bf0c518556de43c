"""What a finished run of a session did."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from napari_qmedsam.segmentation.endings import RunEnd
from napari_qmedsam.segmentation.tracking import SliceUpdate


@dataclass(frozen=True)
class Segmentation:
    """A run that is done; its masks are in the session's labels.

    Iterates over the slices it visited, in the order of the visits.

    Parameters
    ----------
    updates : tuple of SliceUpdate
        Without their masks.
    seconds : float
    """

    updates: tuple[SliceUpdate, ...]
    seconds: float

    def __iter__(self) -> Iterator[SliceUpdate]:
        return iter(self.updates)

    def __len__(self) -> int:
        return len(self.updates)

    @property
    def milliseconds_per_slice(self) -> float:
        """Mean time of a visit; 0 without any."""
        return 1000 * self.seconds / max(1, len(self))

    @property
    def end(self) -> RunEnd:
        """Why each object was tracked no further."""
        return RunEnd.of(self.updates)

    def __str__(self) -> str:
        return (
            f"{len(self)} slices segmented in {self.seconds:.1f} s "
            f"({self.milliseconds_per_slice:.0f} ms per slice)"
        )

    __repr__ = __str__


def run_to_end(
    updates: Generator[SliceUpdate, None, None],
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Do all the work of a generator.

    Parameters
    ----------
    updates : generator of SliceUpdate
    progress : callable, optional
        Called after each visit with the visits made and planned.
    """
    start, done = time.perf_counter(), []
    for update in updates:
        # Masks of a whole volume would take more memory than its labels.
        done.append(replace(update, masks=()))
        if progress is not None:
            progress(update.done, update.total)
    return Segmentation(tuple(done), time.perf_counter() - start)
