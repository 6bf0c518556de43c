"""A new kind of prompt is a class and an entry: the rest of the core takes it."""

from dataclasses import dataclass

import numpy as np
import pytest

from napari_qmedsam.prompts import REFINEMENTS, Box3D, Point
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.windows import Window

BOX = Box3D(2, 2, 0, 20, 20, 4)


@dataclass(frozen=True)
class Scribble:
    """A stroke from (x, y) to (x, y) through an object, shown as its two ends."""

    slice_index: int
    start: tuple[float, float]
    end: tuple[float, float]

    def __post_init__(self):
        # Files bring lists.
        object.__setattr__(self, "start", tuple(self.start))
        object.__setattr__(self, "end", tuple(self.end))

    def clicks(self):
        return tuple(Point(self.slice_index, x, y) for x, y in (self.start, self.end))


@pytest.fixture
def shown(new_backend):
    """What a model was shown besides the box, by decoding."""
    given = []

    class Recorder(new_backend):
        def decode(self, image_embedding, boxes, points=None):
            given.append(None if points is None else points[0].tolist())
            return super().decode(image_embedding, boxes)

    return Recorder(), given


@pytest.fixture
def session(shown, bright_volume, monkeypatch):
    monkeypatch.setitem(REFINEMENTS, "scribbles", Scribble)
    volume = bright_volume(np.ones((5, 32, 32), bool))
    return Session(volume, SliceSegmenter(shown[0]), Window(0, 255))


def test_models_are_shown_the_clicks_of_every_kind(session, shown):
    stroke = Scribble(1, (4, 5), (8, 9))
    session.add_object(BOX, points=(Point(1, 6, 7),), scribbles=(stroke,))
    session.segment()
    assert shown[1] == [None, [[[6, 7], [4, 5], [8, 9]]], None, None]


def test_a_kind_is_exchanged_alone_and_undone(session):
    stroke, other = Scribble(1, (4, 5), (8, 9)), Scribble(2, (4, 5), (8, 9))
    session.add_object(BOX, points=(Point(1, 6, 7),), scribbles=(stroke,))
    session.change_object(1, scribbles=(other,))
    assert session.objects[1].points == (Point(1, 6, 7),)
    assert other in session.objects[1].refinements
    session.change_object(1, points=())
    assert session.objects[1].refinements == (other,)
    session.undo()
    session.undo()
    assert set(session.objects[1].refinements) == {Point(1, 6, 7), stroke}


def test_unsaved_work_brings_every_kind_back(session, tmp_path):
    stroke = Scribble(1, (4, 5), (8, 9))
    session.add_object(BOX, points=(Point(1, 6, 7, False),), scribbles=(stroke,))
    Autosave(session.volume, tmp_path).write(session.objects, session.labels, True)
    found = Autosave(session.volume, tmp_path).left_behind()
    assert found.objects == tuple(session.objects.values())
