"""What the user does to objects in their table and with the buttons below it."""

from collections.abc import Callable

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.object_table import ObjectTable
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.notices import Say, errors_shown


class ObjectEdits:
    """Passes edits of the table on to a workspace's objects.

    Parameters
    ----------
    table : ObjectTable
    workspace : callable
        Returns the workspace, or raises if there is none.
    on_change : callable
        Called after an edit, also where it was refused.
    say : callable
        Called with what was wrong with an edit.
    """

    def __init__(
        self,
        table: ObjectTable,
        workspace: Callable[[], Workspace],
        on_change: Callable[[], None],
        say: Say,
    ) -> None:
        self.table, self._say = table, say
        self._workspace, self._on_change = workspace, on_change
        table.renamed.connect(self.rename)
        table.range_changed.connect(self.set_range)
        table.visited.connect(self.visit)
        table.visibility_changed.connect(lambda i, on: self._change(i, is_visible=on))
        table.lock_changed.connect(lambda i, on: self._change(i, is_locked=on))

    def rename(self, object_id: int, name: str) -> None:
        """Give an object another name."""
        self._change(object_id, name=name)

    def set_range(self, object_id: int, z_min: int, z_max: int) -> None:
        """Let an object reach over slices z_min to z_max, maximum excluded."""
        with errors_shown(self._say):
            self._workspace().set_range(object_id, z_min, z_max)
        self._on_change()

    def start_here(self) -> None:
        """Let the selected objects, or all, begin on the slice in view."""
        self._limit(lambda box, here: (here, max(box.z_max, here + 1)))

    def end_here(self) -> None:
        """Let the selected objects, or all, end on the slice in view."""
        self._limit(lambda box, here: (min(box.z_min, here), here + 1))

    def remove(self) -> None:
        """Remove the selected objects with their voxels."""
        with errors_shown(self._say):
            ids = self.table.selected_ids()
            if not ids:
                raise InvalidSettings("Select the objects to remove in the table.")
            for object_id in ids:
                self._workspace().remove(object_id)
        self._on_change()

    def visit(self, object_id: int) -> None:
        """Go to the middle slice of an object."""
        workspace = self._workspace()
        o = workspace.session.objects[object_id]
        workspace.go_to(o.box.middle_slice, o.axis)

    def _change(self, object_id: int, **attributes: object) -> None:
        with errors_shown(self._say):
            self._workspace().change(object_id, **attributes)
        self._on_change()

    def _limit(self, limits: Callable) -> None:
        with errors_shown(self._say):
            workspace = self._workspace()
            here, objects = workspace.slice_index, workspace.session.objects
            for object_id in self.table.selected_ids() or list(objects):
                o = objects[object_id]
                if o.axis == workspace.axis:
                    workspace.set_range(object_id, *limits(o.box, here))
        self._on_change()
