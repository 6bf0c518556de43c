"""The panel "Compare": variants on the same boxes, judged by labels and by eye."""

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from napari.layers import Image, Layer
from qtpy.QtWidgets import QWidget

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.errors import (
    Cancelled,
    InvalidSettings,
    InvalidVolume,
    NothingThere,
)
from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.comparison_table import note_of, rows_of, slice_text
from napari_qmedsam.evaluation.matching import (
    boxes_of_labels,
    boxes_on_slice,
    match_objects,
)
from napari_qmedsam.evaluation.variant_result import ComparisonStep
from napari_qmedsam.evaluation.variants import Variant
from napari_qmedsam.gui.compare.compare_controls import (
    AROUND,
    DRAWN,
    MEAN,
    SLICE,
    CompareChoices,
    CompareControls,
)
from napari_qmedsam.gui.compare.compare_views import CompareViews
from napari_qmedsam.gui.compare.layer_pair import LayerPair
from napari_qmedsam.gui.shared.drawn_boxes import read_drawn_boxes
from napari_qmedsam.gui.shared.layer_placement import labels_beside
from napari_qmedsam.gui.shared.layers import window_of
from napari_qmedsam.gui.shared.loading import LoadModel, ModelChoice, load_choice
from napari_qmedsam.gui.shared.navigation import SliceView
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.panel import Panel, connect_buttons
from napari_qmedsam.gui.shared.panel_choices import restore
from napari_qmedsam.gui.shared.table_export import TableExport
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.runtime import Backend
from napari_qmedsam.session import Session
from napari_qmedsam.volumes.labels import labels_on_grid

if TYPE_CHECKING:
    import napari


