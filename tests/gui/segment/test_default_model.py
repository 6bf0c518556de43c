"""The model that runs unless another is chosen, and the button for a better one."""

import os

import pytest

from napari_qmedsam.checkpoints.catalogue import LITE_MEDSAM
from napari_qmedsam.checkpoints.download import weights_path
from napari_qmedsam.errors import DownloadFailed
from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.loading import Downloading, ModelChoice
from napari_qmedsam.runtime import BackendName, Runtime

pytestmark = pytest.mark.gui


@pytest.fixture
def restart(panel, backend):
    """Close the panel and open another on the same viewer, as after a restart."""
    opened = []

    def another():
        panel.close_down()
        opened.append(SegmentPanel(panel.viewer, load=lambda *_: backend))
        return opened[-1]

    yield another
    for again in opened:
        again.close_down()
        again.deleteLater()


@pytest.fixture
def published():
    """Put a file of the size of LiteMedSAM's where its weights belong."""

    def arrive():
        path = weights_path(LITE_MEDSAM)
        path.parent.mkdir(parents=True)
        path.touch()
        os.truncate(path, LITE_MEDSAM.size_bytes)

    return arrive


def test_the_panel_says_which_model_runs_and_offers_the_better_one(
    panel, backend, published, finish
):
    controls, asked = panel.controls, []

    def load(choice, report):
        asked.append(choice)
        report(Downloading(1_000_000, 39_000_000))
        published()
        return backend

    panel.runner.models.load = load
    assert controls.models.chosen == "auto"
    assert controls.models.choice().model == "demo"
    assert controls.runs.text().startswith("demo on openvino: not loaded yet")
    assert controls.get_better.text() == "Get lite_medsam (39 MB)"
    assert not controls.get_better.isHidden()
    said = []
    panel.work.said.connect(said.append)
    controls.get_better.click()
    finish(panel)
    assert asked == [ModelChoice("lite_medsam", Runtime())]
    assert "Downloading 1 of 39 MB…" in said
    assert controls.get_better.isHidden()
    assert controls.models.chosen == "auto"
    assert panel.runner.models.has_loaded(controls.models.choice())  # not loaded again
    assert "not loaded" not in controls.runs.text()


def test_a_download_of_the_better_model_that_fails_leaves_the_embedded_one(
    panel, finish
):
    def load(choice, report):
        raise DownloadFailed("Could not get it: no network. Fetch it with a browser.")

    panel.runner.models.load = load
    panel.controls.get_better.click()
    finish(panel)
    assert "no network" in panel.controls.status.text()
    assert not panel.controls.get_better.isHidden()
    assert panel.controls.models.choice().model == "demo"


def test_the_better_model_runs_where_it_is_here(restart, published):
    published()
    controls = restart().controls
    assert controls.get_better.isHidden()
    assert controls.models.choice().model == "lite_medsam"
    assert controls.runs.text().startswith("lite_medsam on openvino")


def test_auto_is_remembered_as_auto(panel, restart, published):
    panel.controls.models.choose("demo")
    panel.controls.models.choose("auto", "torch")
    published()
    models = restart().controls.models
    assert models.chosen == "auto"
    assert models.choice() == ModelChoice("lite_medsam", Runtime(BackendName.TORCH))
