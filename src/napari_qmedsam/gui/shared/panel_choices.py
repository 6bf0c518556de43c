"""What the panels remember from one start to the next."""

import json
import logging
from dataclasses import asdict, fields
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from qtpy.QtWidgets import QAbstractButton, QComboBox, QDoubleSpinBox, QSpinBox

from napari_qmedsam.disk import write_text
from napari_qmedsam.segmentation.autosave import state_folder

log = logging.getLogger(__name__)

PLUGIN = "napari-qmedsam"


class Choices(Protocol):
    """A dataclass of choices, each with a default; `NAME` is its file's."""

    NAME: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


AnyChoices = TypeVar("AnyChoices", bound=Choices)
Value = TypeVar("Value", bool, float)


def remember(choices: Choices) -> None:
    """Write choices; a folder that cannot be written to is no reason to stop."""
    path = _path(type(choices))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(choices), indent=1))
    except OSError as error:
        log.warning("Cannot remember the panel's state in '%s': %s", path, error)


def recall(kind: type[AnyChoices]) -> AnyChoices:
    """Return what was remembered; defaults where nothing was, or it is damaged."""
    known = kind()
    try:
        stored = json.loads(_path(kind).read_text(encoding="utf-8"))
        for field in fields(kind):
            value = stored.get(field.name)
            if type(value) is type(getattr(known, field.name)):
                setattr(known, field.name, value)
    except (OSError, ValueError, AttributeError):
        return kind()
    return known


def take(choices: Choices, controls: object) -> None:
    """Set choices to what the controls of their names say."""
    for field in fields(choices):
        control = getattr(controls, field.name, None)
        if isinstance(control, QComboBox):
            setattr(choices, field.name, str(_entry(control, control.currentIndex())))
        elif isinstance(control, QSpinBox | QDoubleSpinBox):
            setattr(choices, field.name, control.value())
        elif isinstance(control, QAbstractButton):
            setattr(choices, field.name, control.isChecked())


def restore(choices: Choices, controls: object) -> None:
    """Set controls to the choices of their names, in the order of the choices.

    What a control does not offer, or not any more, changes nothing.
    """
    for field in fields(choices):
        control, value = (
            getattr(controls, field.name, None),
            getattr(choices, field.name),
        )
        if isinstance(control, QComboBox):
            entries = [str(_entry(control, i)) for i in range(control.count())]
            if value in entries:
                control.setCurrentIndex(entries.index(value))
        elif isinstance(control, QSpinBox | QDoubleSpinBox):
            if control.minimum() <= value <= control.maximum():
                control.setValue(value)
        elif isinstance(control, QAbstractButton):
            control.setChecked(value)


def preference(name: str, default: Value) -> Value:
    """Return a setting of napari's preferences, where the version has them.

    napari shows those of plugins from 0.9 on.
    """
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return default
    try:
        return type(default)(getattr(get_plugin_settings(PLUGIN).segment, name))
    except (AttributeError, KeyError, ValueError):
        return default  # not installed as a plugin, as in a test of the widget


def _entry(combo: QComboBox, index: int) -> Any:
    """Return what an entry stands for: its data, or its text where it has none."""
    data = combo.itemData(index)
    if data is None:
        return combo.itemText(index)
    return data.value if isinstance(data, Enum) else data


def _path(kind: type[Choices]) -> Path:
    return state_folder() / f"{kind.NAME}.json"
