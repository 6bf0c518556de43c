"""Torch model to OpenVINO graphs, once, kept on disk.

A pair of graphs, encoder and decoder, lies under the user's cache folder in a
folder named by everything that decides them: weights checksum, configuration,
OpenVINO version and the version of this code.
"""

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.runtime.compressed_weights import compress_weights

if TYPE_CHECKING:
    from napari_qmedsam.models.medsam import MedSAM

log = logging.getLogger(__name__)

CONVERSION_VERSION = 1
"""Raise it when the conversion changes, so that old graphs are not reused."""


@dataclass(frozen=True)
class ConvertedModel:
    """Paths of the two graphs, and a folder for OpenVINO's own cache."""

    encoder: Path
    decoder: Path
    compiled: Path


def cache_folder() -> Path:
    """Folder for what can be made again; QMEDSAM_CACHE overrides it."""
    override = os.environ.get("QMEDSAM_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("napari-qmedsam", appauthor=False))


def import_openvino() -> ModuleType:
    """Import OpenVINO with its telemetry left out.

    It would report to a web service each time it is imported, which a tool
    for medical images must not do, and which stalls without a network.
    OpenVINO falls back to a stub where the telemetry package is missing; it
    is made to look so for the time of the import.
    """
    name = "openvino_telemetry"
    if "openvino" not in sys.modules and name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[name]
    import openvino

    return openvino


def converted(source: ModelSource) -> ConvertedModel:
    """Return the graphs of a model, converting them the first time.

    Two processes may convert at once: each works in a folder of its own and
    the rename at the end decides.
    """
    openvino = import_openvino()
    key = "\n".join(
        [source.sha256, repr(source.config), openvino.__version__]
        + [str(CONVERSION_VERSION)]
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = cache_folder() / "openvino" / f"{source.config.name}-{digest}"
    if not (folder / "decoder.bin").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
        try:
            _convert(source, work)
            try:
                work.rename(folder)
            except OSError:  # another process was first, or an old half is there
                if not (folder / "decoder.bin").exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return ConvertedModel(
        folder / "encoder.xml", folder / "decoder.xml", folder / "compiled"
    )


def _convert(source: ModelSource, folder: Path) -> None:
    import torch
    from torch import Tensor, nn

    openvino = import_openvino()

    class Decoder(nn.Module):
        """Prompt encoder and mask decoder as one graph."""

        def __init__(self, model: "MedSAM") -> None:
            super().__init__()
            self.model = model

        def forward(self, image_embedding: Tensor, boxes: Tensor) -> Tensor:
            return self.model.decode(image_embedding, boxes)[0][:, 0]

    log.info("Converting %s to OpenVINO", source.config.name)
    config, model = source.config, source.build()
    size = config.input_size
    image = torch.from_numpy(
        np.random.default_rng(0).random((1, 3, size, size), np.float32)
    )
    embedding = torch.zeros(
        1, config.embedding_channels, config.embedding_size, config.embedding_size
    )
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.3, 0.3, 0.9, 0.8]]) * size
    with torch.inference_mode(), warnings.catch_warnings():
        # Traced here: OpenVINO's own call checks the trace by running the model
        # several times, which takes longer than everything else together. The
        # branches the tracer warns of depend on the configuration alone.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # torch would rather have torch.export, but this is what OpenVINO takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(model.image_encoder, image, check_trace=False)
        encoder = openvino.convert_model(
            traced, example_input=image, input=[tuple(image.shape)]
        )
        example = (embedding, boxes)
        traced = torch.jit.trace(Decoder(model).eval(), example, check_trace=False)
        decoder = openvino.convert_model(
            traced, example_input=example, input=[tuple(embedding.shape), (-1, 4)]
        )
    weights = source.quantized()
    if weights:
        names = {f"self.model.{name}.weight": w for name, w in weights.items()}
        reports = [compress_weights(decoder, names)]
        names = {
            f"self.{name.removeprefix('image_encoder.')}.weight": w
            for name, w in weights.items()
            if name.startswith("image_encoder.")
        }
        reports.append(compress_weights(encoder, names))
        log.info(
            "%d weights run compressed, %d unpacked",
            sum(len(report.compressed) for report in reports),
            sum(len(report.unpacked) for report in reports),
        )
    openvino.save_model(encoder, folder / "encoder.xml", compress_to_fp16=False)
    openvino.save_model(decoder, folder / "decoder.xml", compress_to_fp16=False)
