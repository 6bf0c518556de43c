"""What a worker does: one case with every model, each loaded once in the process."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.checkpoints.checksum import file_sha256
from napari_qmedsam.checkpoints.encoder_checksum import encoder_sha256
from napari_qmedsam.cohort.cases import Case
from napari_qmedsam.cohort.executors import TOO_LARGE
from napari_qmedsam.cohort.pictures import Picture
from napari_qmedsam.cohort.plan import Labelling, Plan, PlannedModel, Scoring
from napari_qmedsam.cohort.results import CaseResult, LabelledObject, ModelResult
from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.evaluation.report import ScoredObject
from napari_qmedsam.evaluation.volumes import evaluate_volume
from napari_qmedsam.runtime import load
from napari_qmedsam.runtime.protocol import Backend
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.measuring import Tally
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.labels import read_labels
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Volume

_one_at_a_time = Lock()
"""A backend takes one call at a time; workers of a cluster may have more threads."""


class WorkerModel(NamedTuple):
    """A model in memory, and what its embeddings are known by."""

    backend: Backend
    key: str


class Finished(NamedTuple):
    """What came of a case, and a picture (PNG) of each model's worst object."""

    result: CaseResult
    pictures: dict[str, bytes]


@cache
def loaded(model: PlannedModel) -> WorkerModel:
    """Load a model, once in a process."""
    source = model.find()
    backend = load(source, model.variant.runtime)
    info = backend.info
    runs_on = f"{info.backend}/{info.precision}/{info.device}"
    return WorkerModel(backend, f"{encoder_sha256(source)}/{runs_on}")


def run_case(plan: Plan, case: Case) -> Finished:
    """Do with a case what the plan says.

    Slices are encoded once for all models that have one encoder. What is wrong with
    the case, a file that cannot be read or too little memory, is in the result.
    """
    try:
        with _one_at_a_time:
            return _run(plan, case)
    except MemoryError:
        reason = TOO_LARGE
    except (QMedSAMError, OSError) as error:
        reason = " ".join(str(error).split())
    return Finished(CaseResult(case.name, case.patient, error=reason), {})


def input_checksums(case: Case) -> dict[str, str]:
    """Return a checksum of each thing that decides a case's results: files, boxes."""
    found = {what: input_sha256(path) for what, path in case.inputs.items()}
    if case.boxes:
        found["boxes"] = hashlib.sha256(repr(case.boxes).encode()).hexdigest()
    return {**found, "modality": str(case.modality and case.modality.value)}


def input_sha256(path: Path) -> str:
    """Return a checksum of a file, or of all files of a folder with their names."""
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\n".encode())
        digest.update(bytes.fromhex(input_sha256(inner)))
    return digest.hexdigest()


def slug(name: str) -> str:
    """Return a name of a file for the name of a model."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model"


# Helpers ------------------------------------------------------------------


def _run(plan: Plan, case: Case) -> Finished:
    volume = read_volume(case.image, modality=case.modality)
    inputs = input_checksums(case)
    reference = None if case.labels is None else read_labels(case.labels, like=volume)
    results, pictures = {}, {}
    models = [(model.variant.name, loaded(model)) for model in plan.models]
    models.sort(key=lambda item: item[1].key)
    for key, alike in groupby(models, key=lambda item: item[1].key):
        group, encode_ms = list(alike), None
        with _embeddings(plan, is_shared=len(group) > 1) as store:
            for name, model in group:
                segmenter = SliceSegmenter(model.backend, store, plan.max_boxes, key)
                if isinstance(plan.task, Scoring):
                    assert reference is not None
                    work = _Score(plan, plan.task, volume, reference)
                    results[name], pictures[name] = work.run(name, segmenter)
                else:
                    results[name] = _label(plan, case, volume, name, segmenter)
                # An encoder that served several models was timed with the first.
                encode_ms = results[name].encode_ms or encode_ms
                results[name] = replace(results[name], encode_ms=encode_ms)
    names = {} if reference is None else {s.number: s.name for s in reference.segments}
    result = CaseResult(
        case.name,
        case.patient,
        volume.modality.value,
        inputs,
        tuple(results[model.variant.name] for model in plan.models),
        names,
        volume.notices + (() if reference is None else reference.notices),
    )
    return Finished(result, pictures)


@contextmanager
def _embeddings(plan: Plan, is_shared: bool) -> Iterator[EmbeddingStore]:
    """Give a store that forgets nothing while models share it."""
    with TemporaryDirectory(prefix="qmedsam-") as folder:
        yield EmbeddingStore(plan.embedding_bytes, Path(folder) if is_shared else None)


class _Score:
    """Scores one model on a case, and remembers what it did worst."""

    def __init__(
        self, plan: Plan, task: Scoring, volume: Volume, reference: Volume
    ) -> None:
        self.plan, self.task = plan, task
        self.volume, self.reference = volume, reference
        self.worst: tuple[float, Picture] | None = None

    def run(self, name: str, segmenter: SliceSegmenter) -> tuple[ModelResult, bytes]:
        task = self.task
        report = evaluate_volume(
            segmenter,
            self.volume,
            self.reference,
            classes=self._classes(),
            mode=task.mode,
            box_jitter=task.box_jitter,
            tolerance_mm=task.tolerance_mm,
            window=self.plan.window,
            follow=self.plan.follow,
            seed=task.seed,
            witness=self._see,
        )
        encode_ms, decode_ms = segmenter.milliseconds
        result = ModelResult(
            name, report.objects, encode_ms=encode_ms, decode_ms=decode_ms
        )
        return result, b"" if self.worst is None else self.worst[1].png()

    def _classes(self) -> list[int] | None:
        """Return those of the wanted classes that are there; not every case has all."""
        if self.task.classes is None:
            return None
        there = set(np.unique(self.reference.array).tolist())
        kept = [c for c in self.task.classes if c in there]
        return kept or list(self.task.classes)

    def _see(
        self, scored: ScoredObject, mask: NDArray[np.bool_], truth: NDArray[np.bool_]
    ) -> None:
        if self.worst is not None and scored.scores.dsc >= self.worst[0]:
            return
        index = scored.slice_index
        if index is None:
            index = int(np.count_nonzero(mask != truth, axis=(1, 2)).argmax())
            mask, truth = mask[index], truth[index]
        picture = Picture(self.volume, index, self.plan.window, mask, truth)
        self.worst = scored.scores.dsc, picture


def _label(
    plan: Plan, case: Case, volume: Volume, name: str, segmenter: SliceSegmenter
) -> ModelResult:
    task = plan.task
    assert isinstance(task, Labelling)
    session = Session(volume, segmenter, plan.window)
    for object_id, box in enumerate(case.boxes, 1):
        session.add_object(box.box, name=box.name or None, object_id=object_id)
    session.segment(follow=plan.follow)
    folder = task.folder / slug(name)
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".png" if volume.source.format == "picture" else ".nii.gz"
    path = session.save_labels(folder / f"{case.name}_labels{suffix}")
    tally = Tally(volume)
    tally.count(session.labels)
    sizes = {number: tally.measure(number) for number in session.objects}
    encode_ms, decode_ms = segmenter.milliseconds
    return ModelResult(
        name,
        labelled=tuple(
            LabelledObject(
                number, session.objects[number].name, size.voxels, size.volume_ml
            )
            for number, size in sizes.items()
        ),
        labels=path.relative_to(task.folder).as_posix(),
        encode_ms=encode_ms,
        decode_ms=decode_ms,
    )
