"""Scores by modality, several models side by side: Tables 7, 9 and 10 of QMedSAM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from napari_qmedsam.datasets.dataset import DataSet
from napari_qmedsam.errors import InvalidSettings, UnusableData
from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.evaluation.scores import SCORE_NAMES, Scores, headings
from napari_qmedsam.evaluation.tables import Cells
from napari_qmedsam.evaluation.volumes import Mode, evaluate_volume
from napari_qmedsam.segmentation.segmenter import SliceSegmenter

PHANTOM_CASES = 20
"""Slices of each phantom modality unless asked otherwise."""

AVERAGE = "Average"
"""Name of the last row: the mean over modalities, each counting the same."""


@dataclass(frozen=True)
class CaseScore:
    """What a model did on one case.

    Parameters
    ----------
    modality, case : str
    scores : Scores
        Means over the objects of the case.
    seconds : float
        For preparing, encoding and decoding.
    objects : int
        Scored objects.
    """

    modality: str
    case: str
    scores: Scores
    seconds: float
    objects: int


@dataclass(frozen=True)
class Means:
    """Mean scores, and seconds for a case."""

    scores: Scores
    seconds: float

    @classmethod
    def over(cls, items: "Sequence[CaseScore | Means]") -> "Means":
        """Return the mean of each score and of the time."""
        return cls(
            Scores.mean(item.scores for item in items),
            fmean(item.seconds for item in items),
        )


@dataclass(frozen=True)
class ModalityReport:
    """The cases of a data set under one model.

    Parameters
    ----------
    label : str
        Heading of the model's columns.
    backend, precision : str
    scores : tuple of CaseScore
    skipped : tuple of str
        Cases without an object that is large enough.
    """

    label: str
    backend: str
    precision: str
    scores: tuple[CaseScore, ...]
    skipped: tuple[str, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities with scores, in their order."""
        return tuple(dict.fromkeys(score.modality for score in self.scores))

    def of(self, modality: str) -> Means:
        """Return the means over the cases of a modality."""
        return Means.over([s for s in self.scores if s.modality == modality])

    def average(self) -> Means:
        """Return the mean over modalities."""
        return Means.over([self.of(name) for name in self.modalities])


def evaluate_modalities(
    segmenter: SliceSegmenter,
    data: DataSet,
    *,
    label: str | None = None,
    cases: int | None = None,
    mode: Mode = Mode.SLICE,
    box_jitter: int = 0,
    tolerance_mm: float = TOLERANCE_MM,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ModalityReport:
    """Score a model on every case of a data set, boxes taken from the labels.

    Parameters
    ----------
    segmenter : SliceSegmenter
    data : DataSet
    label : str, optional
        Default: the model's name.
    cases : int, optional
        Of each modality at most; default: all files, or 20 phantoms.
    mode, box_jitter, tolerance_mm, seed
        As for :func:`evaluate_volume`.
    progress : callable, optional
        Called with cases done and in all.

    Raises
    ------
    UnusableData
        If no case has an object to score.
    """
    if cases is None and data.is_phantom:
        cases = PHANTOM_CASES
    counts = [
        len(m) if data.is_phantom else len(getattr(m, "files", ()))
        for m in data.modalities
    ]
    total = sum(count if cases is None else min(cases, count) for count in counts)
    scores, skipped = [], []
    for modality in data.modalities:
        for case in modality.cases(cases):
            try:
                report = evaluate_volume(
                    segmenter,
                    case.volume,
                    case.labels,
                    mode=mode,
                    box_jitter=box_jitter,
                    tolerance_mm=tolerance_mm,
                    seed=seed,
                )
            except InvalidSettings:  # no object of the least size
                skipped.append(case.name)
            else:
                scores.append(
                    CaseScore(
                        modality.name,
                        case.name,
                        report.mean,
                        report.seconds,
                        len(report.objects),
                    )
                )
            if progress is not None:
                progress(len(scores) + len(skipped), total)
    if not scores:
        raise UnusableData(
            f"None of the {len(skipped)} cases of '{data.source}' has an object that "
            "is large enough to score."
        )
    info = segmenter.backend.info
    return ModalityReport(
        label or info.model, info.backend, info.precision, tuple(scores), tuple(skipped)
    )


def modality_table(
    reports: Sequence[ModalityReport], run_time: bool = True
) -> list[list[str]]:
    """Lay reports out as the paper does: modalities down, models across.

    Parameters
    ----------
    reports : sequence of ModalityReport
        Of the same data.
    run_time : bool
        Add the seconds for a case, as Table 10 does and Tables 7 and 9 do not.
    """
    kinds = (*headings(), *(("seconds a case",) if run_time else ()))
    head = ["modality", *(f"{r.label}: {kind}" for r in reports for kind in kinds)]
    rows = [head]
    for name in reports[0].modalities:
        rows.append([name, *_cells([r.of(name) for r in reports], run_time)])
    rows.append([AVERAGE, *_cells([r.average() for r in reports], run_time)])
    return rows


def case_table(reports: Sequence[ModalityReport]) -> Cells:
    """Return every case under every model, a row each."""
    head = ["model", "modality", "case", "objects", *SCORE_NAMES, "seconds"]
    return [
        head,
        *(
            [
                report.label,
                score.modality,
                score.case,
                str(score.objects),
                *score.scores.cells("{:.4f}"),
                f"{score.seconds:.4f}",
            ]
            for report in reports
            for score in report.scores
        ),
    ]


def _cells(means: Sequence[Means], run_time: bool) -> list[str]:
    cells = []
    for item in means:
        cells += item.scores.cells()
        if run_time:
            cells.append(f"{item.seconds:.2f}")
    return cells
