"""What made the labels of a file, kept beside it, and the same labels again.

Boxes, points, window and model make masks again; what the brush, other runs or another
window made of them is kept as corrections, voxel by voxel. So replaying gives the same
labels whatever was done in between, and tells if it does not.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.disk import write_text
from napari_qmedsam.errors import BadCheckpoint, GridMismatch, InvalidSettings
from napari_qmedsam.provenance import provenance
from napari_qmedsam.runtime import Runtime, find_model, load
from napari_qmedsam.runtime.protocol import RuntimeInfo
from napari_qmedsam.segmentation.corrections import Corrections
from napari_qmedsam.segmentation.object_entries import object_entry, object_of
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.windows import Window

FORMAT, VERSION = "qmedsam-provenance", 1
"""Kind and version that the file names."""

SUFFIX = ".provenance.json"
"""What follows the whole name of the label file."""


@dataclass(frozen=True)
class UsedModel:
    """The model that made masks.

    Parameters
    ----------
    name : str
        Of a model, or of a weights file.
    sha256 : str
        Of its files.
    backend, precision, device : str
    """

    name: str
    sha256: str
    backend: str
    precision: str
    device: str

    @classmethod
    def of(cls, info: RuntimeInfo) -> "UsedModel":
        """Take what runs."""
        return cls(
            info.model, info.weights_sha256, info.backend, info.precision, info.device
        )

    def segmenter(self, model: str | None = None) -> SliceSegmenter:
        """Load it again.

        Parameters
        ----------
        model : str, optional
            Where its file is now. Default: its name.

        Raises
        ------
        BadCheckpoint
            If it is another one.
        QMedSAMError
            If it cannot be had.
        """
        runtime = Runtime.parse(self.backend, self.precision, self.device.lower())
        source = find_model(model or self.name, runtime)
        if source.sha256 != self.sha256:
            raise BadCheckpoint(
                f"The labels were made by the model '{self.name}' with SHA-256 "
                f"{self.sha256[:12]}..., but '{model or self.name}' has "
                f"{source.sha256[:12]}.... Name the right file with --model."
            )
        return SliceSegmenter(load(source, runtime))


@dataclass(frozen=True, eq=False)
class Provenance:
    """What made the labels of a file.

    Parameters
    ----------
    image : str
        Name of the image's file.
    image_sha256, labels_sha256 : str
        Of voxels, and of the image's place.
    objects : tuple of SegmentObject
        With boxes and points.
    window : Window
    follow : Follow
        How 3D boxes prompted their slices.
    model : UsedModel or None
        None where no model was at work.
    corrections : Corrections
    made_with : mapping
        Versions and machine.
    """

    image: str
    image_sha256: str
    labels_sha256: str
    objects: tuple[SegmentObject, ...]
    window: Window
    follow: Follow
    model: UsedModel | None
    corrections: Corrections
    made_with: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the text of the file."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "image": {"file": self.image, "sha256": self.image_sha256},
            "labels_sha256": self.labels_sha256,
            "model": None if self.model is None else vars(self.model),
            "window": [self.window.lower, self.window.upper],
            "propagation": self.follow.value,
            "objects": [object_entry(item) for item in self.objects],
            "corrections": self.corrections.to_dict(),
            **self.made_with,
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "Provenance":
        """Read the text of a file.

        Raises
        ------
        InvalidSettings
            If it is none, damaged, or of a newer version.
        """
        try:
            content = json.loads(text)
            kind, number = content["format"], content["version"]
            if (kind, number) != (FORMAT, VERSION):
                raise InvalidSettings(
                    f"'{name}' is of the kind {kind}, version {number}; this version "
                    f"of napari-qmedsam reads {FORMAT}, version {VERSION}."
                )
            model = content["model"]
            return cls(
                content["image"]["file"],
                content["image"]["sha256"],
                content["labels_sha256"],
                tuple(object_of(entry) for entry in content["objects"]),
                Window(*content["window"]),
                Follow(content["propagation"]),
                None if model is None else UsedModel(**model),
                Corrections.from_dict(content["corrections"]),
                {key: content[key] for key in ("versions", "machine")},
            )
        except InvalidSettings:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise InvalidSettings(
                f"Cannot read '{name}': it is damaged, or no file of this kind."
            ) from error


class Replayed(NamedTuple):
    """Labels that were made again, in a session; and whether they are the same.

    They need not be: another processor or version may move a voxel.
    """

    session: Session
    is_same: bool


def provenance_path(labels: Path) -> Path:
    """Return where the provenance of a label file is."""
    return labels.with_name(labels.name + SUFFIX)


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


def read_provenance(labels: Path) -> Provenance:
    """Read what made the labels of a file.

    Raises
    ------
    InvalidSettings
        If there is no whole file of it beside them.
    """
    path = provenance_path(labels)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            f"There is no readable '{path.name}' beside '{labels.name}', which would "
            "say what made it."
        ) from error
    return Provenance.from_json(text, path.name)


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
