"""Controls say what the settings say."""

import pytest
from pydantic import BaseModel, Field
from qtpy.QtWidgets import QWidget

from napari_qmedsam.gui.shared.settings_fields import (
    UNBOUNDED,
    choice_field,
    field_help,
    field_range,
    number_field,
)
from napari_qmedsam.quantization.settings import Method, QuantizationSettings

pytestmark = pytest.mark.gui


class Oven(BaseModel):
    """Settings of a kitchen."""

    heat: int = Field(180, gt=49, lt=301, title="Heat", description="In °C. Hot.")
    trays: int = Field(2, ge=1, le=4, title="Trays")
    minutes: int = 30


@pytest.fixture
def parent(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def test_a_number_has_its_fields_range_default_and_help(parent):
    heat = number_field(parent, Oven, "heat")
    assert (heat.minimum(), heat.maximum(), heat.value()) == (50, 300, 180)
    assert heat.toolTip() == "Heat: In °C."
    assert field_range(Oven, "trays") == (1, 4)
    assert field_help(Oven, "trays") == "Trays."
    assert field_range(Oven, "minutes") == (0, UNBOUNDED)


def test_a_choice_keeps_values_behind_its_titles(parent):
    titles = {Method.RTN: "Rounding", "other": "Another"}
    combo = choice_field(parent, QuantizationSettings, "method", titles)
    assert combo.itemData(0) == "rtn"
    assert combo.itemText(1) == "Another"
    assert combo.toolTip().startswith("Method: ")


def test_every_field_says_what_it_is_in_a_sentence():
    for name in QuantizationSettings.model_fields:
        assert field_help(QuantizationSettings, name).endswith(".")
