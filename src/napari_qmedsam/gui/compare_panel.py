"""The panel "Compare": variants on the same boxes, judged by labels and by eye."""

from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication, QFileDialog, QVBoxLayout, QWidget

from napari_qmedsam.errors import Cancelled, InvalidSettings
from napari_qmedsam.evaluation.comparison import Comparison, ComparisonStep
from napari_qmedsam.evaluation.comparison_table import (
    note_of,
    rows_of,
    slice_text,
    table_cells,
)
from napari_qmedsam.evaluation.matching import boxes_of_labels, match_objects
from napari_qmedsam.evaluation.tables import csv_text, markdown_text, save_table
from napari_qmedsam.gui.closing import ClosingWatch
from napari_qmedsam.gui.compare_controls import (
    AROUND,
    DIVIDER_STEPS,
    MEAN,
    SLICE,
    CompareControls,
)
from napari_qmedsam.gui.comparison_layers import COMPARED, ComparisonLayers, View
from napari_qmedsam.gui.layer_pair import LayerPair
from napari_qmedsam.gui.layers import window_of
from napari_qmedsam.gui.loading import LoadModel, ModelChoice, load_model
from napari_qmedsam.gui.navigation import show_slice, slice_in_view
from napari_qmedsam.gui.notices import errors_shown
from napari_qmedsam.gui.remembered import (
    CompareChoices,
    recall,
    remember,
    restore,
    take,
)
from napari_qmedsam.gui.sharing import shared_by
from napari_qmedsam.gui.work import Work
from napari_qmedsam.gui.workers import Report, ShouldStop
from napari_qmedsam.gui.workspace import Workspace
from napari_qmedsam.runtime import Backend
from napari_qmedsam.segmentation.session import Session
from napari_qmedsam.segmentation.variants import Variant

if TYPE_CHECKING:
    import napari

TABLE_FILTERS = "CSV (*.csv);;Markdown (*.md)"


