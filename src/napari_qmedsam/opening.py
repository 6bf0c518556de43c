"""Opening a session: a scan and a model in one call."""

import os
from pathlib import Path

from napari_qmedsam.checkpoints.default_model import AUTO, resolve_auto
from napari_qmedsam.evaluation.variants import variant_of
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Modality
from napari_qmedsam.volumes.windows import Window, parse_window


def open_session(
    image: str | os.PathLike,
    model: str = AUTO,
    *,
    weights: str | os.PathLike | None = None,
    backend: str = "openvino",
    precision: str = "fp32",
    device: str = "auto",
    window: Window | str | None = None,
    frame: int | None = None,
    series: str | None = None,
    modality: Modality | None = None,
) -> Session:
    """Read a volume, load a model, and start a session on both.

    The model is the first of the session's variants.

    Parameters
    ----------
    image : path
        Anything :func:`~napari_qmedsam.read_volume` reads: NIfTI, NRRD, MetaImage,
        a MedSAM ``.npz``, a picture, or a DICOM folder.
    model, weights, backend, precision, device
        As for :func:`~napari_qmedsam.load_model`.
    window : Window or str, optional
        What the model sees: a window, ``"lower,upper"``, or a preset's name such as
        ``"lung"``. Default: the volume's own.
    frame : int, optional
        Which frame of a 4D file.
    series : str, optional
        Which DICOM series: UID or exact description.
    modality : Modality, optional
        What made the image, where the file does not say it.

    Raises
    ------
    QMedSAMError
        If the image cannot be read or the model not be had.
    """
    from napari_qmedsam.workflows import load_model

    model, weights = resolve_auto(model, weights)
    seen = parse_window(window) if isinstance(window, str) else window
    volume = read_volume(Path(image), frame=frame, series=series, modality=modality)
    segmenter = load_model(
        model, weights=weights, backend=backend, precision=precision, device=device
    )
    session = Session(volume, segmenter, seen)
    source = str(model if weights is None else weights)
    variant = variant_of(source, backend=backend, precision=precision, device=device)
    session.variants.add(variant)
    return session
