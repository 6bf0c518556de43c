"""Post-training int8 with NNCF, the well-kept alternative to compare with.

NNCF places quantizers in the OpenVINO graphs and sets their ranges from
calibration slices. The result is a folder with a pair of graphs, which loads
like any model.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from napari_qmedsam.errors import InvalidSettings, MissingDependency
from napari_qmedsam.models.checkpoints import ModelSource
from napari_qmedsam.models.openvino_import import import_openvino
from napari_qmedsam.quantization.calibration import CalibrationSet, from_phantoms
from napari_qmedsam.runtime.cache import cache_folder, cache_key, make_once
from napari_qmedsam.runtime.conversion import converted

SLICES = 32
"""Phantom slices that `--precision int8` calibrates on."""

LEFT_FLOAT = ".*prompt_encoder.*"
"""Operations that stay float, as in QMedSAM (section 2.2): on a grid of 8 bits the
corners of boxes and the positions of pixels would lie off by pixels."""

VERSION = 2
"""Raise it when the graphs come out differently, so that old ones are not reused."""


def quantize_graphs(
    source: ModelSource,
    samples: CalibrationSet,
    folder: Path,
    progress: Callable[[str], None] = lambda part: None,
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
        Called with the name of each part before it is quantized.

    Raises
    ------
    MissingDependency
        If NNCF is not installed.
    InvalidSettings
        If the model is quantized already.
    """
    if source.is_int8 or source.quantized():
        raise InvalidSettings(
            f"'{source.name}' is quantized already. Start from the float model."
        )
    openvino = import_openvino()  # before NNCF, which would import it with telemetry
    try:
        import nncf
    except ImportError as error:
        raise MissingDependency(
            "Post-training int8 needs NNCF: pip install napari-qmedsam[nncf]"
        ) from error
    nncf.set_log_level(logging.ERROR)
    graphs = converted(source)
    core = openvino.Core()
    encode = core.compile_model(graphs.encoder, "CPU")
    images = [sample.image[None] for sample in samples.samples]
    prompts = [
        [encode([image])[0].copy(), sample.boxes]
        for image, sample in zip(images, samples.samples, strict=True)
    ]
    for name, path, inputs in (
        ("encoder", graphs.encoder, images),
        ("decoder", graphs.decoder, prompts),
    ):
        progress(name)
        quantized = nncf.quantize(
            core.read_model(path),
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
            # The encoder has none of them, which is no mistake.
            ignored_scope=nncf.IgnoredScope(patterns=[LEFT_FLOAT], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )
        openvino.save_model(quantized, folder / f"{name}.xml", compress_to_fp16=False)


def int8_folder(source: ModelSource) -> Path:
    """Return a folder with a float model's int8 graphs, made the first time.

    Calibrated on phantoms.

    Raises
    ------
    MissingDependency, InvalidSettings
        As :func:`quantize_graphs`.
    """
    version = import_openvino().__version__
    key = cache_key(source.sha256, repr(source.config), version, SLICES, VERSION)

    def make(folder: Path) -> None:
        quantize_graphs(source, from_phantoms(source.config, SLICES), folder)

    folder = cache_folder() / "nncf" / f"{source.config.name}-int8-{key}"
    return make_once(folder, "decoder.bin", make)
