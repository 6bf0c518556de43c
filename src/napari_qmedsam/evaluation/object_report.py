"""What is reported of each object: size, greys, longest axial diameter."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.evaluation.diameters import longest_diameter
from napari_qmedsam.evaluation.tables import Cells, PrintedTable
from napari_qmedsam.volumes.grid import SUPERIOR, anatomical_axes, voxel_volume_ml
from napari_qmedsam.volumes.label_bounds import Bounds, label_bounds
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.reslicing import seen_along, stacked_along
from napari_qmedsam.volumes.segments import Segment, as_segments
from napari_qmedsam.volumes.volume import Modality, Volume


@dataclass(frozen=True)
class ReportedObject:
    """One object.

    Parameters
    ----------
    number : int
        Its value in the labels.
    name : str
    voxels : int
    slices : int
        Axial slices that hold a voxel of it.
    volume_ml : float
        NaN where the image has no spacing.
    mean, spread : float
        Of the greys under it: HU for CT. The spread is the standard deviation.
        NaN for colour.
    longest_diameter : float
        Axial: on the axial slice where it is longest, between the corners of voxels;
        mm, or pixels where the image has no spacing.
    diameter_slice : int
        Where that is, along the axis of the axial slices; -1 without voxels.
    """

    number: int
    name: str
    voxels: int
    slices: int
    volume_ml: float
    mean: float
    spread: float
    longest_diameter: float
    diameter_slice: int


@dataclass(frozen=True, repr=False)
class ObjectReport(PrintedTable):
    """All objects of a label volume; prints itself as a table.

    Parameters
    ----------
    objects : tuple of ReportedObject
    has_spacing : bool
        Without it there are pixels, and neither ml nor mm.
    is_ct : bool
        Greys are HU.
    """

    objects: tuple[ReportedObject, ...]
    has_spacing: bool
    is_ct: bool

    @property
    def cells(self) -> Cells:
        """Rows of text, headings first."""
        grey = "HU" if self.is_ct else "intensity"
        length = "mm" if self.has_spacing else "pixels"
        head = ["id", "object", "slices", "voxels"]
        head += ["ml"] if self.has_spacing else []
        head += [f"mean {grey}", f"SD {grey}"]
        head += [f"longest axial diameter {length}", "on slice"]
        return [head, *(self._row(item) for item in self.objects)]

    def numbered(self, number: Callable[[int], int]) -> "ObjectReport":
        """Return it with the numbers that axial slices are known by elsewhere."""
        objects = tuple(
            replace(item, diameter_slice=number(item.diameter_slice))
            if item.voxels
            else item
            for item in self.objects
        )
        return replace(self, objects=objects)

    def _row(self, item: ReportedObject) -> list[str]:
        row = [str(item.number), item.name, str(item.slices), str(item.voxels)]
        row += [_text(item.volume_ml, 3)] if self.has_spacing else []
        row += [_text(item.mean, 1), _text(item.spread, 1)]
        place = str(item.diameter_slice) if item.voxels else ""
        return [*row, _text(item.longest_diameter, 1), place]


def report_objects(
    volume: Volume,
    labels: Volume | NDArray[np.integer],
    names: Mapping[int, str] | Iterable[Segment] | None = None,
) -> ObjectReport:
    """Measure every object of a label volume on its image.

    Parameters
    ----------
    volume : Volume
        The image.
    labels : Volume, or ndarray, (Z, Y, X) integer
        Brought to the image's grid by
        :func:`~napari_qmedsam.volumes.labels.labels_on_grid`.
    names : mapping of int to str, or segments, optional
        Objects to be reported even if they have no voxel. Default: those that the
        label file names.

    Returns
    -------
    ObjectReport
        One entry for every label and every name, by number.

    Raises
    ------
    GridMismatch
        If the labels cannot be brought there.
    """
    placed = labels_on_grid(labels, volume)
    known = {s.number: s.name for s in as_segments(names) or placed.segments}
    axial = anatomical_axes(volume.affine).index(SUPERIOR)
    seen = seen_along(volume, axial)
    stack = stacked_along(placed.array, axial)
    bounds = label_bounds(stack)
    found = [
        _measure(seen, stack, number, known.get(number), bounds.get(number))
        for number in sorted({*bounds, *known})
    ]
    is_ct = volume.modality is Modality.CT
    return ObjectReport(tuple(found), volume.has_spacing, is_ct)


# Helpers ------------------------------------------------------------------


def _measure(
    seen: Volume,
    stack: NDArray[np.integer],
    number: int,
    name: str | None,
    bounds: Bounds | None,
) -> ReportedObject:
    name = name or f"label {number}"
    if bounds is None:
        nothing = math.nan
        return ReportedObject(number, name, 0, 0, 0.0, nothing, nothing, 0.0, -1)
    mask = stack[bounds] == number
    voxels = int(np.count_nonzero(mask))
    greys = np.array([math.nan])
    if not seen.is_colour:
        greys = seen.array[bounds][mask].astype(np.float64)
    steps: Sequence[Sequence[float]] = [(1.0, 0.0), (0.0, 1.0)]
    if seen.has_spacing:
        # Columns of the affine are x, y, z; rows of a slice run along y.
        steps = seen.affine[:3, [1, 0]].T.tolist()
    lengths = [longest_diameter(plane, np.array(steps)) for plane in mask]
    longest = int(np.argmax(lengths))
    return ReportedObject(
        number,
        name,
        voxels,
        int(np.count_nonzero(mask.any(axis=(1, 2)))),
        voxels * voxel_volume_ml(seen) if seen.has_spacing else math.nan,
        float(greys.mean()),
        float(greys.std()),
        lengths[longest],
        bounds[0].start + longest,
    )


def _text(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"
