"""The report of runs: what was found, in sections, without a word on a patient.

Cases have numbers; which file is which is told by ``cases.csv`` in the folder of the
run, which stays where the data is. Pictures show pixels and outlines, nothing written.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_qmedsam.cohort.merged_runs import MergedRuns
from napari_qmedsam.cohort.summary import CohortScores
from napari_qmedsam.cohort.verdicts import (
    RunVerdict,
    judge_run,
    milliseconds,
    references_of,
)
from napari_qmedsam.evaluation.margins import STANDARD, Margins
from napari_qmedsam.evaluation.noninferiority import verdict_cells
from napari_qmedsam.evaluation.tables import Cells

WORST = 4
"""Pictures for each model."""

MEANS = (
    "Means over patients, with 95 % intervals (BCa bootstrap over patients). A "
    "patient's score is the mean over classes of the means over objects. Missed "
    "objects count with 0 in DSC and NSD and have no distance."
)

RESEARCH_ONLY = "Research only: not a medical device, and not for clinical use."


@dataclass(frozen=True)
class ReportPicture:
    """A picture with what is said below it."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Parameters
    ----------
    title : str
    text : tuple of str
        Paragraphs.
    cells : Cells
        A table, headings first; none where empty.
    pictures : tuple of ReportPicture
    has_figure : bool
        Whether the report's figure stands here.
    """

    title: str
    text: tuple[str, ...] = ()
    cells: Cells = ()
    pictures: tuple[ReportPicture, ...] = ()
    has_figure: bool = False


@dataclass(frozen=True)
class CohortReport:
    """A report, ready to be written in any form.

    Parameters
    ----------
    title : str
    sections : tuple of Section
    summary : Cells
        The scores by modality and class, for a CSV.
    png, svg : bytes
        The figure.
    """

    title: str
    sections: tuple[Section, ...]
    summary: Cells
    png: bytes = field(repr=False)
    svg: bytes = field(repr=False)


def make_report(
    runs: MergedRuns, margins: Margins = STANDARD, against: str | None = None
) -> CohortReport:
    """Say what runs found: scores, verdict, worst cases, costs, provenance.

    Parameters
    ----------
    runs : MergedRuns
    margins : Margins
    against : str, optional
        Name of the model that the others are compared with. Default: the float one.

    Raises
    ------
    InvalidSettings
        If there is no model of that name.
    """
    from napari_qmedsam.cohort import report_figure

    scores = CohortScores(runs.results)
    verdict = judge_run(runs.models, runs.results, margins, against)
    pairs = scores.paired(references_of(runs.models, against))
    figure = report_figure.draw_scores(scores, pairs, margins)
    groups, tolerance = scores.groups(), runs.plan["task"]["tolerance_mm"]
    few = [group for group in groups if group.class_id is None]
    by_class = [group for group in groups if group.class_id is not None]
    summary = scores.cells(tolerance, groups)
    sections = (
        _what_was_done(runs),
        *_verdict(verdict, margins),
        Section("Scores", (MEANS,), scores.cells(tolerance, few)),
        Section(
            "Every patient",
            ("A dot is a patient; squares are means with their intervals.",),
            has_figure=True,
        ),
        *_worst(runs),
        _costs(runs),
        Section("Scores by class", cells=scores.cells(tolerance, by_class)),
        *_provenance(runs),
    )
    png, svg = report_figure.png(figure), report_figure.svg(figure)
    return CohortReport("Segmentation from boxes, scored", sections, summary, png, svg)


# Sections -----------------------------------------------------------------


def _what_was_done(runs: MergedRuns) -> Section:
    task, results = runs.plan["task"], runs.results
    failed = [runs.numbers[r.case] for r in results if r.error]
    patients = len({r.patient for r in results if not r.error})
    done = len(results) - len(failed)
    prompts = {
        "slice": "Every slice of every class was segmented by its own box, taken from "
        "the reference labels.",
        "volume": "Every class was segmented by one 3D box, taken from the reference "
        "labels.",
    }[task["mode"]]
    if task["box_jitter"]:
        prompts += (
            f" Each side of a box was moved by up to {task['box_jitter']} voxels "
            f"(seed {task['seed']})."
        )
    window = runs.plan["window"]
    told = "of each image's kind" if window is None else f"{window[0]} to {window[1]}"
    text = [
        f"{done} cases of {patients} patients, {len(runs.models)} models.",
        f"{prompts} Window: {told}. Tolerance of the NSD: {task['tolerance_mm']} mm.",
    ]
    if failed:
        numbers = ", ".join(map(str, failed))
        text.append(f"Failed, and counted nowhere: case {numbers}.")
    return Section("What was done", (*text, RESEARCH_ONLY))


def _verdict(said: RunVerdict, margins: Margins) -> list[Section]:
    if not said.verdicts:
        return [Section("Are few bits enough?", (said.notice,))] if said.notice else []
    how = (
        "A test of non-inferiority, paired by patient. Points that may be lost: "
        f"{margins.dsc:g} of DSC, {margins.nsd:g} of NSD. Enough needs both scores to "
        "show it, by a one-sided t test at 2.5 % after Holm's correction and by a 95 % "
        "bootstrap interval."
    )
    text = [how, *(verdict.text for verdict in said.verdicts)]
    if said.fewest_bits is not None:
        text.append(f"Fewest bits that are enough: '{said.fewest_bits.variant}'.")
    if said.fastest is not None:
        text.append(f"Fastest that is enough: '{said.fastest.variant}'.")
    cells = verdict_cells(said.verdicts)
    return [Section("Are few bits enough?", tuple(text), cells)]


def _worst(runs: MergedRuns) -> list[Section]:
    sections = []
    for model in runs.models:
        ranked = []
        for result in runs.results:
            for made in result.models:
                if made.model == model["name"] and made.scored:
                    item = min(made.scored, key=lambda item: item.scores.dsc)
                    ranked.append((item.scores.dsc, result, item))
        ranked.sort(key=lambda entry: entry[0])
        pictures = []
        for dsc, result, item in ranked[:WORST]:
            png = runs.picture(result.case, model["name"])
            if png is None:
                continue
            named = result.class_names.get(item.class_id, "")
            where = "" if item.slice_index is None else f", slice {item.slice_index}"
            caption = (
                f"Case {runs.numbers[result.case]}, class {item.class_id} {named}"
            ).rstrip()
            pictures.append(
                ReportPicture(f"{caption}{where}: DSC {100 * dsc:.1f} %", png)
            )
        if pictures:
            text = "The worst object of the worst cases: mask solid, reference dashed."
            title = f"Worst cases of '{model['name']}'"
            sections.append(Section(title, (text,), pictures=tuple(pictures)))
    return sections


def _costs(runs: MergedRuns) -> Section:
    times = milliseconds(runs.results)
    head = ["model", "architecture", "method", "bits", "effective bits", "file MB"]
    rows = [[*head, "runs on", "ms/slice"]]
    for model in runs.models:
        time = times.get(model["name"])
        rows.append(
            [
                model["name"],
                model["architecture"],
                model["method"],
                model["bits"],
                f"{model['effective_bits']:.2f}",
                f"{model['file_bytes'] / 1e6:.2f}",
                f"{model['backend']}, {model['precision']}",
                "" if time is None else f"{time:.0f}",
            ]
        )
    text = (
        "Effective bits count all that is stored for a weight, scales and indices "
        "included. Times are medians of one thread while the other workers ran, so "
        "they compare models, not machines."
    )
    return Section("Speed and size", (text,), rows)


def _provenance(runs: MergedRuns) -> list[Section]:
    rows = [["what", "value"]]
    for number, made in enumerate(runs.provenance, 1):
        run = f"run {number}: " if len(runs.provenance) > 1 else ""
        for group in ("versions", "machine"):
            rows += [[f"{run}{k}", str(v)] for k, v in made.get(group, {}).items()]
    rows.append(["settings", json.dumps(runs.plan)])
    models = [["model", "SHA-256", "card"]]
    for model in runs.models:
        models.append([model["name"], model["sha256"][:16], _card_text(model["card"])])
    return [
        Section("Models and their cards", cells=models),
        Section("Made with", cells=rows),
    ]


def _card_text(card: Mapping[str, Any]) -> str:
    """Return title, licence, recipe and limits of a card, as far as it has them."""
    said = [str(card[key]) for key in ("title", "licence", "limits") if key in card]
    settings = card.get("recipe", {}).get("settings")
    return "; ".join([*said, *([json.dumps(settings)] if settings else [])])
