"""What made the labels of a file, as it is kept beside them."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.runtime import Runtime, find_model, load
from napari_qmedsam.runtime.protocol import RuntimeInfo
from napari_qmedsam.segmentation.corrections import Corrections
from napari_qmedsam.segmentation.object_entries import object_entry, object_of
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
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


def provenance_path(labels: Path) -> Path:
    """Return where the provenance of a label file is."""
    return labels.with_name(labels.name + SUFFIX)


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
