"""Scores of labels against other labels: no model, no boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.label_pairs import MATCHERS, LabelSide, Names, Pair
from napari_qmedsam.evaluation.rules import TOLERANCE_MM, Matching
from napari_qmedsam.evaluation.scores import Scores, headings
from napari_qmedsam.evaluation.tables import Cells, PrintedTable
from napari_qmedsam.volumes.grid import voxel_volume_ml
from napari_qmedsam.volumes.labels import labels_on_grid
from napari_qmedsam.volumes.registry import keeps_place
from napari_qmedsam.volumes.volume import Volume


@dataclass(frozen=True)
class ScoredPair:
    """A pair with its scores.

    Parameters
    ----------
    pair : Pair
    scores : Scores
    volume, reference_volume : float
        In ml, or in voxels where the grid has no spacing.
    """

    pair: Pair
    scores: Scores
    volume: float
    reference_volume: float


@dataclass(frozen=True, repr=False)
class LabelScores(PrintedTable):
    """Scores of all objects; prints itself as a table.

    Parameters
    ----------
    pairs : tuple of ScoredPair
        Never empty.
    left_out : tuple of str
        Labels of the reference that nothing was matched with.
    tolerance_mm : float
    has_spacing : bool
        Without it lengths are pixels and volumes voxels.
    notices : tuple of str
        What was done to bring the two together.
    """

    pairs: tuple[ScoredPair, ...]
    left_out: tuple[str, ...]
    tolerance_mm: float
    has_spacing: bool
    notices: tuple[str, ...] = ()

    @property
    def mean(self) -> Scores:
        """Means over all pairs; missed objects count with DSC and NSD 0."""
        return Scores.mean(item.scores for item in self.pairs)

    @property
    def cells(self) -> Cells:
        """Rows of text, headings first, means last."""
        unit = "ml" if self.has_spacing else "voxels"
        titles = headings(self.tolerance_mm)
        if not self.has_spacing:
            titles = [title.replace(" mm", " pixels") for title in titles]
        rows = [["object", "reference", *titles, unit, f"reference {unit}"]]
        for item in self.pairs:
            pair = item.pair
            rows.append(
                [
                    _label(pair.name, pair.number),
                    _label(pair.reference_name, pair.reference),
                    *item.scores.cells(),
                    f"{item.volume:.3f}" if self.has_spacing else f"{item.volume:.0f}",
                    f"{item.reference_volume:.3f}"
                    if self.has_spacing
                    else f"{item.reference_volume:.0f}",
                ]
            )
        return [*rows, ["mean", "", *self.mean.cells(), "", ""]]

    @property
    def note(self) -> str:
        """What the table does not show, in a sentence or two; may be empty."""
        said = list(self.notices)
        if self.left_out:
            said.append(f"Not scored, nothing lies there: {', '.join(self.left_out)}.")
        return " ".join(said)


def score_labels(
    labels: Volume | NDArray[np.integer],
    reference: Volume,
    *,
    matching: Matching = Matching.NUMBER,
    classes: Sequence[int] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    names: Names = None,
    reference_names: Names = None,
) -> LabelScores:
    """Score labels against reference labels, object by object, in 3D.

    Parameters
    ----------
    labels : Volume, or ndarray, (Z, Y, X) integer
        What is scored. Brought to the reference's grid by
        :func:`~napari_qmedsam.volumes.labels.labels_on_grid`: by affine, never by
        shape alone where there is one.
    reference : Volume
        The truth.
    matching : Matching
    classes : sequence of int, optional
        Score only these labels of `labels`, and with `NUMBER` of the reference.
    tolerance_mm : float
        Of the NSD.
    names, reference_names : mapping of int to str, or segments, optional
        Default: those of the files.

    Returns
    -------
    LabelScores

    Raises
    ------
    GridMismatch
        If the labels cannot be brought there.
    InvalidSettings
        If there is nothing to score, or two labels share a name that they are to be
        matched by.
    """
    if isinstance(labels, Volume) and not keeps_place(reference):
        reference = labels_on_grid(reference, labels)
    placed = labels_on_grid(labels, reference)
    own = LabelSide.of(placed, names)
    truth = LabelSide.of(reference, reference_names)
    pairs = MATCHERS[matching](own, truth)
    if classes is not None:
        wanted = set(classes)
        pairs = [p for p in pairs if wanted & {p.number, _alike(p, matching)}]
    if not pairs:
        raise InvalidSettings(
            f"There is nothing to score: matched by {matching.value}, labels and "
            "reference have no object in common."
            if own.bounds and truth.bounds
            else "There is nothing to score: the labels or the reference are empty."
        )
    unit = voxel_volume_ml(reference) if reference.has_spacing else 1.0
    scored = tuple(_score(pair, own, truth, unit, tolerance_mm) for pair in pairs)
    matched = {pair.reference for pair in pairs}
    left_out = tuple(truth.name(n) for n in truth.bounds if n not in matched)
    return LabelScores(
        scored,
        left_out if classes is None else (),
        tolerance_mm,
        reference.has_spacing,
        placed.notices,
    )


# Helpers ------------------------------------------------------------------


def _score(
    pair: Pair, own: LabelSide, truth: LabelSide, unit: float, tolerance_mm: float
) -> ScoredPair:
    """Score a pair within the box around both, which holds all their surfaces."""
    bounds = [own.bounds[pair.number]] if pair.number is not None else []
    bounds += [truth.bounds[pair.reference]] if pair.reference is not None else []
    around = tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis))
        for axis in zip(*bounds, strict=True)
    )
    mask, expected = (
        np.zeros([s.stop - s.start for s in around], bool)
        if number is None
        else side.volume.array[around] == number
        for side, number in ((own, pair.number), (truth, pair.reference))
    )
    spacing = truth.volume.spacing_mm
    scores = Scores.of(mask, expected, spacing, tolerance_mm)
    sizes = [float(np.count_nonzero(side)) * unit for side in (mask, expected)]
    return ScoredPair(pair, scores, *sizes)


def _alike(pair: Pair, matching: Matching) -> int | None:
    """Return the reference's number where it means the same as the labels' own."""
    return pair.reference if matching is Matching.NUMBER else None


def _label(name: str, number: int | None) -> str:
    if number is None:
        return "–"
    return name if name == f"label {number}" else f"{name} ({number})"
