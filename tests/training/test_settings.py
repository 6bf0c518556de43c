import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.training.settings import TrainingSettings, load_settings


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
