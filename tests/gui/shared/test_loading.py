"""A model chosen in the window is the one that Python and the shell load."""

import pytest

from napari_qmedsam.gui.shared.loading import ModelChoice, load_choice
from napari_qmedsam.runtime import Precision, Runtime, load_backend

pytestmark = pytest.mark.gui


def test_the_window_loads_what_python_loads(nncf_stand_in, float_file):
    said = []
    choice = ModelChoice(str(float_file), Runtime(precision=Precision.INT8))
    backend = load_choice(choice, said.append)
    assert backend.info == load_backend(str(float_file), precision="int8").info
    assert "NNCF makes one" in said[0]
