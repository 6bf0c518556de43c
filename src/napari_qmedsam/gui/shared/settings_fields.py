"""Controls for the fields of settings: range, default and help are the field's own."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from qtpy.QtWidgets import QComboBox, QSpinBox, QWidget

from napari_qmedsam.gui.shared.forms import combo_box, spin_box

UNBOUNDED = 999
"""Largest number that can be typed in where the field has no limit."""

Settings = type[BaseModel]


def field_title(settings: Settings, name: str) -> str:
    """Return what a field is called."""
    return settings.model_fields[name].title or name


def field_help(settings: Settings, name: str) -> str:
    """Return what a field is: its title and the first sentence of its help.

    What follows says what is done where a field is left out; in a form none is.
    """
    text = settings.model_fields[name].description or ""
    title = field_title(settings, name)
    first, _, _ = text.partition(". ")
    return f"{title}: {first.rstrip('.')}." if first else f"{title}."


def field_range(settings: Settings, name: str) -> tuple[int, int]:
    """Return the least and the largest value of a field of whole numbers."""
    least, largest = 0, UNBOUNDED
    for limit in settings.model_fields[name].metadata:
        if isinstance(limit, Ge):
            least = _whole(limit.ge)
        elif isinstance(limit, Gt):
            least = _whole(limit.gt) + 1
        elif isinstance(limit, Le):
            largest = _whole(limit.le)
        elif isinstance(limit, Lt):
            largest = _whole(limit.lt) - 1
    return least, largest


def number_field(parent: QWidget, settings: Settings, name: str) -> QSpinBox:
    """Return a control for a field of whole numbers."""
    default = settings.model_fields[name].default
    tip = field_help(settings, name)
    return spin_box(parent, field_range(settings, name), default, tip)


def choice_field(
    parent: QWidget, settings: Settings, name: str, titles: Mapping[Any, str]
) -> QComboBox:
    """Return a control for a field with few values, each with its title."""
    combo = combo_box(parent, field_help(settings, name))
    for value, title in titles.items():
        combo.addItem(title, value.value if isinstance(value, Enum) else value)
    return combo


def _whole(limit: Any) -> int:
    return int(limit)