class ComparePanel(Panel[CompareControls, CompareChoices]):
    """Run variants of a model on the same boxes and look at the differences.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    load : callable
        How a variant is loaded; exchanged by tests.
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", load: LoadModel = load_choice
    ) -> None:
        super().__init__(viewer, partial(CompareControls, viewer), CompareChoices)
        restore(self.choices, self.controls)
        self.load = load
        self._running: Image | None = None
        """What a comparison runs on, or ran on last."""
        self._made: list[Comparison] = []
        """The comparison that runs, once it has begun."""
        self._scored = 0
        self.views = CompareViews(viewer, self.controls, self.work)
        self.export = TableExport(
            self,
            lambda: self.views.table(self._number),
            "comparison.csv",
            self.controls.status.setText,
        )
        self.pair = LayerPair(viewer, self.controls, self)
        self.start()
        self._connect()
        self.pair.start()
        self._show_rows()
        self.controls.status.setText(
            "Quantize a model in the panel Quantize, then compare it here."
            if len(self.state.variants) == 0
            else "Choose variants and labels."
        )

    # What the buttons do --------------------------------------------------

    def compare(self) -> None:
        """Run the ticked variants on the boxes and score them."""
        with errors_shown(self.say):
            session = self._checked_session()
            image = self.pair.image()
            truth = labels_beside(self.pair.reference(), image)
            names = self.controls.table.ticked_names()
            variants = [self.state.variants[name] for name in names]
            tolerance_mm = self.controls.tolerance.value()
            window = window_of(image)
            place = self._place(image)
            around = self.controls.boxes.currentText() == AROUND
            objects = [] if around else list(session.objects.values())
            made: list[Comparison] = []
            left_out: list[str] = []

            def job(report: Report) -> None:
                if not truth.array.any():
                    raise InvalidSettings(
                        "The labels are empty. Choose labels that hold objects."
                    )
                placed = labels_on_grid(truth, session.volume)
                reference = placed.array
                names = {s.number: s.name for s in placed.segments}
                boxed = objects
                try:
                    if around and place[0] is not None:
                        found = boxes_on_slice(reference, place[0], place[1], names)
                        boxed = list(found.objects)
                        left_out.append(found.note)
                    elif around:
                        boxed = boxes_of_labels(reference, names)
                    matched = match_objects(boxed, reference, *place, names)
                except NothingThere as error:
                    raise error.numbered(self._number) from None
                comparison = Comparison(
                    session.volume,
                    placed,
                    matched,
                    tolerance_mm=tolerance_mm,
                    window=window,
                )
                made.append(comparison)

                def load(variant: Variant) -> Backend:
                    choice = ModelChoice(variant.model, variant.runtime)
                    backend = self.load(choice, report)
                    check_cancelled()
                    return backend

                with closing(comparison.run(variants, load)) as steps:
                    for step in steps:
                        report(step)
                        check_cancelled()

            self._drop_layers()
            self.remember()
            self._running, self._made, self._scored = image, made, 0
            self.work.start(
                job,
                "Preparing…",
                partial(self._say_what_was_measured, made, left_out),
                self._progressed,
                partial(self._take, image, made),
            )

    # Choices --------------------------------------------------------------

    def _checked_session(self) -> Session:
        """Return the image's session, or raise with all that lacks for comparing."""
        lacks = []
        for choose in (self.pair.image, self.pair.reference):
            try:
                choose()
            except InvalidSettings as error:
                lacks.append(str(error))
        if not self.controls.table.ticked_names():
            lacks.append("Tick at least one variant; the panel Quantize makes them.")
        session = None
        is_drawn = self.controls.boxes.currentText() == DRAWN
        if is_drawn and self.pair.images.chosen is not None:
            session = self._session()
            if not session.objects:
                lacks.append(f"Draw a box in the panel Segment, or choose '{AROUND}'.")
        if lacks:
            # What is wrong with the image, both of the layers say.
            raise InvalidSettings(" ".join(dict.fromkeys(lacks)))
        return session or self._session()

    def _session(self) -> Session:
        """Return the image's session, its boxes taken from their layer."""
        image = self.pair.image()
        session = self.state.session_of(image)
        read_drawn_boxes(self.viewer, image, session)
        return session

    def _place(self, image: Image) -> tuple[int | None, int]:
        """Return slice and axis to compare on; None for the whole range."""
        if self.controls.scope.currentText() != SLICE:
            return None, 0
        axis, index = SliceView(self.viewer, image).place
        return index, axis

    def _number(self, slice_index: int, axis: int = 0) -> int:
        """Return what the slider shows on a slice of the image that was compared on."""
        assert self._running is not None
        return SliceView(self.viewer, self._running).number(slice_index, axis)

    # Work -----------------------------------------------------------------

    def _progressed(self, step: ComparisonStep) -> None:
        doing = "loading…"
        if step.slice_index is not None:
            doing = f"slice {self._number(step.slice_index, step.axis)}"
        elif step.done and step.done == step.total:
            doing = "scoring…"
        self.say(f"{step.variant}: {doing}")
        self.work.progressed.emit(step.done, step.total)
        if self._made and len(self._made[0].results) != self._scored:
            self._scored = len(self._made[0].results)
            self._show_rows()

    def _take(
        self, image: Image, made: list[Comparison], error: BaseException | None
    ) -> None:
        """Show what a comparison found, or what is done of one that was stopped."""
        self._made = []
        is_stopped = error is None or isinstance(error, Cancelled)
        is_there = image in self.viewer.layers
        if not (is_stopped and is_there and made and made[0].results):
            self._show_rows()
            return
        comparison = made[0]
        self.views.begin(image, comparison)
        for name, result in comparison.results.items():
            if name in self.state.variants:
                time = result.variant.milliseconds_per_slice
                self.state.variants.change(name, milliseconds_per_slice=time)
        scores = self.controls.scores
        scores.clear()
        scores.addItem(MEAN, None)
        for compared in comparison.objects:
            scores.addItem(compared.title, compared.object_id)
        self.state.variants_changed.emit()

    def _say_what_was_measured(
        self, made: list[Comparison], left_out: list[str]
    ) -> None:
        note = note_of(made[0], self._number)
        self.controls.status.setText(" ".join([note, *left_out]).rstrip())

    # What is shown --------------------------------------------------------

    def _show_rows(self) -> None:
        object_id = self.controls.scores.currentData()
        comparison = self.views.comparison
        if comparison is None and self._made:
            comparison = self._made[0]
        rows = rows_of(comparison, list(self.state.variants), object_id)
        self.controls.table.show_rows(rows)
        self.controls.plot.show_rows(rows)
        self.enable()

    def _variant_chosen(self, name: str) -> None:
        """Go to the slice on which a variant does worst."""
        result = None
        if self.views.comparison is not None:
            result = self.views.comparison.results.get(name)
        if result is not None and result.worst_slice is not None:
            assert self.views.layers is not None
            place = result.worst_slice
            if self.views.layers.image in self.viewer.layers:
                axis, index = place
                SliceView(self.viewer, self.views.layers.image).go_to(index, axis)
            score, where = (
                100 * result.slice_dsc[place],
                slice_text(place, self._number),
            )
            self.controls.status.setText(
                f"{name} does worst on slice {where}: DSC {score:.1f} %."
            )
        self.enable()

    def enabled(self) -> Iterable[tuple[QWidget, bool]]:
        """Return each control that is not always of use, and whether it is now."""
        controls, is_free = self.controls, not self.work.is_busy
        yield controls.cancel, not is_free
        for control in (controls.compare, controls.image, controls.labels):
            yield control, is_free
        for control in (
            controls.view,
            controls.differences,
            controls.distance,
            controls.copy_csv,
            controls.copy_markdown,
            controls.save,
            controls.scores,
        ):
            yield control, is_free and self.views.comparison is not None

    # Layers ---------------------------------------------------------------

    def _show_spacing(self) -> None:
        text = ""
        image = self.pair.images.chosen
        if image is not None:
            try:
                spacing = self.state.session_of(image).volume.spacing_mm
                text = "spacing " + " × ".join(f"{s:.3g}" for s in spacing) + " mm"
            except InvalidVolume as error:
                # Nothing was asked for yet, so nobody is to be disturbed by it.
                self.controls.status.setText(str(error))
        self.controls.spacing.setText(text)

    def _layer_removed(self, layer: Layer) -> None:
        if self.work.is_busy and layer is self._running:
            self.cancel()
        if self.views.layers is not None and layer is self.views.layers.image:
            self.worker.cancel()
            self._drop_layers()

    def _drop_layers(self) -> None:
        """Forget the comparison; its plain layers stay."""
        self.views.forget()
        self._show_rows()

    def _connect(self) -> None:
        controls = self.controls
        connect_buttons(
            [
                (controls.compare, self.compare),
                (controls.cancel, self.cancel),
                (controls.copy_csv, self.export.copy_csv),
                (controls.copy_markdown, self.export.copy_markdown),
                (controls.save, self.export.save),
            ]
        )
        controls.table.chosen.connect(self._variant_chosen)
        controls.scores.activated.connect(lambda _: self._show_rows())
        self.pair.images.changed.connect(self._show_spacing)
        self.pair.images.removed.connect(self._layer_removed)
        self.state.variants_changed.connect(self._show_rows)

    def close_layers(self) -> Iterable[Thread]:
        """Let go of viewer and layers; there are no threads but the work's."""
        self.pair.close()
        if self.views.layers is not None:
            self.views.layers.close()
        self.controls.plot.close_down()
        self.state.variants_changed.disconnect(self._show_rows)
        return []
