"""What the user does to objects, in their table and with the buttons below it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.object_table import ObjectTable
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.notices import Say, errors_shown
from napari_qmedsam.session import Session


class ObjectEdits:
    """Changes a workspace's objects; where that is refused, the reason is shown.

    Parameters
    ----------
    table : ObjectTable
        Where objects are selected and edited.
    workspace : callable
        Returns the workspace, or raises if there is none.
    say : callable
        Called with what was wrong with an edit.
    on_end : callable
        Called after an edit, also where it was refused and the table shows what
        is not so.
    """

    def __init__(
        self,
        table: ObjectTable,
        workspace: Callable[[], Workspace],
        say: Say,
        on_end: Callable[[], None],
    ) -> None:
        self.table, self._say = table, say
        self._workspace, self._on_end = workspace, on_end
        table.renamed.connect(self.rename)
        table.range_changed.connect(self._set_shown_range)
        table.visited.connect(self.visit)
        table.visibility_changed.connect(lambda i, on: self.change(i, is_visible=on))
        table.lock_changed.connect(lambda i, on: self.change(i, is_locked=on))

    def rename(self, object_id: int, name: str) -> None:
        """Give an object another name, beside its rectangles too."""
        self.change(object_id, name=name)

    def change(self, object_id: int, **attributes: object) -> None:
        """Change an object and what shows it: `is_visible=False`, say."""
        self._edit(lambda session: session.change_object(object_id, **attributes))

    def set_range(self, object_id: int, z_min: int, z_max: int) -> None:
        """Let an object reach over slices z_min to z_max, maximum excluded."""
        self._edit(lambda session: _set_range(session, object_id, z_min, z_max))

    def _set_shown_range(self, object_id: int, first: int, last: int) -> None:
        """Let an object reach over slices as the slider counts them, both included."""
        with errors_shown(self._say):
            workspace = self._workspace()
            axis, view = workspace.session.objects[object_id].axis, workspace.view
            ends = view.index(first, axis), view.index(last, axis)
            self.set_range(object_id, min(ends), max(ends) + 1)

    def start_here(self) -> None:
        """Let the selected objects, or all, begin on the slice in view.

        Where the slider begins: on a flipped axis that is the last index.
        """
        self._limit(is_first=True)

    def end_here(self) -> None:
        """Let the selected objects, or all, end on the slice in view."""
        self._limit(is_first=False)

    def remove(self) -> None:
        """Remove the selected objects with their voxels; undo brings both back."""
        ids = self.table.selected_ids()
        if not ids:
            with errors_shown(self._say):
                raise InvalidSettings("Select the objects to remove in the table.")
        for object_id in ids:
            remove = partial(Session.remove_object, object_id=object_id, erase=True)
            self._edit(remove, paints=True)

    def undo(self) -> None:
        """Take the last change of masks or boxes back."""
        self._edit(Session.undo, paints=True)

    def redo(self) -> None:
        """Make the last undone change again."""
        self._edit(Session.redo, paints=True)

    def add_key_box(self) -> None:
        """Put the selected object's box on the slice in view, to be adjusted."""
        with errors_shown(self._say):
            self._workspace().add_key_box(self.target())
        self._on_end()

    def visit(self, object_id: int) -> None:
        """Go to the middle slice of an object."""
        workspace = self._workspace()
        o = workspace.session.objects[object_id]
        workspace.view.go_to(o.box.middle_slice, o.axis)

    def target(self) -> int:
        """Return the object that points and key boxes are for.

        The selected one, or else the newest.

        Raises
        ------
        InvalidSettings
            If there is none, or several are selected.
        """
        selected, objects = self.table.selected_ids(), self._workspace().session.objects
        if len(selected) > 1:
            raise InvalidSettings(
                "Select one object alone; key boxes and points are its."
            )
        if not selected and not objects:
            raise InvalidSettings("There is no object yet. Draw a box first.")
        return selected[0] if selected else max(objects)

    def _edit(self, change: Callable[[Session], object], paints: bool = False) -> None:
        with errors_shown(self._say), self._workspace().edit(paints) as session:
            change(session)
        self._on_end()

    def _limit(self, is_first: bool) -> None:
        with errors_shown(self._say):
            workspace = self._workspace()
            axis, here = workspace.view.here()
            objects = workspace.session.objects
            is_low = is_first != workspace.view.is_flipped(axis)
            with workspace.edit() as session:
                for object_id in self.table.selected_ids() or list(objects):
                    o = objects[object_id]
                    if o.axis == axis:
                        box = o.box
                        low = here if is_low else min(box.z_min, here)
                        high = max(box.z_max, here + 1) if is_low else here + 1
                        _set_range(session, object_id, low, high)
        self._on_end()


def _set_range(session: Session, object_id: int, z_min: int, z_max: int) -> None:
    old = session.objects[object_id].box
    session.change_object(object_id, box=replace(old, z_min=z_min, z_max=z_max))
