"""One call for each thing a notebook does: load, quantize, compare."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.checkpoints.default_model import AUTO, resolve_auto
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.matching import boxes_of_labels, match_objects
from napari_qmedsam.evaluation.results_table import ComparisonTable
from napari_qmedsam.evaluation.rules import TOLERANCE_MM
from napari_qmedsam.evaluation.variants import Variant, load_variant, variant_of
from napari_qmedsam.quantization.job import QuantizationJob, default_target
from napari_qmedsam.quantization.settings import QuantizationSettings
from napari_qmedsam.quantization.whole_model import QuantizationProgress
from napari_qmedsam.runtime import load_backend
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.labels import labels_on_grid, read_labels
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

PathLike = str | os.PathLike
"""Where a file is."""


def load_model(
    model: str = AUTO,
    *,
    weights: PathLike | None = None,
    backend: str = "openvino",
    precision: str = "fp32",
    device: str = "auto",
    threads: int = 0,
) -> SliceSegmenter:
    """Load a model that segments boxes on slices.

    Parameters
    ----------
    model : str
        ``auto``, the best model (`qmedsam_lite`), another name (``demo``,
        ``lite_medsam``, ``medsam_vit_b``), a weights file, or a folder with exported
        graphs. Official weights are downloaded once, when they are named.
    weights : path, optional
        A weights file for a named model.
    backend : str
        ``openvino``, ``onnxruntime`` or ``torch``.
    precision : str
        ``fp32``, or ``int8`` for the model's int8 form.
    device : str
        ``auto``, ``cpu``, or ``cuda`` in torch.
    threads : int
        CPU threads; 0 leaves it to the runtime.

    Returns
    -------
    SliceSegmenter
        ``segment_slice(volume, slice_index, boxes)`` gives masks.

    Raises
    ------
    QMedSAMError
        As :func:`~napari_qmedsam.runtime.load_backend`.
    """
    return SliceSegmenter(
        load_backend(
            model,
            backend,
            weights=weights,
            precision=precision,
            device=device,
            threads=threads,
        )
    )


def quantize(
    model: str = AUTO,
    target: PathLike | None = None,
    *,
    bits: int = 4,
    weights: PathLike | None = None,
    calibration: PathLike | Volume | None = None,
    slices: int = 32,
    seed: int = 0,
    backend: str = "openvino",
    progress: Callable[[QuantizationProgress], None] = lambda step: None,
    **settings: Any,
) -> Variant:
    """Quantize a model's weights after training, and write it to a file.

    Parameters
    ----------
    model : str
        As for :func:`load_model`; must be float.
    target : path, optional
        Ends in ``.qmedsam.safetensors``; a file of that name is replaced. Default:
        named by model, method and bits, in the current folder.
    bits : int
        Bits per code, 1 to 8.
    weights : path, optional
        A weights file for a named model.
    calibration : path or Volume, optional
        Images whose slices the model is calibrated on. Default: phantoms.
    slices : int
        How many of them.
    seed : int
        Which of them, or which phantoms.
    backend : str
        What the variant is to run on.
    progress : callable
        Called after every calibration slice and every layer.
    **settings
        Further fields of
        :class:`~napari_qmedsam.quantization.settings.QuantizationSettings`, such as
        ``method="rtn"``.

    Returns
    -------
    Variant
        What was written: file, effective bits per weight, size.

    Raises
    ------
    QMedSAMError
        If a setting, the model or an image will not do.
    """
    chosen = QuantizationSettings.of(bit_width=bits, **settings)
    model, weights = resolve_auto(model, weights)
    path = default_target(model, chosen) if target is None else Path(target)
    plan = _plan(calibration, slices, seed)
    QuantizationJob(resolve_model(model, weights), chosen, plan).run(path, progress)
    return variant_of(str(path), backend=backend)


def compare(
    image: PathLike | Volume,
    reference: PathLike | Volume | NDArray[np.integer],
    models: Sequence[str | Variant] = (AUTO,),
    *,
    objects: Sequence[SegmentObject] | None = None,
    backend: str = "openvino",
    window: Window | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    follow: Follow = Follow.BOX,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> ComparisonTable:
    """Segment the same boxes with several models, and score each of them.

    Parameters
    ----------
    image : path or Volume
    reference : path, Volume or (Z, Y, X) integer array
        True labels; 0 is background. A file or volume on another grid is brought to
        the image's.
    models : sequence of str or Variant
        Names, weights files, or variants.
    objects : sequence of SegmentObject, optional
        Whose boxes the models are asked for; each is scored by the label that fits
        its box best. Default: one for every label, with its tight box.
    backend : str
        For models that are given by name or file.
    window : Window, optional
        Default: the image's own.
    tolerance_mm : float
        Of the normalised surface distance.
    follow : Follow
        How a 3D box prompts the slices it covers.
    progress : callable
        Called after each slice with the model's name, and slices done and planned.

    Returns
    -------
    ComparisonTable
        Prints itself.

    Raises
    ------
    QMedSAMError
        If image, reference, boxes or a model will not do.
    """
    volume = image if isinstance(image, Volume) else read_volume(Path(image))
    truth = _labels_on(volume, reference)
    if objects is None:
        objects = boxes_of_labels(truth)
    variants = [
        m if isinstance(m, Variant) else variant_of(str(m), backend=backend)
        for m in models
    ]
    comparison = Comparison(
        volume,
        truth,
        match_objects(objects, truth),
        tolerance_mm=tolerance_mm,
        window=window,
        follow=follow,
    )
    for step in comparison.run(variants, load_variant):
        progress(step.variant, step.done, step.total)
    return ComparisonTable(comparison)


# Helpers ------------------------------------------------------------------


def _plan(where: PathLike | Volume | None, slices: int, seed: int) -> CalibrationPlan:
    if isinstance(where, Volume):
        return CalibrationPlan(volumes=(where,), slices=slices, seed=seed)
    path = None if where is None else Path(where)
    return CalibrationPlan(path=path, slices=slices, seed=seed)


def _labels_on(
    volume: Volume, reference: PathLike | Volume | NDArray[np.integer]
) -> NDArray[np.integer]:
    """Return reference labels on the grid of a volume."""
    if isinstance(reference, (str, os.PathLike)):
        return read_labels(Path(reference), like=volume).array
    return labels_on_grid(reference, volume).array
