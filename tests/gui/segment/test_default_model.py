"""The model that runs unless another is chosen."""

import pytest

from napari_qmedsam.gui.segment.segment_panel import SegmentPanel
from napari_qmedsam.gui.shared.loading import ModelChoice
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


@pytest.mark.usefixtures("real_default")
def test_the_panel_says_which_model_runs(restart):
    controls = restart().controls
    assert controls.models.chosen == "auto"
    assert controls.models.choice().model == "qmedsam_lite"
    assert controls.runs.text().startswith("qmedsam_lite on openvino: not loaded yet")


@pytest.mark.usefixtures("real_default")
def test_auto_is_remembered_as_auto(panel, restart):
    panel.controls.models.choose("demo")
    panel.controls.models.choose("auto", "torch")
    models = restart().controls.models
    assert models.chosen == "auto"
    assert models.choice() == ModelChoice("qmedsam_lite", Runtime(BackendName.TORCH))
