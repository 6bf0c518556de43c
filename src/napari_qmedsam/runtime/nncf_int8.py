"""Post-training int8 with NNCF, the well-kept alternative to compare with.

NNCF places quantizers in the OpenVINO graphs and sets their ranges from
calibration slices. The result is a folder with a pair of graphs, which loads
like any model.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_qmedsam.checkpoints.arithmetic import Arithmetic
from napari_qmedsam.checkpoints.openvino_import import (
    import_nncf,
    import_openvino,
    openvino_core,
)
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.datasets.calibration import CalibrationSet
from napari_qmedsam.errors import InvalidSettings, MissingDependency
from napari_qmedsam.runtime.conversion import whole_graphs

LEFT_FLOAT = ".*prompt_encoder.*"
"""Operations that stay float, as in QMedSAM (section 2.2): on a grid of 8 bits the
corners of boxes and the positions of pixels would lie off by pixels."""

BOXES = 4
"""Boxes of a slice that the decoder is calibrated with, at most. Its ranges are of
whole tensors, and further boxes on the same slice say little new."""

PASSES = 2
"""Times that NNCF goes over the calibration slices of a transformer."""

MISSING = "Post-training int8 needs NNCF: pip install napari-qmedsam[nncf]"


def quantize_graphs(
    source: ModelSource,
    samples: CalibrationSet,
    folder: Path,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Write encoder and decoder in int8 as OpenVINO graphs.

    The prompt encoder stays float. Weights keep within 7 bits, so that no
    processor's 8-bit kernels overflow (:mod:`~napari_qmedsam.runtime.overflow`).

    Parameters
    ----------
    source : ModelSource
        Float.
    samples : CalibrationSet
    folder : Path
        Must exist.
    progress : callable
        Called for each slice of each pass with the number of slices done, that
        of all passes over both parts, and a text.

    Raises
    ------
    MissingDependency
        If NNCF is not installed.
    InvalidSettings
        If the model is quantized already.
    """
    if source.arithmetic is not Arithmetic.FLOAT:
        raise InvalidSettings(
            f"'{source.name}' is quantized already. Start from the float model."
        )
    openvino = import_openvino()
    try:
        nncf = import_nncf()
    except ImportError as error:
        raise MissingDependency(MISSING) from error
    nncf.set_log_level(logging.ERROR)
    encoder, decoder = whole_graphs(source)
    core = openvino_core()
    encode = core.compile_model(encoder, "CPU")
    images = [sample.image[None] for sample in samples.samples]
    prompts = [
        [encode([image])[0].copy(), sample.boxes[:BOXES]]
        for image, sample in zip(images, samples.samples, strict=True)
    ]
    steps = PASSES * len(images)
    done = 0
    for name, path, inputs in (
        ("encoder", encoder, images),
        ("decoder", decoder, prompts),
    ):
        quantized = nncf.quantize(
            core.read_model(path),
            nncf.Dataset(_Counted(inputs, name, done, 2 * steps, progress)),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
            # The encoder has none of them, which is no mistake.
            ignored_scope=nncf.IgnoredScope(patterns=[LEFT_FLOAT], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )
        openvino.save_model(quantized, folder / f"{name}.xml", compress_to_fp16=False)
        done += steps
        progress(done, 2 * steps, name)


@dataclass
class _Counted:
    """Inputs that tell when each of them is taken; NNCF itself tells nothing."""

    inputs: list[Any]
    part: str
    before: int
    total: int
    progress: Callable[[int, int, str], None]

    def __post_init__(self) -> None:
        self._taken = 0

    def __iter__(self) -> Iterator[Any]:
        last = PASSES * len(self.inputs) - 1
        for number, item in enumerate(self.inputs, 1):
            text = f"{self.part}, slice {number} of {len(self.inputs)}"
            self.progress(self.before + min(self._taken, last), self.total, text)
            self._taken += 1
            yield item
