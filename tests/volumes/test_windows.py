import numpy as np
import pytest

from napari_qmedsam.errors import InvalidWindow
from napari_qmedsam.volumes import Volume, read_labels, read_volume, write_volume
from napari_qmedsam.volumes.windows import CT_PRESETS, Window


@pytest.mark.parametrize(
    ("name", "level", "width"),
    [
        ("mediastinum", 50, 350),
        ("angiography", 300, 600),
        ("lung", -600, 1500),
        ("bone", 300, 1500),
        ("brain", 40, 80),
        ("liver", 30, 150),
    ],
)
def test_presets_are_levels_and_widths(name, level, width):
    assert CT_PRESETS[name] == Window.of_level(level, width)


def test_level_and_width_are_the_window_the_other_way_round():
    window = Window(-160.0, 240.0)
    assert (window.level, window.width) == (40, 400)
    assert Window.of_level(window.level, window.width) == window


@pytest.mark.parametrize("width", [0, -10, float("nan")])
def test_a_window_without_width_is_refused(width):
    with pytest.raises(InvalidWindow, match="must be above 0"):
        Window.of_level(40, width)


def test_pictures_and_cases_without_spacing_have_none(tmp_path):
    volume = Volume(np.arange(64, dtype=np.uint8).reshape(1, 8, 8))
    assert not read_volume(write_volume(volume, tmp_path / "a.png")).has_spacing
    assert read_volume(write_volume(volume, tmp_path / "a.npz")).has_spacing
    np.savez(tmp_path / "b.npz", imgs=volume.array, gts=volume.array)
    assert not read_volume(tmp_path / "b.npz").has_spacing
    # Labels of a case take the grid of their image, and its spacing with it.
    assert read_labels(tmp_path / "b.npz", like=volume).has_spacing
