"""Compare the masks of the runtimes with each other, and torch with itself.

    python benchmarks/agreement.py [--model demo-qat] [--slices 4]
        [--out docs/int8.md]

Objects of at least 100 pixels on phantom slices that no training seed gives, by
their tight boxes. Torch in float32 is what the others are compared with. Torch in
float64 is the same model with other last bits in its sums: what it differs by, no
runtime can be blamed for. With --out the table is put between its markers there.
"""

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from pages import put_between

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.modality import PhantomSlices
from napari_qmedsam.evaluation.metrics import dice
from napari_qmedsam.evaluation.rules import MINIMUM_VOXELS
from napari_qmedsam.phantoms.random_slices import PhantomKind
from napari_qmedsam.preprocessing import SliceGeometry
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.runtime import Backend, load_backend
from napari_qmedsam.runtime.torch_backend import TorchBackend

SEED = 0

RUNTIMES = ("torch", "openvino", "onnxruntime")


class DoubleTorch(TorchBackend):
    """Torch with float64 between the same float32 weights."""

    def __init__(self, model: str) -> None:
        super().__init__(resolve_model(model))
        self._model.double()

    def _tensor(self, values: NDArray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float64))

    @torch.inference_mode()
    def encode(self, model_input: NDArray[np.float32]) -> NDArray:
        return self._model.image_encoder(self._tensor(model_input)[None]).numpy()


Run = tuple[list[NDArray], list[NDArray[np.bool_]]]
"""Embeddings, and the masks of all objects."""


def run(backend: Backend, slices: int) -> Run:
    embeddings, masks = [], []
    for kind in PhantomKind:
        for index in range(slices):
            drawn = PhantomSlices(kind, SEED, held_out=True).read(index)
            geometry = SliceGeometry.of(backend.config, *drawn.image.shape)
            values, counts = np.unique(drawn.labels, return_counts=True)
            boxes = [
                geometry.box_to_input(Box2D.enclosing(drawn.labels == value))
                for value, count in zip(values, counts, strict=True)
                if value and count >= MINIMUM_VOXELS
            ]
            embedding = backend.encode(geometry.prepare(drawn.image))
            logits = backend.decode(embedding, np.array(boxes, np.float32))
            embeddings.append(embedding)
            masks += list(geometry.logits_to_masks(logits.astype(np.float32)))
    return embeddings, masks


def row(name: str, precision: str, ours: Run, theirs: Run) -> str:
    off = fmean(
        float(np.linalg.norm(a - b) / np.linalg.norm(b))
        for a, b in zip(ours[0], theirs[0], strict=True)
    )
    scores = [dice(a, b) for a, b in zip(ours[1], theirs[1], strict=True)]
    return (
        f"| {name} | {precision} | {100 * off:.1f} % | {fmean(scores):.4f} | "
        f"{min(scores):.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo-qat")
    parser.add_argument("--slices", type=int, default=4, help="of each kind")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results, precisions = {}, {}
    for name in RUNTIMES:
        backend = load_backend(arguments.model, name)
        results[name] = run(backend, arguments.slices)
        precisions[name] = backend.info.precision
    results["torch, float64"] = run(DoubleTorch(arguments.model), arguments.slices)
    reference = results.pop("torch")
    objects, slices = len(reference[1]), len(reference[0])
    lines = [
        f"{arguments.model}, {objects} objects on {slices} slices, seed {SEED}:",
        "",
        "| against torch | arithmetic | embedding | mean DSC | lowest DSC |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, result in results.items():
        lines.append(row(name, precisions.get(name, "float64"), result, reference))
    text = "\n".join(lines)
    print(text)
    if arguments.out:
        put_between(arguments.out, "agreement", text)


if __name__ == "__main__":
    main()
