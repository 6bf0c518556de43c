"""What is segmented when, without a panel."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject

from napari_qmedsam.errors import BadCheckpoint, InvalidSettings
from napari_qmedsam.gui.segment.runner import Request, Runner, SegmentOptions
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.loading import ModelChoice
from napari_qmedsam.gui.shared.rectangles import rectangle
from napari_qmedsam.gui.shared.session_layer import Edit
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.propagation import Direction

pytestmark = pytest.mark.gui

FIRST = Box2D(3, 8, 27, 22)


class Options:
    """What the controls say, to be changed by a test."""

    def __init__(self):
        self.now = SegmentOptions(ModelChoice("threshold"))

    def __call__(self):
        return self.now

    def say(self, **changes):
        self.now = SegmentOptions(**{**self.now.__dict__, **changes})


@pytest.fixture
def options():
    return Options()


@pytest.fixture
def loaded():
    """The choices that were loaded."""
    return []


@pytest.fixture
def said():
    return []


@pytest.fixture
def runner(qtbot, backend, options, loaded, said):
    parent = QObject()
    work = Work(parent)
    work.said.connect(said.append)

    def load(choice, report):
        loaded.append(choice)
        return backend

    runner = Runner(load, work, options)
    runner.parent = parent  # or Qt's half of the work would go
    yield runner
    for thread in work.worker.close():
        thread.join(60)


@pytest.fixture
def workspace(volume, qtbot, said):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*image_layer_data(volume, "bars")))
    return Workspace(viewer, viewer.layers["bars"], said.append)


@pytest.fixture
def drawn(workspace, runner):
    """The workspace, whose boxes are segmented as they are drawn."""
    workspace.edited.connect(runner.segment_edited)
    return workspace


@pytest.fixture
def done(qtbot, runner):
    def wait():
        qtbot.waitUntil(
            lambda: not runner.is_waiting and not runner.work.is_busy, timeout=20_000
        )

    return wait


def draw(workspace, slice_index):
    workspace.draw_boxes().add_rectangles(rectangle(slice_index, FIRST, 3))


def filled(workspace):
    return np.flatnonzero(workspace.session.labels.any((1, 2))).tolist()


def test_a_drawn_box_loads_the_model_once_and_is_segmented(drawn, loaded, done):
    draw(drawn, 2)
    done()
    draw(drawn, 4)
    done()
    assert filled(drawn) == [2, 4]
    assert loaded == [ModelChoice("threshold")]


def test_another_model_is_loaded(drawn, loaded, options, runner, done):
    draw(drawn, 2)
    done()
    options.say(model=ModelChoice("other"))
    draw(drawn, 4)
    done()
    assert loaded == [ModelChoice("threshold"), ModelChoice("other")]
    assert runner.models.has_loaded(ModelChoice("other"))
    assert not runner.models.has_loaded(ModelChoice("threshold"))


def test_nothing_is_segmented_by_drawing_unless_it_is_wanted(
    drawn, options, runner, said
):
    options.say(is_automatic=False)
    draw(drawn, 2)
    assert not runner.is_waiting
    assert not runner.work.is_busy
    options.say(is_automatic=True, needs_download=True)
    draw(drawn, 3)
    assert not runner.work.is_busy
    assert said[-1].startswith("Press Load to download")


def test_boxes_that_change_meanwhile_are_segmented_once_each(
    drawn, backend, runner, done
):
    backend.seconds = 0.05
    draw(drawn, 1)
    draw(drawn, 2)
    runner.segment_edited(drawn, [Edit(2, 0, 2)])
    runner.segment_edited(drawn, [Edit(2, 0, 2)])
    assert runner.is_waiting
    done()
    assert filled(drawn) == [1, 2]
    assert backend.encoded == 2


def test_what_waits_and_makes_no_sense_any_more_is_dropped(
    drawn, backend, runner, done, said
):
    backend.seconds = 0.05
    draw(drawn, 1)
    draw(drawn, 2)
    draw(drawn, 4)
    with drawn.edit() as session:
        session.change_object(2, is_locked=True)
        session.remove_object(3)
    done()
    assert filled(drawn) == [1]
    # Index 1 is 4 on the slider, against which z runs.
    assert said[-1] == "Done, slice 4."


def test_the_last_request_waits_behind_boxes(drawn, backend, runner, done):
    backend.seconds = 0.05
    draw(drawn, 1)
    with drawn.edit() as session:
        session.change_object(1, box=Box3D(3, 8, 0, 27, 22, 4))
    runner.segment(Request(drawn, (1,), 5))
    runner.segment(Request(drawn, (1,)))
    done()
    assert filled(drawn) == [0, 1, 2, 3]


def test_cancelling_forgets_what_waits(drawn, runner, hold, backend, done, qtbot, said):
    hold(backend, runner.work.worker, after=0)
    draw(drawn, 1)
    draw(drawn, 2)
    qtbot.waitUntil(lambda: backend.is_held, timeout=20_000)
    assert said[-1] == "Segmenting…"
    assert runner.is_waiting
    runner.cancel()
    assert not runner.is_waiting
    done()
    assert said[-1] == "Cancelled at slice 4."
    assert 2 not in filled(drawn)


def test_every_run_says_why_it_ended(drawn, runner, done, said):
    drawn.image.contrast_limits = (-1000, 1000)
    drawn.view.go_to(2)
    draw(drawn, 2)
    done()
    assert said[-1] == "Done, slice 3."
    runner.segment(Request(drawn, (1,), 2, direction=Direction.UP))
    done()
    assert said[-1] == "object 1: done to the end of the scan, slice 0."
    dark = rectangle(3, Box2D(28, 50, 40, 60), 3)
    drawn.box_layer.layer.add_rectangles(dark)
    done()
    assert said[-1] == "object 2: nothing was found, the mask is empty."


def test_propagating_goes_on_where_it_was_cancelled(
    drawn, runner, backend, hold, done, qtbot, said
):
    drawn.image.contrast_limits = (-1000, 1000)
    drawn.view.go_to(1)
    draw(drawn, 1)
    done()
    hold(backend, runner.work.worker, after=3)
    runner.segment(Request(drawn, (1,), 1, direction=Direction.UP))
    qtbot.waitUntil(lambda: 3 in filled(drawn), timeout=20_000)
    runner.cancel()
    done()
    last = filled(drawn)[-1]
    assert drawn.view.place == (0, last)
    assert said[-1] == f"Cancelled at slice {5 - last}."


def test_nothing_follows_on_loading_that_was_cancelled(drawn, runner, done, said):
    draw(drawn, 1)
    runner.work.worker._thread.join(60)  # loaded, and nobody has been told
    runner.cancel()
    done()
    assert said[-1] == "Cancelled."
    assert filled(drawn) == []


def test_nothing_to_segment_is_refused_before_a_model_is_loaded(
    workspace, runner, loaded
):
    with pytest.raises(InvalidSettings, match="no box"):
        runner.segment(Request(workspace, (), 2))
    assert not loaded


def test_a_model_that_cannot_be_loaded_is_said(drawn, runner, done, said):
    def fail(*_):
        raise BadCheckpoint("There is no weights file 'x'.")

    runner.models.load = fail
    draw(drawn, 2)
    done()
    assert said[-1] == "There is no weights file 'x'."
    assert filled(drawn) == []


def test_masks_are_propagated_and_their_objects_reach_further(drawn, runner, done):
    # In a narrow window the slices, each brighter than the last, would be another
    # tissue before long.
    drawn.image.contrast_limits = (-1000, 1000)
    draw(drawn, 2)
    done()
    runner.segment(Request(drawn, (1,), 2, direction=Direction.UP))
    done()
    assert filled(drawn) == [2, 3, 4, 5]
    assert drawn.session.objects[1].box.z_max == 6
    assert list(drawn.box_layer.layer.features["z_max"]) == [6]


def test_a_mask_joins_the_step_of_its_box(drawn, runner, done):
    draw(drawn, 2)
    done()
    with drawn.edit(paints=True) as session:
        session.undo()
    assert filled(drawn) == []
    assert not drawn.session.objects
