"""What `auto` stands for."""

from pathlib import Path

import pytest

from napari_qmedsam.checkpoints.catalogue import QMEDSAM_LITE
from napari_qmedsam.checkpoints.default_model import AUTO, resolve_auto
from napari_qmedsam.checkpoints.download import is_fetched
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.errors import BadCheckpoint


@pytest.mark.usefixtures("real_default")
def test_auto_is_the_best_model_and_it_is_embedded():
    assert resolve_auto(AUTO) == ("qmedsam_lite", None)
    assert QMEDSAM_LITE.is_embedded
    assert is_fetched(QMEDSAM_LITE)
    source = resolve_model(AUTO)
    assert (source.name, source.config.name) == ("qmedsam_lite", "lite_medsam")


def test_auto_with_a_weights_file_is_that_file():
    path = resolve_model("demo").path
    source = resolve_model(AUTO, path)
    assert (source.config.name, source.path, source.entry) == ("demo", path, "")
    with pytest.raises(BadCheckpoint, match="no weights file"):
        resolve_auto(AUTO, "gone.pth")


def test_other_names_mean_what_they_say():
    assert resolve_auto("demo") == ("demo", None)
    assert resolve_auto("demo", "mine.pth") == ("demo", Path("mine.pth"))
