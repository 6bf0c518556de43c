"""What the panel remembers from one start to the next."""

import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from napari_qmedsam.segmentation.autosave import state_folder
from napari_qmedsam.segmentation.propagation import Propagation

log = logging.getLogger(__name__)

PLUGIN = "napari-qmedsam"


@dataclass
class Remembered:
    """Choices in the panel.

    Parameters
    ----------
    model, backend : str
    propagation : str
    protect : bool
    automatic : bool
        Segment a slice as soon as its box changes.
    folder : str
        Where files were opened from or saved to last.
    """

    model: str = "demo"
    backend: str = "openvino"
    propagation: str = Propagation.BOX.value
    protect: bool = False
    automatic: bool = True
    folder: str = ""

    def save(self) -> None:
        """Write them; a folder that cannot be written to is no reason to stop."""
        path = _path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, indent=1)
            os.replace(part, path)
        except OSError as error:
            log.warning("Cannot remember the panel's state in '%s': %s", path, error)


def remembered() -> Remembered:
    """Return what was remembered; defaults where nothing was, or it is damaged."""
    known = Remembered()
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
        for field in fields(Remembered):
            value = stored.get(field.name)
            if type(value) is type(getattr(known, field.name)):
                setattr(known, field.name, value)
    except (OSError, ValueError, AttributeError):
        return Remembered()
    return known


def preference(name: str, default: bool) -> bool:
    """Return a setting of napari's preferences, where the version has them.

    napari shows those of plugins from 0.9 on.
    """
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return default
    try:
        return bool(getattr(get_plugin_settings(PLUGIN).segment, name))
    except (AttributeError, KeyError, ValueError):
        return default  # not installed as a plugin, as in a test of the widget


def _path() -> Path:
    return state_folder() / "segment-panel.json"
