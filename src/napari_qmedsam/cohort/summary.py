"""What the scores of a cohort say: by patient, class and modality, and in pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from napari_qmedsam.cohort.results import CaseResult, ModelResult
from napari_qmedsam.evaluation.intervals import Interval, bootstrap_mean
from napari_qmedsam.evaluation.noninferiority import PairedScores
from napari_qmedsam.evaluation.scores import SCORE_NAMES, Scores, headings
from napari_qmedsam.evaluation.tables import Cells

EVERY = "all"
"""What stands for all classes or modalities together."""


@dataclass(frozen=True)
class Group:
    """Which objects are meant; None for all.

    Parameters
    ----------
    class_id : int, optional
    modality : str, optional
    """

    class_id: int | None = None
    modality: str | None = None


@dataclass(frozen=True)
class CohortScores:
    """The scores of the cases that have any.

    A patient counts once: objects of a class are averaged, then classes, then the
    patient's cases. So neither a long organ, which many slices show, nor a patient
    with many scans decides a mean.

    Parameters
    ----------
    results : sequence of CaseResult
        Broken ones are left out.
    """

    results: Sequence[CaseResult]

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order of the plan."""
        return list(dict.fromkeys(m.model for r in self.results for m in r.models))

    @property
    def classes(self) -> dict[int, str]:
        """Classes with scores, ascending, with their names where labels have them."""
        found: dict[int, str] = {}
        for result in self.results:
            for model in result.models:
                for item in model.scored:
                    name = result.class_names.get(item.class_id, "")
                    found[item.class_id] = found.get(item.class_id) or name
        return dict(sorted(found.items()))

    @property
    def modalities(self) -> list[str]:
        """Modalities of the cases, by name."""
        return sorted({r.modality for r in self.results if r.models})

    def by_patient(self, model: str, group: Group = Group()) -> dict[str, Scores]:
        """Return the mean scores of each patient who has an object of the group."""
        cases: dict[str, list[Scores]] = {}
        for result in self.results:
            if group.modality not in (None, result.modality):
                continue
            for made in result.models:
                if made.model == model and (scores := _of_case(made, group)):
                    cases.setdefault(result.patient, []).append(scores)
        return {patient: Scores.mean(each) for patient, each in sorted(cases.items())}

    def intervals(self, model: str, group: Group = Group()) -> dict[str, Interval]:
        """Return the mean of each score over patients, in the units of tables."""
        patients = [scores.shown() for scores in self.by_patient(model, group).values()]
        return {
            name: bootstrap_mean([scores[name] for scores in patients])
            for name in SCORE_NAMES
        }

    def missed(self, model: str, group: Group = Group()) -> tuple[int, int]:
        """Return how many objects were missed, and how many there are."""
        scored = [
            item.scores
            for result in self.results
            if group.modality in (None, result.modality)
            for made in result.models
            if made.model == model
            for item in made.scored
            if group.class_id in (None, item.class_id)
        ]
        return sum(item.is_missed for item in scored), len(scored)

    def paired(self, references: Mapping[str, str]) -> list[PairedScores]:
        """Return the differences of each model to the one it is compared with.

        Parameters
        ----------
        references : mapping of str to str
            Names of the models that are compared, and with what.
        """
        pairs = []
        for model, reference in references.items():
            own, other = self.by_patient(model), self.by_patient(reference)
            both = [(own[p], other[p]) for p in own if p in other]
            pairs.append(PairedScores.of(model, reference, both))
        return pairs

    def mean_cells(self, tolerance_mm: float) -> Cells:
        """Return the means alone, a row for each model: a terminal has room for it."""
        rows = [["model", "patients", "objects", "missed", *headings(tolerance_mm)]]
        for model in self.models:
            patients = self.by_patient(model)
            missed, objects = self.missed(model)
            counts = [str(n) for n in (len(patients), objects, missed)]
            rows.append([model, *counts, *Scores.mean(patients.values()).cells()])
        return rows

    def cells(self, tolerance_mm: float, groups: Sequence[Group] = (Group(),)) -> Cells:
        """Return means with intervals, a row for each group and model."""
        head = ["modality", "class", "model", "patients", "objects", "missed"]
        rows = [[*head, *headings(tolerance_mm)]]
        names = self.classes
        for group in groups:
            for model in self.models:
                found = self.intervals(model, group)
                missed, objects = self.missed(model, group)
                if not objects:
                    continue
                named = EVERY
                if group.class_id is not None:
                    named = f"{group.class_id} {names[group.class_id]}".strip()
                patients = max(i.count for i in found.values())
                counts = [str(patients), str(objects), str(missed)]
                scores = [interval.text() for interval in found.values()]
                rows.append([group.modality or EVERY, named, model, *counts, *scores])
        return rows

    def groups(self) -> list[Group]:
        """Return all together, each modality, and each class of each modality."""
        several = len(self.modalities) > 1
        found = [Group()]
        for modality in self.modalities:
            found += [Group(None, modality)] if several else []
            found += [Group(class_id, modality) for class_id in self.classes]
        return found


def _of_case(made: ModelResult, group: Group) -> Scores | None:
    """Return the mean over classes of the means over a case's objects."""
    by_class: dict[int, list[Scores]] = {}
    for item in made.scored:
        if group.class_id in (None, item.class_id):
            by_class.setdefault(item.class_id, []).append(item.scores)
    if not by_class:
        return None
    return Scores.mean(Scores.mean(each) for each in by_class.values())
