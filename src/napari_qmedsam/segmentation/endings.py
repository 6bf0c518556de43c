"""Why a run ended: for every object, and in one sentence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class EndReason(Enum):
    """Why an object was tracked no further; the value is how it is told."""

    BOX_END = "done to the end of its box"
    SCAN_END = "done to the end of the scan, slice {}"
    OBJECT_END = "it ends before slice {}"
    MASK_JUMPED = "stopped before slice {}, where the mask jumps"
    OTHER_GREY = "stopped before slice {}, where the mask lies on other greys"
    SAID_ABSENT = "stopped before slice {}, where it is not"
    EMPTY = "nothing was found, the mask is empty"


@dataclass(frozen=True)
class ObjectEnd:
    """Where and why one object was tracked no further.

    Parameters
    ----------
    object_id : int
    reason : EndReason
    slice_index : int
        The last one with a mask at the end of box or scan, else the first without.
    step : int
        1 for a way up, -1 for a way down.
    """

    object_id: int
    reason: EndReason
    slice_index: int
    step: int = 1

    def text(self, name: str) -> str:
        """Return it as part of a sentence."""
        return f"{name}: {self.reason.value.format(self.slice_index)}"


class Visit(Protocol):
    """What a run tells of one slice; a `SliceUpdate`, with its masks or without."""

    @property
    def slice_index(self) -> int:
        """The slice."""
        ...

    @property
    def found(self) -> tuple[int, ...]:
        """Ids of the objects that have a voxel on it."""
        ...

    @property
    def ends(self) -> tuple[ObjectEnd, ...]:
        """Objects that were tracked no further."""
        ...


@dataclass(frozen=True)
class RunEnd:
    """How a run over one or many slices ended.

    Parameters
    ----------
    slices : tuple of int
        Those visited, in the order of the visits.
    ends : tuple of ObjectEnd
        One for each object and way; none for objects that a cancelled run was still
        tracking.
    is_cancelled : bool
    """

    slices: tuple[int, ...]
    ends: tuple[ObjectEnd, ...]
    is_cancelled: bool = False

    @classmethod
    def of(cls, visits: Iterable[Visit], is_cancelled: bool = False) -> "RunEnd":
        """Gather what each visit told.

        Parameters
        ----------
        visits : iterable of Visit
        is_cancelled : bool
            Whether the run was stopped before its end.
        """
        visits = list(visits)
        found = {object_id for visit in visits for object_id in visit.found}
        last: dict[tuple[int, int], ObjectEnd] = {}
        for end in (end for visit in visits for end in visit.ends):
            last[end.object_id, end.step] = end
        ends = []
        for object_id in dict.fromkeys(object_id for object_id, _ in last):
            own = [end for (i, _), end in last.items() if i == object_id]
            if object_id not in found:
                first = own[0]
                ends.append(ObjectEnd(object_id, EndReason.EMPTY, first.slice_index))
                continue
            # The slice that a way began on is the end of no box.
            beyond = [end for end in own if end.reason is not EndReason.BOX_END]
            ends += beyond or ([] if is_cancelled else own[:1])
        slices = tuple(visit.slice_index for visit in visits)
        return cls(slices, tuple(ends), is_cancelled)

    def text(self, names: Mapping[int, str]) -> str:
        """Return a sentence for a status line.

        Parameters
        ----------
        names : mapping of int to str
            Of objects, by id.
        """
        if self.is_cancelled:
            where = f" at slice {self.slices[-1]}" if self.slices else ""
            return f"Cancelled{where}."
        if not self.slices:
            return "There is no slice that way."
        whole = [end for end in self.ends if end.reason is EndReason.BOX_END]
        told = [
            end.text(names.get(end.object_id, f"object {end.object_id}"))
            for end in self.ends
            if end.reason is not EndReason.BOX_END
        ]
        if not told:
            return f"Done, {_counted(self.slices)}."
        done = ["the others: done"] if whole else []
        return f"{'; '.join([*told, *done])}."


def _counted(slices: Sequence[int]) -> str:
    """Return slices as text: one by its number, several by how many they are."""
    different = sorted(set(slices))
    if len(different) == 1:
        return f"slice {different[0]}"
    return f"{len(different)} slices, {different[0]} to {different[-1]}"
