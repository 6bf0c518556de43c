"""Which label is held against which label of a reference."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.rules import Matching
from napari_qmedsam.volumes.label_bounds import Bounds, label_bounds
from napari_qmedsam.volumes.segments import Segment, as_segments
from napari_qmedsam.volumes.volume import Volume


@dataclass(frozen=True)
class Pair:
    """An object and the reference label it is scored against.

    Parameters
    ----------
    name : str
    number, reference : int or None
        Values of its voxels; None where one side has no such object.
    reference_name : str
    """

    name: str
    number: int | None
    reference: int | None
    reference_name: str


Names = Mapping[int, str] | Iterable[Segment] | None
"""What labels are called; by default what their file says."""


@dataclass(frozen=True)
class LabelSide:
    """Labels with their bounds and names."""

    volume: Volume
    bounds: dict[int, Bounds]
    names: dict[int, str]

    @classmethod
    def of(cls, volume: Volume, names: Names) -> "LabelSide":
        """Find the labels of a volume; names are those given, else the file's."""
        known = as_segments(names) or volume.segments
        named = {segment.number: segment.name for segment in known}
        return cls(volume, label_bounds(volume.array), named)

    def name(self, number: int) -> str:
        """Return what a label is called."""
        return self.names.get(number, f"label {number}")

    def by_name(self) -> dict[str, int]:
        """Return numbers by name, in any case; unnamed labels have none."""
        found: dict[str, int] = {}
        for number in self.bounds:
            name = self.names.get(number, "").strip().casefold()
            if name and name in found:
                raise InvalidSettings(
                    f"The labels {found[name]} and {number} are both called "
                    f"'{self.names[number]}'; match by number or overlap."
                )
            if name:
                found[name] = number
        return found


def _by_number(own: LabelSide, truth: LabelSide) -> list[Pair]:
    pairs = []
    for number in sorted({*own.bounds, *truth.bounds}):
        name = own.names.get(number) or truth.name(number)
        mine = number if number in own.bounds else None
        theirs = number if number in truth.bounds else None
        pairs.append(Pair(name, mine, theirs, truth.names.get(number) or name))
    return pairs


def _by_name(own: LabelSide, truth: LabelSide) -> list[Pair]:
    mine, theirs = own.by_name(), truth.by_name()
    pairs = []
    for name in dict.fromkeys([*mine, *theirs]):
        number, reference = mine.get(name), theirs.get(name)
        shown = own.name(number) if number is not None else ""
        known = truth.name(reference) if reference is not None else shown
        pairs.append(Pair(shown or known, number, reference, known))
    return pairs


def _by_overlap(own: LabelSide, truth: LabelSide) -> list[Pair]:
    mine, theirs = list(own.bounds), list(truth.bounds)
    shared = _shared_dsc(own, truth)
    chosen = dict(zip(*linear_sum_assignment(shared, maximize=True), strict=True))
    pairs = []
    for row, number in enumerate(mine):
        column = chosen.get(row)
        met = column is not None and shared[row, column] > 0
        reference = theirs[column] if met and column is not None else None
        known = "" if reference is None else truth.name(reference)
        pairs.append(Pair(own.name(number), number, reference, known))
    return pairs


MATCHERS = {
    Matching.NUMBER: _by_number,
    Matching.NAME: _by_name,
    Matching.OVERLAP: _by_overlap,
}


def _shared_dsc(own: LabelSide, truth: LabelSide) -> NDArray[np.float64]:
    """Return the DSC of every object with every reference label, (n, m)."""
    mine, theirs = own.volume.array, truth.volume.array
    columns = {number: i for i, number in enumerate(truth.bounds)}
    sizes = np.array(
        [np.count_nonzero(theirs[p] == n) for n, p in truth.bounds.items()], float
    )
    shared = np.zeros((len(own.bounds), len(columns)))
    for row, (number, box) in enumerate(own.bounds.items()):
        mask = mine[box] == number
        values, counts = np.unique(theirs[box][mask], return_counts=True)
        for value, count in zip(values, counts, strict=True):
            if value:
                column = columns[int(value)]
                total = np.count_nonzero(mask) + sizes[column]
                shared[row, column] = 2 * count / total
    return shared
