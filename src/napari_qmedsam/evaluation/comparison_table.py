"""The table of a comparison: a row for each variant, and for each object of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.object_verdicts import summary_of
from napari_qmedsam.evaluation.scores import SCORE_NAMES, Scores, headings
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.segmentation.history import Slice

SliceNumber = Callable[[int, int], int]
"""Given index and axis of a slice, returns its number: what a slider shows, say."""


def index_of(slice_index: int, axis: int) -> int:
    """Return a slice's index along its axis, its number where there is no slider."""
    return slice_index


HEADINGS = (
    "variant",
    "object",
    "label",
    "method",
    "bits",
    "effective bits",
    "file MB",
    "ms/slice",
    *headings(),
    "change against FP32",
    "worst slice",
)
"""Columns of the table in files."""

MEAN = "mean"
"""What stands in the column of objects where all of them are meant."""


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the table.

    Parameters
    ----------
    variant : Variant
    object_name : str
        `MEAN` for all objects together.
    reference : str
        The label that the object is scored by; empty for all objects together.
    scores : Scores or None
        None before the variant was compared.
    change : float or None
        DSC minus that of the float model, in points; None without one.
    worst_slice : Slice or None
        Axis and index, by all objects together.
    verdict : str
        Whether the variant is enough, by object; empty without a float model.
    """

    variant: Variant
    object_name: str = MEAN
    reference: str = ""
    scores: Scores | None = None
    change: float | None = None
    worst_slice: Slice | None = None
    verdict: str = ""

    @property
    def dsc(self) -> float | None:
        """In percent."""
        return None if self.scores is None else self.scores.shown()["dsc"]

    @property
    def nsd(self) -> float | None:
        """In percent."""
        return None if self.scores is None else self.scores.shown()["nsd"]

    def cells(self, number: SliceNumber = index_of) -> list[str]:
        """Return the row as text, in the order of `HEADINGS`."""
        variant = self.variant
        return [
            variant.name,
            self.object_name,
            self.reference,
            variant.method,
            variant.bits,
            f"{variant.effective_bits:.2f}",
            f"{variant.megabytes:.2f}",
            _text(variant.milliseconds_per_slice, "{:.0f}"),
            *([""] * len(SCORE_NAMES) if self.scores is None else self.scores.cells()),
            _text(self.change, "{:+.2f}"),
            "" if self.worst_slice is None else slice_text(self.worst_slice, number),
        ]


def rows_of(
    comparison: Comparison | None,
    variants: Sequence[Variant],
    object_id: int | None = None,
) -> list[ComparisonRow]:
    """Return a row for each variant, with or without results.

    Parameters
    ----------
    comparison : Comparison or None
    variants : sequence of Variant
    object_id : int, optional
        Scores of this object. Default: means over objects.
    """
    rows = []
    for variant in variants:
        result = None if comparison is None else comparison.results.get(variant.name)
        if comparison is None or result is None:
            # Its time is that of another comparison, of other slices perhaps.
            untimed = replace(variant, milliseconds_per_slice=None)
            rows.append(ComparisonRow(untimed))
            continue
        objects = {o.object_id: o for o in comparison.objects}
        change = comparison.change(variant.name, object_id)
        verdict = comparison.verdicts.get(variant.name)
        rows.append(
            ComparisonRow(
                result.variant,
                MEAN if object_id is None else objects[object_id].name,
                "" if object_id is None else objects[object_id].reference,
                result.scores_of(object_id),
                None if change is None else 100 * change,
                result.worst_slice,
                "" if verdict is None else verdict.text,
            )
        )
    return rows


def table_cells(
    comparison: Comparison, number: SliceNumber = index_of
) -> list[list[str]]:
    """Return the whole table as text: headings, means, then every object.

    Parameters
    ----------
    comparison : Comparison
    number : callable
        Gives a slice the number that it is known by.
    """
    variants = [result.variant for result in comparison.results.values()]
    ids = [o.object_id for o in comparison.objects]
    # A mean over one object says nothing more.
    rows = rows_of(comparison, variants) if len(ids) > 1 else []
    for object_id in ids:
        rows += rows_of(comparison, variants, object_id)
    return [list(HEADINGS), *(row.cells(number) for row in rows)]


def note_of(comparison: Comparison, number: SliceNumber = index_of) -> str:
    """Return what the table was measured on, and whether few bits are enough there.

    Parameters
    ----------
    comparison, number
        As for :func:`table_cells`.
    """
    ends = comparison.slices[0], comparison.slices[-1]
    first, last = sorted(ends, key=lambda place: (place[0], number(place[1], place[0])))
    where = f"slice {slice_text(first, number)}"
    if first != last:
        where = f"slices {slice_text(first, number)} to {slice_text(last, number)}"
    count = len(comparison.objects)
    objects = "1 object" if count == 1 else f"{count} objects"
    kind = "2D contours" if comparison.is_flat else "3D surfaces"
    spacing = " x ".join(f"{s:g}" for s in comparison.spacing_mm)
    measured = (
        f"{objects} on {where}; NSD of {kind} with a tolerance of "
        f"{comparison.tolerance_mm:g} mm, spacing {spacing} mm (z, y, x)."
    )
    said = (measured, *comparison.notices, summary_of(comparison.verdicts))
    return " ".join(filter(None, said))


def slice_text(place: Slice, number: SliceNumber = index_of) -> str:
    """Return the number of a slice, with the axis where it is not the first."""
    axis, index = place
    shown = number(index, axis)
    return f"{shown}" if axis == 0 else f"{'zyx'[axis]} {shown}"


def _text(value: float | None, form: str) -> str:
    """Return a value as text; empty where there is none."""
    if value is None or value != value:
        return ""
    return form.format(value)
