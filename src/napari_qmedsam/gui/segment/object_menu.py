"""What can be done with all objects: report, score, names, those of other labels."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from napari.layers import Image, Labels
from qtpy.compat import isalive
from qtpy.QtWidgets import QFileDialog, QMenu, QWidget

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.label_scores import LabelScores, score_labels
from napari_qmedsam.evaluation.object_report import ObjectReport, report_objects
from napari_qmedsam.evaluation.rules import Matching
from napari_qmedsam.gui.segment.object_shapes import ObjectShapes
from napari_qmedsam.gui.segment.score_dialog import MATCHINGS, ScoreDialog
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.layer_placement import labels_beside
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.table_dialog import TableDialog
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.segmentation.case_folder import KEPT
from napari_qmedsam.volumes.class_lists import SHIPPED, class_list
from napari_qmedsam.volumes.grid import SUPERIOR, anatomical_axes
from napari_qmedsam.volumes.volume import Volume

if TYPE_CHECKING:
    import napari

LIST_FILTERS = "Class lists (*.csv *.json *.yaml *.yml)"

Found = TypeVar("Found", ObjectReport, LabelScores)


class ObjectMenu(QMenu):
    """A menu over the objects and labels of the workspace in hand.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Its labels layers are offered.
    workspace : callable
        Returns the workspace, or raises if there is none.
    work : Work
        Reports and scores; they may take seconds on a large scan.
    parent : QWidget
    go : callable
        Opens the image that many steps on in the folder.
    shapes : ObjectShapes
        What is offered for the shape of objects.
    """

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        workspace: Callable[[], Workspace],
        work: Work,
        parent: QWidget,
        go: Callable[[int], None],
        shapes: ObjectShapes,
    ) -> None:
        super().__init__(parent)
        self.viewer, self._workspace, self._work = viewer, workspace, work
        self._parent, self._go, self._shapes = parent, go, shapes
        self.dialog: TableDialog | None = None
        """The table that was shown last."""
        self.setToolTipsVisible(True)
        self.aboutToShow.connect(self.fill)

    def fill(self) -> None:
        """Offer what there is now."""
        self.clear()
        for menu in self.findChildren(QMenu):
            # Menus of an earlier time would stay, with layers that have gone.
            menu.setParent(None)
            menu.deleteLater()
        self.addAction("Report…", self.report)
        self._of_layers("Score against", self.score, "No model is needed.")
        self._of_layers(
            "Objects from",
            self.take_over,
            "Each label becomes an object with a box on every slice, locked at first.",
        )
        self._shapes.fill(self._added("Shape", "Pieces, empty slices, tidying in 3D."))
        names = self._added("Names from", "By the numbers of the objects.")
        for name, title in SHIPPED.items():
            names.addAction(title, partial(self.name_by, name))
        names.addAction("File…", self._name_by_file)
        self.addSeparator()
        for title, step in (("Next case", 1), ("Previous case", -1)):
            action = self.addAction(title, partial(self._go, step))
            assert action is not None
            action.setToolTip(
                "Open that image of the same folder. Boxes and labels of this one are "
                f"kept in '{KEPT}' beside it, and come back with it."
            )

    def report(self) -> None:
        """Measure all objects and show the table."""
        with errors_shown(self._work.said.emit):
            workspace = self._workspace()
            session, view = workspace.session, workspace.view
            volume, labels = session.volume, session.labels.copy()
            axial = anatomical_axes(volume.affine).index(SUPERIOR)

            def show(found: ObjectReport) -> None:
                shown = found.numbered(lambda index: view.number(index, axial))
                self._open(TableDialog(self._parent, "Report", shown.cells, ""))

            find = partial(report_objects, volume, labels, session.segments)
            self._start("Report", find, show)

    def score(self, reference: Labels) -> None:
        """Score the labels as they are now against a layer, and show the table."""
        with errors_shown(self._work.said.emit):
            workspace = self._workspace()
            session = workspace.session
            own = session.volume.with_labels(session.labels.copy(), session.segments)
            truth = labels_of(reference, workspace.image)
            title = f"Scores against {reference.name}"
            find = partial(score_labels, own, truth)

            def show(found: LabelScores) -> None:
                dialog = ScoreDialog(self._parent, title, found)
                dialog.asked.connect(partial(self._score_again, dialog, find))
                self._open(dialog)

            matching = next(iter(MATCHINGS))
            self._start(title, partial(find, matching=matching), show)

    def take_over(self, labels: Labels) -> None:
        """Make locked objects of the labels of a layer."""
        with errors_shown(self._work.said.emit):
            workspace = self._workspace()
            volume = labels_of(labels, workspace.image)
            axis = workspace.view.axis
            with workspace.edit(paints=True) as session:
                made = session.add_objects_from_labels(volume, axis=axis)
            workspace.show_labels()
            workspace.labels_layer.show_visibility()
            self._work.said.emit(
                f"{len(made)} objects from {labels.name}; unlock what is to change."
            )

    def name_by(self, name: str) -> None:
        """Give objects the names that a class list has for their numbers."""
        with errors_shown(self._work.said.emit):
            known = {s.number: s for s in class_list(name).segments}
            workspace = self._workspace()
            with workspace.edit() as session:
                named = [known[i] for i in session.objects if i in known]
                for segment in named:
                    attributes: dict[str, object] = {"name": segment.name}
                    if segment.colour is not None:
                        attributes["colour"] = segment.colour
                    session.change_object(segment.number, **attributes)
            if not named:
                raise InvalidSettings(
                    "No object has a number of that list. Numbers of objects are the "
                    "values of their labels."
                )
            self._work.said.emit(f"{len(named)} objects have their names.")

    # Helpers --------------------------------------------------------------

    def _of_layers(self, title: str, do: Callable[[Labels], None], tip: str) -> None:
        """Add a menu of the labels layers that are not the workspace's own."""
        menu = self._added(title, tip)
        own = None
        with errors_shown(self._work.said.emit):
            own = self._workspace().labels_layer.layer
        for layer in self.viewer.layers:
            if isinstance(layer, Labels) and layer is not own:
                menu.addAction(layer.name, partial(do, layer))
        menu.setEnabled(bool(menu.actions()))

    def _added(self, title: str, tip: str) -> QMenu:
        menu = QMenu(title, self)
        menu.setToolTip(tip)
        self.addMenu(menu)
        return menu

    def _name_by_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self._parent, "Choose a class list", "", LIST_FILTERS
        )
        if path:
            self.name_by(path)

    def _score_again(
        self,
        dialog: ScoreDialog,
        find: Callable[..., LabelScores],
        matching: Matching,
        tolerance_mm: float,
    ) -> None:
        """Score the same labels in another way; the table stays where that fails."""
        again = partial(find, matching=matching, tolerance_mm=tolerance_mm)

        def show(found: LabelScores) -> None:
            if isalive(dialog):
                dialog.show_scores(found)

        def ended(error: BaseException | None) -> None:
            if error is not None and isalive(dialog):
                dialog.say(str(error))

        with errors_shown(dialog.say):
            self._start(dialog.windowTitle(), again, show, ended)

    def _start(
        self,
        title: str,
        find: Callable[[], Found],
        show: Callable[[Found], None],
        on_end: Callable[[BaseException | None], None] = lambda _: None,
    ) -> None:
        if self._work.is_busy:
            raise InvalidSettings("Wait for what is being done, or cancel it.")
        made: list[Found] = []

        def job(report: Report) -> None:
            made.append(find())

        def shown() -> None:
            show(made[0])
            self._work.said.emit(f"{title}: {len(made[0].cells) - 1} rows.")

        self._work.start(job, f"{title}…", shown, on_end=on_end)

    def _open(self, dialog: TableDialog) -> None:
        self.dialog = dialog
        dialog.show()


def labels_of(layer: Labels, scan: Image) -> Volume:
    """Return the labels of a layer where they lie, with the names of its file."""
    volume = labels_beside(layer, scan)
    return volume.with_labels(volume.array, volume.segments)
