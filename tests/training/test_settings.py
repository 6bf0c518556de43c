from pathlib import Path

import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.training.settings import (
    QATSettings,
    TrainingSettings,
    load_settings,
    settings_text,
)

CONFIGS = Path(__file__).parents[2] / "configs"


def test_shipped_settings_are_read():
    kinds = {
        "demo.yaml": TrainingSettings,
        "demo-qat.yaml": QATSettings,
        "lite-medsam-qat.yaml": QATSettings,
        "qmedsam-lite-qat.yaml": QATSettings,
        "qmedsam-lite.yaml": TrainingSettings,
        "qmedsam-lite-decoder.yaml": TrainingSettings,
        "qmedsam-lite-all.yaml": TrainingSettings,
    }
    assert {path.name for path in CONFIGS.glob("*.yaml")} == set(kinds)
    for name, kind in kinds.items():
        assert load_settings(kind, CONFIGS / name).shells > 0


def test_defaults_are_those_of_the_paper():
    settings = QATSettings()
    assert settings.slices_per_step == (2, 4, 2)
    assert (settings.warmup_epochs, settings.annealing_epochs) == (5, 10)
    assert (settings.learning_rate, settings.momentum) == (0.01, 0.9)
    quantized = settings.fake_quant(decoder=True)
    assert quantized.weight_bit_width == quantized.activation_bit_width == 8
    assert not quantized.per_channel


@pytest.mark.parametrize("kind", [TrainingSettings, QATSettings])
def test_all_settings_are_printed_with_their_help_and_read_again(tmp_path, kind):
    text = settings_text(kind)
    (tmp_path / "all.yaml").write_text(text)
    assert load_settings(kind, tmp_path / "all.yaml") == kind()
    said = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for name, field in kind.model_fields.items():
        assert field.description.endswith("."), name
        assert f"{field.description} {name}: " in said
        assert field.title is None


def test_settings_come_from_file_and_options(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("steps: 50\nseed: 3\n")
    settings = load_settings(TrainingSettings, path, {"seed": 9, "workers": None})
    assert (settings.steps, settings.seed) == (50, 9)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stepz: 5", "'stepz'"),
        ("steps: many", "'steps'"),
        ("steps: 0", "'steps'"),
        ("- 1", "must be"),
        ("a: [", "Cannot read settings"),
    ],
)
def test_bad_settings_name_the_culprit(tmp_path, text, complaint):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=complaint):
        load_settings(TrainingSettings, path)


def test_settings_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "settings.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSettings, match="Cannot read settings"):
        load_settings(TrainingSettings, tmp_path / "settings.yaml")


def test_missing_settings_are_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="Cannot read settings"):
        load_settings(TrainingSettings, tmp_path / "none.yaml")
