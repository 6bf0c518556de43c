"""What the panel "Compare" puts into the viewer once variants have run."""

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.evaluation.comparison_table import SliceNumber, note_of, table_cells
from napari_qmedsam.evaluation.tables import Cells
from napari_qmedsam.gui.compare.compare_controls import DIVIDER_STEPS, CompareControls
from napari_qmedsam.gui.compare.comparison_layers import ComparisonLayers, MaskView
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report

if TYPE_CHECKING:
    import napari


class CompareViews:
    """One comparison at a time, and the ways to look at it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    controls : CompareControls
    work : Work
        Runs what takes long.
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", controls: CompareControls, work: Work
    ) -> None:
        self.viewer, self.controls, self.work = viewer, controls, work
        self.comparison: Comparison | None = None
        self.layers: ComparisonLayers | None = None
        controls.view.activated.connect(
            lambda _: self.show(MaskView(controls.view.currentText()))
        )
        for side in (controls.left, controls.right):
            side.activated.connect(lambda _: self._sides_chosen())
        controls.divider.valueChanged.connect(self._divider_moved)
        # clicked carries a bool that neither wants.
        controls.differences.clicked.connect(lambda _: self.show_differences())
        controls.distance.clicked.connect(lambda _: self.show_distance())

    def begin(self, image: Image, comparison: Comparison) -> None:
        """Take the comparison that has run; nothing of it is shown yet."""
        self.comparison = comparison
        self.layers = ComparisonLayers(self.viewer, image, comparison, self._swiped)
        self.controls.view.setCurrentText(MaskView.HIDDEN.value)
        self.controls.sides.hide()

    def forget(self) -> None:
        """Let go of the comparison; its plain layers stay."""
        if self.layers is not None:
            self.layers.close()
        self.layers = self.comparison = None

    def table(self, number: SliceNumber) -> tuple[Cells, str]:
        """Return the comparison as a table, with a sentence on how it was scored.

        Parameters
        ----------
        number : callable
            Returns what the slider shows on a slice.

        Raises
        ------
        InvalidSettings
            If there is none.
        """
        comparison, _ = self._compared()
        return table_cells(comparison, number), note_of(comparison, number)

    def show(self, view: MaskView) -> None:
        """Show the masks in another way."""
        self.controls.view.setCurrentText(view.value)
        self.controls.sides.setVisible(view is MaskView.SWIPE)
        with errors_shown(self.work.said.emit):
            layers = self._compared()[1]
            layers.show(view)
            if view is MaskView.SWIPE:
                self._swiped(0.5)
                self._offer_sides(layers)

    def show_differences(self) -> None:
        """Add a layer of the voxels on which variants differ."""
        with errors_shown(self.work.said.emit):
            comparison, layers = self._compared()
            if len(comparison.results) < 2:
                raise InvalidSettings("It takes two variants to see a difference.")
            found: list[NDArray] = []

            def job(report: Report) -> None:
                found.append(comparison.disagreement())

            def done() -> None:
                layers.show_disagreement(found[0])
                count = int(np.count_nonzero(found[0]))
                self.controls.status.setText(f"Variants differ on {count} voxels.")

            self.work.start(job, "Comparing masks…", done)

    def show_distance(self) -> None:
        """Add a layer of signed surface distances of the selected variant."""
        with errors_shown(self.work.said.emit):
            comparison, layers = self._compared()
            name = self.controls.table.selected_name()
            if name is None or name not in comparison.results:
                raise InvalidSettings("Select a compared variant in the table first.")
            found: list[NDArray] = []

            def job(report: Report) -> None:
                found.append(comparison.signed_distance(name))

            def done() -> None:
                layers.show_distance(name, found[0])
                text = "no surface to measure."
                if np.isfinite(found[0]).any():
                    low, high = np.nanmin(found[0]), np.nanmax(found[0])
                    text = f"{low:+.1f} to {high:+.1f} mm (inside to outside)."
                self.controls.status.setText(f"{name}: {text}")

            self.work.start(job, "Measuring distances…", done)

    def _compared(self) -> tuple[Comparison, ComparisonLayers]:
        if self.comparison is None or self.layers is None:
            raise InvalidSettings("There is no comparison yet. Press Compare first.")
        return self.comparison, self.layers

    # Swipe ----------------------------------------------------------------

    def _offer_sides(self, layers: ComparisonLayers) -> None:
        names = layers.names
        sides = self.controls.left, self.controls.right
        for combo, name in zip(sides, layers.sides, strict=True):
            combo.clear()
            combo.addItems(names)
            combo.setCurrentText(name)

    def _sides_chosen(self) -> None:
        controls = self.controls
        with errors_shown(self.work.said.emit):
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
