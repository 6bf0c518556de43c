"""Rows that NNCF makes, on OpenVINO graphs: int8, and weights in 4 bits.

The latter is its ``compress_weights`` with AWQ and scale estimation, in asymmetric
groups of 32; convolutions, which it does not take in groups, have 8 bits.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.checkpoints.exported import read_exported
from napari_qmedsam.checkpoints.openvino_import import import_openvino, openvino_core
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.datasets.calibration import CalibrationSet
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.runtime.conversion import whole_graphs
from napari_qmedsam.runtime.nncf_int8 import quantize_graphs
from napari_qmedsam.runtime.protocol import Backend

GROUP = 32


@dataclass(frozen=True)
class MadeGraphs:
    """Graphs, and what the table says of them.

    `effective_bits` are of the weights that we quantize: what the float graphs would
    have to shrink to, were all that was saved saved on them.
    """

    folder: Path
    label: str
    bits: int
    activation_bits: int
    effective_bits: float
    megabytes: float
    seconds: float

    def backend(self) -> Backend:
        """Load the graphs in OpenVINO."""
        return load_backend(str(self.folder), "openvino")


def make(
    name: str, source: ModelSource, samples: CalibrationSet, folder: Path
) -> MadeGraphs:
    """Write the graphs of ``nncf-int8`` or ``nncf-int4`` into a new folder."""
    folder.mkdir()
    start = time.perf_counter()
    if name == "nncf-int8":
        quantize_graphs(source, samples, folder)
        label, bits, activation_bits = "NNCF int8", 8, 8
    else:
        _compress(source, samples, folder)
        label = f"NNCF int4, AWQ and scale estimation, groups of {GROUP}"
        bits, activation_bits = 4, 32
    seconds = time.perf_counter() - start
    size, exact = (
        sum(path.with_suffix(".bin").stat().st_size for path in pair)
        for pair in (read_exported(folder).pair(".xml"), whole_graphs(source))
    )
    count = sum(layer.weight().numel() for layer in quantizable_layers(source.build()))
    return MadeGraphs(
        folder,
        label,
        bits,
        activation_bits,
        32 - 8 * (exact - size) / count,
        size / 1e6,
        seconds,
    )


def _compress(source: ModelSource, samples: CalibrationSet, folder: Path) -> None:
    openvino = import_openvino()  # before NNCF, which would import it with telemetry
    import nncf
    from nncf.quantization.advanced_parameters import GroupSizeFallbackMode

    nncf.set_log_level(logging.ERROR)
    core, (encoder, decoder) = openvino_core(), whole_graphs(source)
    encode = core.compile_model(encoder, "CPU")
    images = [sample.image[None] for sample in samples.samples]
    prompts = [
        [encode([image])[0].copy(), sample.boxes]
        for image, sample in zip(images, samples.samples, strict=True)
    ]
    for part, path, inputs in (
        ("encoder", encoder, images),
        ("decoder", decoder, prompts),
    ):
        compressed = nncf.compress_weights(
            core.read_model(path),
            mode=nncf.CompressWeightsMode.INT4_ASYM,
            ratio=1.0,
            group_size=GROUP,
            all_layers=True,
            dataset=nncf.Dataset(inputs),
            subset_size=len(inputs),
            awq=True,
            scale_estimation=True,
            advanced_parameters=nncf.AdvancedCompressionParameters(
                group_size_fallback_mode=GroupSizeFallbackMode.ADJUST
            ),
        )
        openvino.save_model(compressed, folder / f"{part}.xml", compress_to_fp16=False)
