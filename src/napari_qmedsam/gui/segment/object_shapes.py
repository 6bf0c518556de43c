"""What can be done to the shape of selected objects: pieces, empty slices, tidying."""

from collections.abc import Callable
from functools import partial

from qtpy.QtWidgets import QMenu

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.object_edits import ObjectEdits
from napari_qmedsam.gui.segment.runner import Request
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.prompts import Absence, Piece
from napari_qmedsam.segmentation.objects import SegmentObject
from napari_qmedsam.segmentation.tidying import Tidying

TIDYINGS = {
    "Largest piece": Tidying(largest_piece=True),
    "Fill holes": Tidying(fill_holes=True),
    "Smooth across slices by 3 mm": Tidying(smooth_mm=3.0),
}
"""What the menu offers, as it says it."""


class ObjectShapes:
    """Entries of a menu, for the objects that are selected in the table.

    Parameters
    ----------
    workspace : callable
        Returns the workspace, or raises if there is none.
    edits : ObjectEdits
        Knows which object is meant.
    segment : callable
        Called with what is to be segmented after a change.
    say : callable
    """

    def __init__(
        self,
        workspace: Callable[[], Workspace],
        edits: ObjectEdits,
        segment: Callable[[Request], None],
        say: Say,
    ) -> None:
        self._workspace, self._edits = workspace, edits
        self._segment, self._say = segment, say

    def fill(self, menu: QMenu) -> None:
        """Offer what there is now."""
        menu.setToolTipsVisible(True)
        self._add(menu, "Not on this slice", self.say_absent, "Its box here is empty.")
        with errors_shown(self._say):
            session = self._workspace().session
            for title, takes_away in (("Box adds to", False), ("Box takes from", True)):
                others = menu.addMenu(title)
                assert others is not None
                others.setToolTip(
                    "The selected object's box on this slice is another's from then on."
                )
                for o in session.objects.values():
                    do = partial(self.give_box, o.object_id, takes_away)
                    others.addAction(o.name, do)
                others.setEnabled(len(session.objects) > 1)
            menu.addSeparator()
            for title, tidying in TIDYINGS.items():
                self._add(menu, title, partial(self.tidy, tidying), "Of selected ones.")
            menu.addSeparator()
            tighten = menu.addAction("Tighten boxes")
            assert tighten is not None
            tighten.setToolTip("For boxes that may be too large or shifted.")
            tighten.setCheckable(True)
            tighten.setChecked(session.tighten)
            tighten.toggled.connect(partial(setattr, session, "tighten"))

    def say_absent(self) -> None:
        """Say that the selected object is not on the slice in view; its voxels go."""
        with errors_shown(self._say):
            workspace, chosen, here = self._place()
            absences = {
                *(r for r in chosen.refinements if isinstance(r, Absence)),
                Absence(here),
            }
            with workspace.edit() as session:
                session.change_object(chosen.object_id, absences=tuple(absences))
            self._segment(Request(workspace, (chosen.object_id,), here, chosen.axis))

    def give_box(self, object_id: int, takes_away: bool) -> None:
        """Make the selected object's box on the slice in view a piece of another.

        The selected object goes, with its voxels.

        Parameters
        ----------
        object_id : int
            The other.
        takes_away : bool
            What the box gives is no part of that.
        """
        with errors_shown(self._say):
            workspace, chosen, here = self._place()
            other = workspace.session.objects[object_id]
            if other is chosen:
                raise InvalidSettings("Select the object whose box it is to be.")
            if other.axis != chosen.axis or not other.prompt.reaches(here):
                raise InvalidSettings(f"'{other.name}' does not reach this slice.")
            piece = Piece.of(here, chosen.prompt.box_on(here), takes_away)
            pieces = [r for r in other.refinements if isinstance(r, Piece)]
            with workspace.edit(paints=True) as session, session.history.step():
                session.remove_object(chosen.object_id, erase=True)
                session.change_object(object_id, pieces=(*pieces, piece))
            self._segment(Request(workspace, (object_id,), here, other.axis))

    def tidy(self, tidying: Tidying) -> None:
        """Tidy the selected objects, or the newest, in 3D."""
        with errors_shown(self._say):
            ids = self._edits.table.selected_ids() or [self._edits.target()]
            with self._workspace().edit(paints=True) as session, session.history.step():
                for object_id in ids:
                    session.tidy(object_id, tidying)

    def _place(self) -> tuple[Workspace, SegmentObject, int]:
        """Return the object that is meant, and the slice in view that it reaches."""
        workspace = self._workspace()
        axis, here = workspace.view.here()
        chosen = workspace.session.objects[self._edits.target()]
        if chosen.axis != axis or not chosen.prompt.reaches(here):
            raise InvalidSettings(f"'{chosen.name}' does not reach the slice in view.")
        return workspace, chosen, here

    @staticmethod
    def _add(menu: QMenu, title: str, do: Callable[[], None], tip: str) -> None:
        action = menu.addAction(title, do)
        assert action is not None
        action.setToolTip(tip)
