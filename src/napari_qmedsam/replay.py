"""Taking down what made a session's labels, and making the same labels again.

Boxes, points, window and model make masks again; what the brush, other runs or another
window made of them is kept as corrections, voxel by voxel. So replaying gives the same
labels whatever was done in between, and tells if it does not.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.disk import write_text
from napari_qmedsam.errors import GridMismatch
from napari_qmedsam.label_provenance import Provenance, UsedModel, provenance_path
from napari_qmedsam.provenance import provenance
from napari_qmedsam.segmentation.corrections import Corrections
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window


class Replayed(NamedTuple):
    """Labels that were made again, in a session; and whether they are the same.

    They need not be: another processor or version may move a voxel.
    """

    session: Session
    is_same: bool


def record(
    session: Session,
    follow: Follow = Follow.BOX,
    automatic: NDArray[np.integer] | None = None,
) -> Provenance:
    """Take down what made a session's labels.

    Its objects are segmented once more, apart from the session: what differs from its
    labels are the corrections. Slices that were encoded before are not encoded again.

    Parameters
    ----------
    session : Session
    follow : Follow
        How its 3D boxes prompted their slices.
    automatic : ndarray, (Z, Y, X) integer, optional
        What the objects give when segmented, where that is known.

    Raises
    ------
    QMedSAMError
        As segmenting.
    """
    volume, segmenter = session.volume, session.segmenter
    objects = tuple(session.objects.values())
    if automatic is None:
        automatic = _segmented(volume, segmenter, objects, session.window, follow)
    return Provenance(
        Path(volume.source.path).name,
        _volume_sha256(volume),
        _labels_sha256(session.labels),
        objects,
        session.window,
        follow,
        None if segmenter is None else UsedModel.of(segmenter.backend.info),
        Corrections.between(automatic, session.labels),
        provenance(),
    )


def snapshot(session: Session) -> Session:
    """Return a session with the boxes and labels of another as they are now.

    What others draw meanwhile is not in it, so that labels and provenance agree.
    """
    with session.history.lock:
        labels, objects = session.labels.copy(), tuple(session.objects.values())
    kept = Session(session.volume, session.segmenter, session.window, labels)
    kept.restore(objects, labels)
    return kept


def keep_provenance(
    session: Session,
    labels: Path,
    follow: Follow = Follow.BOX,
    automatic: NDArray[np.integer] | None = None,
) -> Path:
    """Write what made a session's labels beside the file that they were saved to.

    Parameters
    ----------
    session, follow, automatic
        As for :func:`record`.
    labels : Path

    Raises
    ------
    OSError
        If the disk does not take it.
    QMedSAMError
        As segmenting.
    """
    beside = provenance_path(labels)
    write_text(beside, record(session, follow, automatic).to_json())
    return beside


def save_with_provenance(
    session: Session,
    path: str | os.PathLike,
    follow: Follow = Follow.BOX,
    automatic: NDArray[np.integer] | None = None,
) -> tuple[Path, Path]:
    """Save a session's labels, and beside them what made them.

    Parameters
    ----------
    session, follow, automatic
        As for :func:`record`.
    path : path

    Returns
    -------
    (Path, Path)
        Labels and provenance.

    Raises
    ------
    UnwritableLabels
        As :meth:`~napari_qmedsam.Session.save_labels`.
    OSError
        If the disk does not take the second file. The labels are saved then.
    """
    saved = session.save_labels(path)
    return saved, keep_provenance(session, saved, follow, automatic)


def replay(made: Provenance, volume: Volume, model: str | None = None) -> Replayed:
    """Make labels again.

    Parameters
    ----------
    made : Provenance
    volume : Volume
        The same image.
    model : str, optional
        Where the model's file is now.

    Returns
    -------
    Replayed

    Raises
    ------
    GridMismatch
        If it is another image.
    BadCheckpoint, QMedSAMError
        If it is another model, or cannot be had.
    """
    if _volume_sha256(volume) != made.image_sha256:
        raise GridMismatch(
            f"'{Path(volume.source.path).name}' is not the image that the labels were "
            f"made on, '{made.image}': voxels or affine differ."
        )
    segmenter = None if made.model is None else made.model.segmenter(model)
    found = _segmented(volume, segmenter, made.objects, made.window, made.follow)
    made.corrections.apply(found)
    session = Session(volume, segmenter, made.window)
    session.restore(made.objects, found)
    return Replayed(session, _labels_sha256(found) == made.labels_sha256)


# Helpers ------------------------------------------------------------------


def _segmented(
    volume: Volume,
    segmenter: SliceSegmenter | None,
    objects: tuple[SegmentObject, ...],
    window: Window,
    follow: Follow,
) -> NDArray[np.uint16]:
    """Return the labels that objects give by themselves; locked ones give none."""
    session = Session(volume, segmenter, window)
    session.restore(objects, session.labels.copy())
    if segmenter is not None and any(not item.is_locked for item in objects):
        session.segment(follow=follow)
    return session.labels


def _volume_sha256(volume: Volume) -> str:
    digest = hashlib.sha256(f"{volume.array.shape}{volume.array.dtype}".encode())
    digest.update(np.round(volume.affine, 6).astype("<f8").tobytes())
    for plane in volume.array:  # a large volume is not copied as a whole
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def _labels_sha256(labels: NDArray[np.integer]) -> str:
    digest = hashlib.sha256(str(labels.shape).encode())
    for plane in labels:
        digest.update(plane.astype("<u4").tobytes())
    return digest.hexdigest()
