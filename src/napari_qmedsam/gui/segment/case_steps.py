"""Going to the next image of a folder, with the work on this one kept."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image, Layer

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.segment.workspaces import Workspaces
from napari_qmedsam.gui.shared.layers import image_layer_data
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.segmentation.case_folder import CaseFolder, KeptCase
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Volume

if TYPE_CHECKING:
    import napari


class CaseSteps:
    """Opens the image before or after the one in hand, and what was made of it.

    Boxes and labels are kept in a folder beside the images; what was kept of the image
    that is opened comes back. The layers of the one that is left are closed.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    workspaces : Workspaces
    work : Work
    saved : callable
        Called with a workspace whose boxes and labels are on disk.
    """

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        workspaces: Workspaces,
        work: Work,
        saved: Callable[[Workspace], None],
    ) -> None:
        self.viewer, self._workspaces, self._work = viewer, workspaces, work
        self._saved = saved

    def go(self, step: int) -> None:
        """Keep this case and open the one that many steps on."""
        with errors_shown(self._work.said.emit):
            workspace = self._workspaces.current
            if workspace is None or not workspace.session.volume.source.path:
                raise InvalidSettings(
                    "The next case is the next image of the folder, but no image from "
                    "a file is in hand. Open one."
                )
            left = workspace
            session = left.session
            here = Path(session.volume.source.path)
            folder = CaseFolder(here)
            there = folder.beside(here, step)
            objects, segments = list(session.objects.values()), session.segments
            labels = session.labels.copy()
            revision = left.revision
            opened: list[tuple[Volume, KeptCase | None]] = []

            def job(report: Report) -> None:
                folder.keep(here, session.volume, objects, labels, segments)
                volume = read_volume(there)
                opened.append((volume, folder.kept(there, volume)))

            def show() -> None:
                if left.revision == revision:
                    left.mark_saved()
                    self._saved(left)
                self._exchange(left, there.name, *opened[0])
                self._work.said.emit(f"{there.name}, case {folder.place_of(there)}.")

            self._work.start(job, f"Opening {there.name}…", show)

    def _exchange(
        self, left: Workspace, name: str, volume: Volume, kept: KeptCase | None
    ) -> None:
        data, arguments, kind = image_layer_data(volume, name)
        layer = Layer.create(data, arguments, kind)
        assert isinstance(layer, Image)
        old = [own.layer for own in left.layers if own.layer is not None]
        self.viewer.add_layer(layer)
        self._workspaces.images.choose(layer)
        workspace = self._workspaces.current
        for gone in (*old, left.image):
            if gone in self.viewer.layers:
                self.viewer.layers.remove(gone)
        self.viewer.reset_view()
        if kept is None or workspace is None:
            return
        workspace.show_labels()
        with workspace.edit(paints=True) as session:
            session.restore(kept.objects, kept.labels)
        workspace.mark_saved()
