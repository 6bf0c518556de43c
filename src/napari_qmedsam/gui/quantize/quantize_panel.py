"""The panel "Quantize": a float model in, variants of fewer bits out."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_qmedsam.checkpoints.packed.model_file import SUFFIX
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.evaluation.variants import SHORT_NAMES, Variant, variant_of
from napari_qmedsam.gui.quantize.quantize_controls import (
    FOLDER,
    PHANTOMS,
    QuantizeChoices,
    QuantizeControls,
)
from napari_qmedsam.gui.quantize.time_left import TimeLeft, spoken
from napari_qmedsam.gui.quantize.variant_list import VariantList
from napari_qmedsam.gui.shared.layers import scans, volume_of
from napari_qmedsam.gui.shared.loading import report_download
from napari_qmedsam.gui.shared.notices import errors_shown
from napari_qmedsam.gui.shared.panel import Panel, connect_buttons
from napari_qmedsam.gui.shared.panel_choices import restore
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.quantization.job import QuantizationJob
from napari_qmedsam.quantization.methods import NNCF
from napari_qmedsam.quantization.whole_model import QuantizationProgress
from napari_qmedsam.runtime.nncf_subprocess import quantize_graphs_in_subprocess

if TYPE_CHECKING:
    import napari

Make = Callable[[ModelSource, Report], Variant]
"""Quantizes a float model."""


class QuantizePanel(Panel[QuantizeControls, QuantizeChoices]):
    """Quantize models after training, and keep the list of variants.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, partial(QuantizeControls, viewer), QuantizeChoices)
        self.variants = VariantList(self, self.controls, self.work, self.state)
        self.folder: Path | None = None
        self._layers_known, self._time_left = False, TimeLeft()
        self._restore()
        self.start()
        self._connect()
        self.controls.status.setText("Choose a model and a size.")

    # What the buttons do --------------------------------------------------

    def quantize(self) -> None:
        """Quantize the chosen model; the result joins the variants."""
        with errors_shown(self.say):
            choice = self.controls.models.choice()
            plan, target = self._plan(), self.state.new_model()
            quantized = self._by_nncf if self.controls.is_nncf else self._layerwise
            make = quantized(plan, target, choice.backend)
            known = {(v.model, v.backend) for v in self.state.variants}
            variants: list[Variant] = []

            def job(report: Report) -> None:
                source = resolve_model(choice.model, progress=report_download(report))
                made = make(source, report)
                if (choice.model, choice.backend) not in known:
                    # What the others are measured by.
                    variants.append(variant_of(choice.model, backend=choice.backend))
                variants.append(made)

            self._layers_known, self._time_left = False, TimeLeft()
            self.remember()
            self.work.start(
                job,
                "Preparing…",
                partial(self.variants.add, variants),
                self._progressed,
            )

    # Ways to quantize -----------------------------------------------------

    def _layerwise(self, plan: CalibrationPlan, target: Path, backend: str) -> Make:
        settings, budget = self.controls.settings(), self.controls.budget()

        def make(source: ModelSource, report: Report) -> Variant:
            file = target.with_name(target.name + SUFFIX)
            QuantizationJob(source, settings, plan, budget).run(file, report)
            return variant_of(str(file), backend=backend)

        return make

    def _by_nncf(self, plan: CalibrationPlan, target: Path, backend: str) -> Make:
        def make(source: ModelSource, report: Report) -> Variant:
            def step(done: int, total: int, text: str) -> None:
                report(QuantizationProgress(done, total, text))

            quantize_graphs_in_subprocess(source, plan, target, step)
            name = f"{source.config.name} 8-bit {SHORT_NAMES[NNCF]}"
            # The graphs are OpenVINO's, whatever the float model runs on.
            variant = variant_of(str(target), name)
            return replace(variant, method=NNCF)

        return make

    # Choices --------------------------------------------------------------

    def choose_folder(self, folder: str | Path | None = None) -> None:
        """Calibrate on the images of a folder; without one, ask."""
        if folder is None:
            folder = QFileDialog.getExistingDirectory(self, "Calibration images")
        combo = self.controls.calibration
        if folder:
            self.folder = Path(folder)
            combo.setCurrentText(FOLDER)
            combo.setItemText(combo.currentIndex(), FOLDER)
            self.controls.status.setText(f"Calibration images: {folder}")
        elif self.folder is None:
            combo.setCurrentText(PHANTOMS)

    def _plan(self) -> CalibrationPlan:
        where, slices = self.controls.calibration.currentText(), self.controls.slices
        count = slices.value()
        if not self.controls.calibration.isEnabled() or where == PHANTOMS:
            return CalibrationPlan(slices=count)
        if where == FOLDER:
            if self.folder is None:
                raise InvalidSettings("Choose a folder of images to calibrate on.")
            return CalibrationPlan(path=self.folder, slices=count)
        images = scans(self.viewer.layers)
        if not images:
            raise InvalidSettings(
                f"There is no image to calibrate on. Open one, or choose {PHANTOMS}."
            )
        return CalibrationPlan(volumes=[volume_of(x) for x in images], slices=count)

    def _calibration_chosen(self) -> None:
        if self.controls.calibration.currentText() == FOLDER:
            self.choose_folder()

    # Work -----------------------------------------------------------------

    def _progressed(self, step: QuantizationProgress) -> None:
        work, plot = self.work, self.controls.plot
        work.progressed.emit(step.done, step.total)
        left = spoken(self._time_left.seconds(step))
        if step.report is None:
            doing = f"{step.layer[:1].upper()}{step.layer[1:]}"
            work.said.emit(", ".join(filter(None, [doing, left])) + "…")
            return
        if not self._layers_known:
            self._layers_known = True
            plot.start(step.layers)
        error = step.report.relative_error
        plot.add(error)
        said = f"{step.layer}: relative error {error:.1e}"
        work.said.emit(", ".join(filter(None, [said, left])))

    def enabled(self) -> Iterable[tuple[QWidget, bool]]:
        """Return each control that is not always of use, and whether it is now."""
        controls, is_free = self.controls, not self.work.is_busy
        yield controls.cancel, not is_free
        for control in (
            controls.fields,
            controls.quantize,
            controls.load,
            controls.load_qat,
        ):
            yield control, is_free
        is_chosen = controls.variants.currentItem() is not None
        for control in (controls.save, controls.remove):
            yield control, is_free and is_chosen

    def _connect(self) -> None:
        controls = self.controls
        connect_buttons(
            [
                (controls.quantize, self.quantize),
                (controls.cancel, self.cancel),
                (controls.load, self.variants.load_model),
                (controls.load_qat, self.variants.load_qat),
                (controls.save, self.variants.save),
                (controls.remove, self.variants.remove),
            ]
        )
        controls.calibration.activated.connect(lambda _: self._calibration_chosen())
        controls.variants.itemSelectionChanged.connect(self.enable)

    # Between starts -------------------------------------------------------

    def _restore(self) -> None:
        known, controls = self.choices, self.controls
        folder = Path(known.folder) if known.folder else None
        if folder is not None and folder.is_dir():
            self.folder = folder
        elif known.calibration == FOLDER:
            known.calibration = PHANTOMS
        controls.models.choose_again(known.model, known.backend)
        restore(known, controls)

    def remember(self) -> None:
        """Keep what was chosen for the next start."""
        known, choice = self.choices, self.controls.models.choice()
        known.model, known.backend = self.controls.models.chosen, choice.backend
        known.folder = "" if self.folder is None else str(self.folder)
        super().remember()

    def close_layers(self) -> Iterable[Thread]:
        """Let go of the viewer; there are no threads but the work's."""
        self.controls.plot.close_down()
        self.variants.close_down()
        return []
