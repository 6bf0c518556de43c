"""The command's options offer what the settings' fields hold."""

from typing import get_type_hints

from typer.main import get_command

from napari_qmedsam.cli import app
from napari_qmedsam.cli.quantizing import quantize
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.quantization.settings import QuantizationSettings

OPTIONS = {"method": "method", "bits": "bit_width", "sweeps": "sweeps"}
"""Options of ``qmedsam quantize`` with the fields they set."""


def test_options_start_from_the_fields_defaults():
    options = {o.name: o for o in get_command(app).commands["quantize"].params}
    for option, field in OPTIONS.items():
        assert (
            options[option].default == QuantizationSettings.model_fields[field].default
        )
    for option in ("granularity", "permutation"):
        assert options[option].default is None  # left to the settings
    assert options["slices"].default == CalibrationPlan.slices


def test_options_end_where_the_fields_do():
    hints = get_type_hints(quantize, include_extras=True)
    (option,) = hints["bits"].__metadata__
    least, largest = QuantizationSettings.model_fields["bit_width"].metadata
    assert (option.min, option.max) == (least.ge, largest.le)
