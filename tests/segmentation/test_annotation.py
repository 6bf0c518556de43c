"""Objects and labels of a volume, without a model."""

import numpy as np
import pytest

from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.annotation import Annotation
from napari_qmedsam.volumes import Volume, read_labels


@pytest.fixture
def annotation():
    return Annotation(Volume(np.zeros((4, 6, 5), np.int16), (3.0, 1.0, 1.0)))


def test_saved_labels_hold_names_and_colours(tmp_path, annotation):
    annotation.add_object(Box3D(0, 0, 0, 2, 2, 2), "liver", colour=(1, 2, 3))
    annotation.add_object(Box3D(0, 0, 0, 2, 2, 2), "spleen")
    annotation.labels[0, 0, 0] = 1
    out = annotation.save_labels(tmp_path / "a.nii.gz")
    liver, spleen = read_labels(out).segments
    assert (liver.number, liver.name, liver.colour) == (1, "liver", (1, 2, 3))
    # Nobody gave it a colour, so it has the one it is shown in.
    assert (spleen.number, spleen.name, spleen.colour) == (2, "spleen", (46, 196, 182))