class ComparePanel(QWidget):
    """Run variants of a model on the same boxes and look at the differences.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    load : callable
        How a variant is loaded; exchanged by tests.
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", load: LoadModel = load_model
    ) -> None:
        super().__init__()
        self.viewer, self.load, self.shared = viewer, load, shared_by(viewer)
        self.work = Work(self)
        self.worker = self.work.worker
        self.controls = CompareControls(viewer, self)
        self.remembered = recall(CompareChoices)
        restore(self.remembered, self.controls)
        self.comparison: Comparison | None = None
        self.layers: ComparisonLayers | None = None
        self.pair = LayerPair(
            viewer, self.controls.image, self.controls.labels, self._is_ours, self
        )
        layout = QVBoxLayout(self)
        layout.addWidget(self.controls)
        self._watch = ClosingWatch(self, self._let_go)
        self._connect()
        self.controls.show_progress(0, 1)
        self.pair.start()
        self._show_rows()
        self.controls.status.setText(
            "Quantize a model in the panel Quantize, then compare it here."
            if len(self.shared.variants) == 0
            else "Choose variants and labels."
        )

    # What the buttons do --------------------------------------------------

    def compare(self) -> None:
        """Run the ticked variants on the boxes and score them."""
        with errors_shown():
            image, session = self.pair.image(), self._session()
            reference = self.pair.reference()
            names = self.controls.table.ticked_names()
            variants = [self.shared.variants[name] for name in names]
            if not variants:
                raise InvalidSettings(
                    "Tick at least one variant. The panel Quantize makes them."
                )
            options = {
                "tolerance_mm": self.controls.tolerance.value(),
                "window": window_of(image),
            }
            place = self._place(image)
            around = self.controls.boxes.currentText() == AROUND
            objects = [] if around else list(session.objects.values())
            made: list[Comparison] = []

            def job(report: Report, should_stop: ShouldStop) -> None:
                boxed = boxes_of_labels(reference) if around else objects
                matched = match_objects(boxed, reference, *place)
                comparison = Comparison(session.volume, reference, matched, **options)
                made.append(comparison)

                def load(variant: Variant) -> Backend:
                    choice = ModelChoice(variant.model, variant.backend)
                    backend = self.load(choice, report, should_stop)
                    if should_stop():
                        raise Cancelled("Cancelled.")
                    return backend

                with closing(comparison.run(variants, load)) as steps:
                    for step in steps:
                        report(step)
                        if should_stop():
                            raise Cancelled("Cancelled.")

            self._drop_layers()
            self._remember()
            self.work.start(
                job,
                "Preparing…",
                partial(self._say_what_was_measured, made),
                self._progressed,
                partial(self._take, image, made),
            )

    def cancel(self) -> None:
        """Stop after the slice under way; variants that are done stay."""
        self.work.cancel("Stopping after this slice…")

    def show_differences(self) -> None:
        """Add a layer of the voxels on which variants differ."""
        with errors_shown():
            comparison, layers = self._compared()
            if len(comparison.results) < 2:
                raise InvalidSettings("It takes two variants to see a difference.")
            found: list[NDArray] = []

            def job(report: Report, should_stop: ShouldStop) -> None:
                found.append(comparison.disagreement())

            def done() -> None:
                layers.show_disagreement(found[0])
                count = int(np.count_nonzero(found[0]))
                self.controls.status.setText(f"Variants differ on {count} voxels.")

            self.work.start(job, "Comparing masks…", done)

    def show_distance(self) -> None:
        """Add a layer of signed surface distances of the selected variant."""
        with errors_shown():
            comparison, layers = self._compared()
            name = self.controls.table.selected_name()
            if name is None or name not in comparison.results:
                raise InvalidSettings("Select a compared variant in the table first.")
            found: list[NDArray] = []

            def job(report: Report, should_stop: ShouldStop) -> None:
                found.append(comparison.signed_distance(name))

            def done() -> None:
                layers.show_distance(name, found[0])
                text = "no surface to measure."
                if np.isfinite(found[0]).any():
                    low, high = np.nanmin(found[0]), np.nanmax(found[0])
                    text = f"{low:+.1f} to {high:+.1f} mm (inside to outside)."
                self.controls.status.setText(f"{name}: {text}")

            self.work.start(job, "Measuring distances…", done)

    def copy_csv(self) -> None:
        """Put the table on the clipboard as CSV."""
        with errors_shown():
            comparison, _ = self._compared()
            QApplication.clipboard().setText(csv_text(table_cells(comparison)))
            self.controls.status.setText("Copied the table as CSV.")

    def copy_markdown(self) -> None:
        """Put the table on the clipboard as Markdown."""
        with errors_shown():
            comparison, _ = self._compared()
            QApplication.clipboard().setText(markdown_text(table_cells(comparison)))
            self.controls.status.setText("Copied the table as Markdown.")

    def save_table(self, path: str | Path | None = None) -> None:
        """Write the table as CSV or Markdown; without path, ask."""
        with errors_shown():
            comparison, _ = self._compared()
            path = path or self._ask_where_to_save()
            if path:
                save_table(table_cells(comparison), Path(path), note_of(comparison))
                self.controls.status.setText(f"Saved {path}.")

    def show_view(self, view: View) -> None:
        """Show the masks in another way."""
        self.controls.view.setCurrentText(view.value)
        self.controls.sides.setVisible(view is View.SWIPE)
        with errors_shown():
            layers = self._compared()[1]
            layers.show(view)
            if view is View.SWIPE:
                self._swiped(0.5)
                self._offer_sides(layers)

    def _offer_sides(self, layers: ComparisonLayers) -> None:
        names = list(layers.comparison.results)
        sides = self.controls.left, self.controls.right
        for combo, name in zip(sides, layers.sides, strict=True):
            combo.clear()
            combo.addItems(names)
            combo.setCurrentText(name)

    def _sides_chosen(self) -> None:
        controls = self.controls
        with errors_shown():
            self._compared()[1].choose_sides(
                controls.left.currentText(), controls.right.currentText()
            )

    def _swiped(self, share: float) -> None:
        """Show where the divider is; the user dragged it in the picture."""
        divider = self.controls.divider
        divider.blockSignals(True)
        divider.setValue(round(share * DIVIDER_STEPS))
        divider.blockSignals(False)

    def _divider_moved(self, value: int) -> None:
        if self.layers is not None and self.layers.swipe is not None:
            self.layers.swipe.move(value / DIVIDER_STEPS)

    # Choices --------------------------------------------------------------

    def _session(self) -> Session:
        """Return the image's session, its boxes taken from their layer."""
        image = self.pair.image()
        session = self.shared.session_of(image)
        if not session.objects:
            # Nobody has read the box layer yet: the panel Segment is not open.
            Workspace(self.viewer, image, lambda: None).close()
        return session

    def _place(self, image: Image) -> tuple[int | None, int]:
        """Return slice and axis to compare on; None for the whole range."""
        if self.controls.scope.currentText() != SLICE:
            return None, 0
        axis, index = slice_in_view(self.viewer, image)
        return index, axis

    def _compared(self) -> tuple[Comparison, ComparisonLayers]:
        if self.comparison is None or self.layers is None:
            raise InvalidSettings("There is no comparison yet. Press Compare first.")
        return self.comparison, self.layers

    # Work -----------------------------------------------------------------

    def _progressed(self, step: ComparisonStep) -> None:
        doing = "loading…" if step.slice_index is None else f"slice {step.slice_index}"
        if step.slice_index is None and step.done and step.done == step.total:
            doing = "scoring…"
        self.work.said.emit(f"{step.variant}: {doing}")
        self.work.progressed.emit(step.done, step.total)

    def _take(
        self, image: Image, made: list[Comparison], error: BaseException | None
    ) -> None:
        """Show what a comparison found, or what is done of one that was stopped."""
        is_stopped = error is None or isinstance(error, Cancelled)
        if not is_stopped or not made or not made[0].results:
            return
        self.comparison = made[0]
        self.layers = ComparisonLayers(
            self.viewer, image, self.comparison, self._swiped
        )
        for name, result in self.comparison.results.items():
            if name in self.shared.variants:
                time = result.variant.milliseconds_per_slice
                self.shared.variants.change(name, milliseconds_per_slice=time)
        self.controls.view.setCurrentText(View.HIDDEN.value)
        self.controls.sides.hide()
        scores = self.controls.scores
        scores.clear()
        scores.addItem(MEAN, None)
        for compared in self.comparison.objects:
            scores.addItem(compared.name, compared.object_id)
        self.shared.variants_changed.emit()

    def _say_what_was_measured(self, made: list[Comparison]) -> None:
        self.controls.status.setText(note_of(made[0]))

    # What is shown --------------------------------------------------------

    def _show_rows(self) -> None:
        object_id = self.controls.scores.currentData()
        rows = rows_of(self.comparison, list(self.shared.variants), object_id)
        self.controls.table.show_rows(rows)
        self.controls.plot.show_rows(rows)
        self._enable()

    def _variant_chosen(self, name: str) -> None:
        """Go to the slice on which a variant does worst."""
        result = None
        if self.comparison is not None:
            result = self.comparison.results.get(name)
        if result is not None and result.worst_slice is not None:
            assert self.layers is not None
            place = result.worst_slice
            if self.layers.image in self.viewer.layers:
                show_slice(self.viewer, self.layers.image, place)
            score = 100 * result.slice_dsc[place]
            self.controls.status.setText(
                f"{name} does worst on slice {slice_text(place)}: DSC {score:.1f} %."
            )
        self._enable()

    def _enable(self) -> None:
        """Let only those controls be used that make sense now."""
        controls, is_free = self.controls, not self.worker.is_busy
        is_compared = is_free and self.comparison is not None
        for control, makes_sense in (
            (controls.compare, is_free),
            (controls.cancel, not is_free),
            (controls.image, is_free),
            (controls.labels, is_free),
            (controls.view, is_compared),
            (controls.differences, is_compared),
            (controls.distance, is_compared),
            (controls.copy_csv, is_compared),
            (controls.copy_markdown, is_compared),
            (controls.save, is_compared),
            (controls.scores, is_compared),
        ):
            control.setEnabled(makes_sense)

    # Layers ---------------------------------------------------------------

    def _show_spacing(self) -> None:
        text = ""
        image = self.pair.chosen_image()
        if image is not None:
            with errors_shown():
                spacing = self.shared.session_of(image).volume.spacing_mm
                text = "spacing " + " × ".join(f"{s:.3g}" for s in spacing) + " mm"
        self.controls.spacing.setText(text)

    def _is_ours(self, layer: Layer) -> bool:
        copies = [] if self.layers is None else self.layers.copies
        return COMPARED in layer.metadata or layer in copies

    def _layer_removed(self, layer: Layer) -> None:
        if self.layers is not None and layer is self.layers.image:
            self.worker.cancel()
            self._drop_layers()

    def _drop_layers(self) -> None:
        """Forget the comparison; its plain layers stay."""
        if self.layers is not None:
            self.layers.close()
        self.layers = self.comparison = None
        self._show_rows()

    def _ask_where_to_save(self) -> str:
        path, chosen = QFileDialog.getSaveFileName(
            self, "Save the table", "comparison.csv", TABLE_FILTERS
        )
        if not path or Path(path).suffix:
            return path
        return f"{path}.md" if "md" in chosen else f"{path}.csv"

    def _connect(self) -> None:
        controls = self.controls
        for button, action in (
            (controls.compare, self.compare),
            (controls.cancel, self.cancel),
            (controls.differences, self.show_differences),
            (controls.distance, self.show_distance),
            (controls.copy_csv, self.copy_csv),
            (controls.copy_markdown, self.copy_markdown),
            (controls.save, self.save_table),
        ):
            # clicked carries a bool that none of them wants.
            button.clicked.connect(lambda _, action=action: action())
        controls.table.chosen.connect(self._variant_chosen)
        controls.scores.activated.connect(lambda _: self._show_rows())
        self.pair.changed.connect(self._show_spacing)
        self.pair.removed.connect(self._layer_removed)
        controls.view.activated.connect(
            lambda _: self.show_view(View(controls.view.currentText()))
        )
        for side in (controls.left, controls.right):
            side.activated.connect(lambda _: self._sides_chosen())
        controls.divider.valueChanged.connect(self._divider_moved)
        self.work.said.connect(controls.status.setText)
        self.work.progressed.connect(controls.show_progress)
        self.work.changed.connect(self._enable)
        self.work.changed.connect(self._watch.look)
        self.shared.variants_changed.connect(self._show_rows)

    def _remember(self) -> None:
        """Keep what was chosen for the next start."""
        take(self.remembered, self.controls)
        remember(self.remembered)

    # Closing --------------------------------------------------------------

    def close_down(self) -> None:
        """Stop the work, within a second, and let go of viewer and layers."""
        self._watch.close()

    def _let_go(self) -> list[Thread]:
        self._remember()
        running = self.worker.close()
        self.pair.close_down()
        if self.layers is not None:
            self.layers.close()
        self.controls.plot.close_down()
        self.shared.variants_changed.disconnect(self._show_rows)
        return running
