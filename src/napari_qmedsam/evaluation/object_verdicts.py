"""Whether few bits are enough on the objects of one scan, which says less than that.

Objects of one scan are of one patient and one scanner: what holds for them need not
hold for others. :mod:`napari_qmedsam.cohort` judges by patient.
"""

from collections.abc import Mapping

from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.noninferiority import PairedScores, Unit, Verdict, judge
from napari_qmedsam.evaluation.sample_size import FEWEST
from napari_qmedsam.evaluation.variant_result import VariantResult


def judge_objects(
    results: Mapping[str, VariantResult],
    baselines: Mapping[str, str],
    margins: Margins = STANDARD,
) -> dict[str, Verdict]:
    """Test variants against their float models, object by object.

    Parameters
    ----------
    results : mapping of str to VariantResult
        By name.
    baselines : mapping of str to str
        Names of variants, and of the model each is compared with.
    margins : Margins

    Returns
    -------
    dict of str to Verdict
    """
    pairs = []
    for name, baseline in baselines.items():
        own, other = results[name].scores, results[baseline].scores
        both = [(own[o], other[o]) for o in own]
        pairs.append(PairedScores.of(name, baseline, both))
    verdicts = judge(pairs, margins, Unit.OBJECT)
    return {verdict.variant: verdict for verdict in verdicts}


def summary_of(verdicts: Mapping[str, Verdict]) -> str:
    """Return what the verdicts come to, in a sentence; empty with too few objects."""
    told = [verdict for verdict in verdicts.values() if verdict.units >= FEWEST]
    if not told:
        return ""
    said = ", ".join(f"{verdict.variant}: {verdict.answer.value}" for verdict in told)
    return f"Few bits, by object of this scan alone: {said}."
