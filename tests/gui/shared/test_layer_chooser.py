"""Layers in a combo box."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QComboBox

from napari_qmedsam.gui.shared.layer_chooser import LayerChooser

pytestmark = pytest.mark.gui


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def chooser(viewer, qtbot):
    combo, parent = QComboBox(), QObject()
    qtbot.addWidget(combo)
    chooser = LayerChooser(
        viewer,
        combo,
        lambda layers: [x for x in layers if isinstance(x, Image)],
        parent,
        is_default=lambda x: not x.name.startswith("copy"),
    )
    chooser.start()
    yield chooser
    chooser.close()


def add(viewer, name):
    return viewer.add_image(np.zeros((4, 4)), name=name)


def entries(chooser):
    return [chooser.combo.itemText(i) for i in range(chooser.combo.count())]


def test_only_what_is_offered_is_listed_by_its_present_name(viewer, chooser):
    assert chooser.chosen is None
    first = add(viewer, "first")
    viewer.add_layer(Labels(np.zeros((4, 4), int), name="labels"))
    first.name = "renamed"
    assert entries(chooser) == ["renamed"]
    assert chooser.chosen is first


def test_the_chosen_layer_stays_chosen_while_it_is_there(viewer, chooser):
    first, second = add(viewer, "first"), add(viewer, "second")
    chooser.choose(second)
    third = add(viewer, "third")
    viewer.layers.move(2, 0)
    viewer.layers.remove(first)
    assert chooser.chosen is second
    viewer.layers.remove(second)
    assert chooser.chosen is third


def test_what_may_not_be_chosen_by_itself_is_offered(viewer, chooser):
    copy = add(viewer, "copy of a scan")
    assert entries(chooser) == ["copy of a scan"]
    assert chooser.chosen is None
    chooser.choose(copy)
    assert chooser.chosen is copy


def test_it_tells_of_layers_and_choices(viewer, chooser):
    told = []
    chooser.changed.connect(lambda: told.append(chooser.chosen))
    chooser.added.connect(lambda x: told.append(f"added {x.name}"))
    chooser.removed.connect(lambda x: told.append(f"removed {x.name}"))
    first = add(viewer, "first")
    assert told == [first, "added first"]
    viewer.layers.remove(first)
    assert told[2:] == ["removed first", None]


def test_a_closed_one_hears_nothing(viewer, qtbot):
    combo, parent = QComboBox(), QObject()
    qtbot.addWidget(combo)
    chooser = LayerChooser(viewer, combo, list, parent)
    chooser.start()
    first = add(viewer, "first")
    chooser.close()
    add(viewer, "second")
    first.name = "renamed"
    assert entries(chooser) == ["first"]


def test_of_several_layers_a_visible_one_is_chosen_first(viewer, qtbot):
    add(viewer, "hidden").visible = False
    seen = add(viewer, "seen")
    add(viewer, "above")
    combo, parent = QComboBox(), QObject()
    qtbot.addWidget(combo)
    chooser = LayerChooser(viewer, combo, list, parent)
    chooser.start()
    assert chooser.chosen is seen
    chooser.close()
