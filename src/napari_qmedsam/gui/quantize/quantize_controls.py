"""The controls of the panel "Quantize" and how they are arranged."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QListWidget, QSizePolicy, QWidget

from napari_qmedsam.checkpoints.default_model import AUTO
from napari_qmedsam.checkpoints.packed.granularity import Permutation
from napari_qmedsam.datasets.calibration_plan import CalibrationPlan
from napari_qmedsam.gui.quantize.error_plot import ErrorPlot
from napari_qmedsam.gui.shared.forms import (
    Controls,
    button,
    column,
    combo_box,
    form,
    row,
    spin_box,
    work_grid,
)
from napari_qmedsam.gui.shared.model_form import ModelForm
from napari_qmedsam.gui.shared.settings_fields import (
    choice_field,
    field_title,
    number_field,
)
from napari_qmedsam.quantization.job import Budget
from napari_qmedsam.quantization.methods import METHODS, NNCF, MethodTraits
from napari_qmedsam.quantization.settings import DEFAULT_GROUP, QuantizationSettings
from napari_qmedsam.runtime import nncf_subprocess

if TYPE_CHECKING:
    import napari

BITS, MEGABYTES, AVERAGE = "Bits per weight", "Size budget, MB", "Average bits"
"""What decides the bits of a layer."""

PER_LAYER, PER_CHANNEL, PER_GROUP = "layer", "channel", "group"

GRANULARITIES = {
    PER_LAYER: "Per layer",
    PER_CHANNEL: "Per channel",
    PER_GROUP: "Per group",
}
"""How many weights share one scale."""

PERMUTATIONS = {
    Permutation.NONE: "Nothing",
    Permutation.ROWS: "Rows",
    Permutation.ELEMENTS: "Elements",
}
"""What a method can sort."""

PHANTOMS, OPEN_IMAGES, FOLDER = "Phantoms", "Open images", "Folder…"
"""Where calibration slices come from."""


@dataclass
class QuantizeChoices:
    """Choices in the panel Quantize; its controls stand before the others they rule.

    Parameters
    ----------
    model, backend : str
    folder : str
        Of calibration images.
    method, permutation, granularity, size_kind, calibration : str
        Entries of the controls of these names; empty for what a control starts with.
    group_size, bits, sweeps, slices : int
        0 for what a control starts with.
    amount : float
        Of the budget, in MB or bits.
    """

    NAME: ClassVar[str] = "quantize-panel"

    model: str = AUTO
    backend: str = "openvino"
    folder: str = ""
    method: str = ""
    permutation: str = ""
    granularity: str = ""
    group_size: int = 0
    size_kind: str = ""
    bits: int = 0
    amount: float = 0.0
    sweeps: int = 0
    calibration: str = ""
    slices: int = 0


class QuantizeControls(Controls):
    """Every control, without what it does."""

    def __init__(self, viewer: "napari.viewer.Viewer", parent: QWidget) -> None:
        super().__init__(parent, "What happens, and how large and exact the result is.")
        self.models = ModelForm(self)
        self.models.setToolTip("Float model to quantize, and what the result runs on.")
        # Nothing is to be loaded here but what is quantized.
        self.models.load.hide()
        self.models.precision.hide()
        self._make_settings()
        self._make_calibration()
        self.plot = ErrorPlot(viewer)
        self.variants = QListWidget(self)
        self.variants.setToolTip(
            "Models to be compared; the panel Compare shows their figures."
        )
        self.variants.setMinimumHeight(72)
        # It takes what is left, and asks for no more than that.
        policy = QSizePolicy.Policy
        self.variants.setSizePolicy(policy.Expanding, policy.Ignored)
        self._make_buttons()
        self._arrange()
        self.method.currentIndexChanged.connect(self._method_chosen)
        self.permutation.currentIndexChanged.connect(self._permutation_chosen)
        self.granularity.currentIndexChanged.connect(self._show_what_applies)
        self.size_kind.currentIndexChanged.connect(self._show_what_applies)
        self._method_chosen()

    @property
    def is_nncf(self) -> bool:
        """Whether NNCF is to do it, with settings of its own."""
        return self.method.currentData() == NNCF

    def settings(self) -> QuantizationSettings:
        """Return what is chosen.

        Raises
        ------
        UnsupportedQuantization
            If the choices do not go together.
        """
        granularity = self.granularity.currentData()
        if granularity == PER_GROUP:
            granularity = f"{PER_GROUP}:{self.group_size.value()}"
        return QuantizationSettings.of(
            method=self.method.currentData(),
            bit_width=self.bits.value(),
            granularity=granularity,
            permutation=self.permutation.currentData(),
            sweeps=self.sweeps.value(),
        )

    def budget(self) -> Budget | None:
        """Return the size that decides the bits, if one does."""
        chosen, value = self.size_kind.currentText(), self.amount.value()
        if chosen == MEGABYTES:
            return Budget(megabytes=value)
        return Budget(average_bits=value) if chosen == AVERAGE else None

    # Making ---------------------------------------------------------------

    def _make_settings(self) -> None:
        # The default, which can do most, comes first.
        methods = {m.value: METHODS[m].title for m in reversed(METHODS)}
        if nncf_subprocess.is_installed():
            methods[NNCF] = "NNCF int8"
        self.method = choice_field(self, QuantizationSettings, "method", methods)
        self.size_kind = combo_box(
            self,
            "Give every layer the same bits, or let measured sensitivity share out a "
            "size over the layers.",
        )
        self.size_kind.addItems([BITS, MEGABYTES, AVERAGE])
        self.bits = number_field(self, QuantizationSettings, "bit_width")
        self.amount = QDoubleSpinBox(self)
        self.amount.setRange(0.1, 1000.0)
        self.amount.setSingleStep(0.1)
        self.amount.setValue(3.0)
        self.amount.setToolTip(
            "Size of all the model's tensors in MB, or effective bits per weight."
        )
        self.granularity = choice_field(
            self, QuantizationSettings, "granularity", GRANULARITIES
        )
        self.group_size = spin_box(
            self,
            (2, 1024),
            DEFAULT_GROUP.group_size or 2,
            "Weights of a group that share a scale.",
        )
        self.permutation = choice_field(self, QuantizationSettings, "permutation", {})
        self.sweeps = number_field(self, QuantizationSettings, "sweeps")

    def _make_calibration(self) -> None:
        self.calibration = combo_box(
            self,
            "Slices whose layer inputs decide which errors matter: generated ones, "
            "those of the open image layers, or those of a folder.",
        )
        self.calibration.addItems([PHANTOMS, OPEN_IMAGES, FOLDER])
        self.slices = spin_box(
            self, (1, 512), CalibrationPlan.slices, "Calibration slices."
        )

    def _make_buttons(self) -> None:
        self.quantize = button(
            self, "Quantize", "Quantize the model; the result joins the variants."
        )
        self.cancel = button(self, "Cancel", "Stop now; nothing is kept.")
        self.load = button(
            self, "Load model…", "Add a weights file or exported graphs as a variant."
        )
        self.load_qat = button(
            self,
            "Load QAT…",
            "Add a checkpoint of quantization-aware training as a variant.",
        )
        self.save = button(
            self,
            "Save…",
            "Write the chosen variant as *.qmedsam.safetensors, or NNCF's as a folder.",
        )
        self.remove = button(
            self, "Remove", "Take the chosen variant off the list; files stay."
        )

    def _arrange(self) -> None:
        named = partial(field_title, QuantizationSettings)
        self.fields = QWidget(self)
        fields = form(
            ("Model", self.models),
            (named("method"), self.method),
            ("Size", row((self.size_kind, 2), self.bits, self.amount)),
            (named("granularity"), row((self.granularity, 2), self.group_size)),
            (named("permutation"), self.permutation),
            (named("sweeps"), self.sweeps),
            ("Calibrate on", row((self.calibration, 2), self.slices)),
        )
        fields.setContentsMargins(0, 0, 0, 0)
        self.fields.setLayout(fields)
        column(
            self,
            self.fields,
            work_grid(self.quantize, self.cancel, self.progress),
            self.status,
            (self.plot, 1),
            QLabel("Variants", self),
            (self.variants, 1),
            row(self.load, self.load_qat),
            row(self.save, self.remove),
        )

    # What goes together ---------------------------------------------------

    def _method_chosen(self) -> None:
        """Offer what a method can permute, and its own units."""
        self.permutation.blockSignals(True)
        self.permutation.clear()
        for permutation in self._permutations():
            self.permutation.addItem(PERMUTATIONS[permutation], permutation.value)
        self.permutation.blockSignals(False)
        self._permutation_chosen()

    def _traits(self) -> MethodTraits | None:
        """Return what is known of the chosen method; None of NNCF's."""
        return METHODS.get(self.method.currentData())

    def _permutations(self) -> tuple[Permutation, ...]:
        """Return what the method sorts; nothing where it can do without."""
        traits = self._traits()
        can = (Permutation.NONE,) if traits is None else traits.permutations
        return (Permutation.NONE,) if Permutation.NONE in can else can

    def _permutation_chosen(self) -> None:
        """Go to the granularity that is best for the permutation."""
        if self.is_nncf:
            self._show_what_applies()
            return
        defaults = QuantizationSettings.of(
            method=self.method.currentData(), permutation=self.permutation.currentData()
        )
        granularity, _ = defaults.units
        kind = self.granularity.findData(granularity.kind.value)
        self.granularity.setCurrentIndex(kind)
        if granularity.group_size:
            self.group_size.setValue(granularity.group_size)
        self._show_what_applies()

    def _show_what_applies(self) -> None:
        traits = self._traits()
        by_bits = self.size_kind.currentText() == BITS
        self.bits.setVisible(by_bits)
        self.amount.setVisible(not by_bits)
        is_ours = traits is not None
        grouped = self.granularity.currentData() == PER_GROUP
        for field in (self.size_kind, self.bits, self.amount, self.granularity):
            field.setEnabled(is_ours)
        self.group_size.setEnabled(is_ours and grouped)
        self.permutation.setEnabled(self.permutation.count() > 1)
        self.sweeps.setEnabled(traits is not None and traits.has_sweeps)
        # A budget has layers measured on inputs that the method does not look at.
        calibrates = traits is None or traits.needs_inputs or not by_bits
        self.calibration.setEnabled(calibrates)
        self.slices.setEnabled(calibrates)
