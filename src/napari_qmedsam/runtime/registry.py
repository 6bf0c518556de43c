"""The runtimes there are, and the one that is chosen for a model.

A new runtime is a module with a class like those named here, which is made of a
`ModelSource` and a `Runtime` and says what devices are here and which floats they have,
and an entry here. A new device of a runtime is a member of `Device`, its name in the
entry, and what the class does with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from napari_qmedsam.checkpoints.arithmetic import Precision
from napari_qmedsam.errors import UnsupportedBackend

if TYPE_CHECKING:
    from napari_qmedsam.checkpoints.source import ModelSource
    from napari_qmedsam.runtime.protocol import Backend


class Device(StrEnum):
    """What a runtime computes on."""

    AUTO = "auto"
    """In torch a GPU that is there, elsewhere the CPU."""

    CPU = "cpu"
    CUDA = "cuda"

    MPS = "mps"
    """Apple's GPUs."""

    GPU = "gpu"
    """GPUs that OpenVINO knows; the decoder stays on the CPU."""

    NPU = "npu"
    """Neural processors that OpenVINO knows, in half precision; the decoder stays on
    the CPU."""


class BackendName(StrEnum):
    """The runtimes there are, the default first."""

    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"

    @property
    def entry(self) -> "BackendEntry":
        """What is known of it without importing it."""
        return BACKENDS[self]


@dataclass(frozen=True)
class BackendEntry:
    """What is known of a runtime without importing it.

    Parameters
    ----------
    title : str
        What the window calls it.
    home : str
        Module of this package, and class.
    devices : tuple of Device
        What it can be asked to compute on, besides AUTO.
    precisions : tuple of Precision
        What it can be asked to compute with, besides AUTO.
    runs_openvino_graphs : bool
        Whether models are converted to OpenVINO for it, and NNCF's graphs run.
    """

    title: str
    home: str
    devices: tuple[Device, ...] = (Device.CPU,)
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.INT8)
    runs_openvino_graphs: bool = False

    def make(self, source: "ModelSource", runtime: "Runtime") -> "Backend":
        """Import the runtime and load a model on it."""
        return self._class()(source, runtime)

    def floats(self, device: Device) -> tuple[Precision, ...]:
        """Import the runtime; return the floats that a device here multiplies."""
        return self._class().floats(device)

    def devices_here(self) -> tuple[Device, ...]:
        """Import the runtime; return the devices of this machine that it computes on.

        Nothing is said of whether they are right
        (:mod:`~napari_qmedsam.runtime.device_check`).
        """
        return self._class().devices_here()

    def _class(self) -> Any:
        module, name = self.home.split(".")
        return getattr(import_module(f"napari_qmedsam.runtime.{module}"), name)


BACKENDS = {
    BackendName.OPENVINO: BackendEntry(
        "OpenVINO",
        "openvino_backend.OpenVINOBackend",
        (Device.CPU, Device.GPU, Device.NPU),
        precisions=tuple(p for p in Precision if p is not Precision.AUTO),
        runs_openvino_graphs=True,
    ),
    BackendName.ONNXRUNTIME: BackendEntry("ONNX", "onnx_backend.ONNXRuntimeBackend"),
    BackendName.TORCH: BackendEntry(
        "torch",
        "torch_backend.TorchBackend",
        (Device.CPU, Device.CUDA, Device.MPS),
        (Precision.FP32, Precision.BF16, Precision.F16, Precision.INT8),
    ),
}
"""Every runtime by its name."""


@dataclass(frozen=True)
class Runtime:
    """What a model is to run on, and how.

    Parameters
    ----------
    backend : BackendName
    device : Device
    precision : Precision
        INT8 takes a model's int8 form. FP32 takes the model as its file is, so that
        one that is int8 already runs in int8. AUTO is settled before a model is
        loaded.
    threads : int
        CPU threads; 0 leaves it to the runtime.

    Raises
    ------
    UnsupportedBackend
        If the backend does not compute on the device or with the precision, or
        threads are below 0.
    """

    backend: BackendName = BackendName.OPENVINO
    device: Device = Device.AUTO
    precision: Precision = Precision.FP32
    threads: int = 0

    def __post_init__(self) -> None:
        known = (Device.AUTO, *self.backend.entry.devices)
        if self.device not in known:
            raise UnsupportedBackend(
                f"The backend '{self.backend}' does not run on '{self.device}'. It "
                f"takes the devices {', '.join(known)}."
            )
        numbers = (*self.backend.entry.precisions, Precision.AUTO)
        if self.precision not in numbers:
            raise UnsupportedBackend(
                f"The backend '{self.backend}' does not compute in '{self.precision}'. "
                f"It takes the precisions {', '.join(numbers)}."
            )
        if self.threads < 0:
            raise UnsupportedBackend(f"threads must be 0 or more, not {self.threads}.")

    def check_device(self, here: Sequence[Device]) -> None:
        """Refuse a device that this machine has not.

        Raises
        ------
        UnsupportedBackend
        """
        if self.device is not Device.AUTO and self.device not in here:
            raise UnsupportedBackend(
                f"{self.backend} finds no device '{self.device}' here, only "
                f"{', '.join(here)}. Use one of these, or auto."
            )

    def check_float(self, floats: Sequence[Precision]) -> None:
        """Refuse floats that the device has no instructions for.

        Backends would take others instead without a word.

        Raises
        ------
        UnsupportedBackend
        """
        asked = self.precision
        if asked in (Precision.BF16, Precision.F16) and asked not in floats:
            raise UnsupportedBackend(
                f"{self.backend} has no instructions for {asked} on this machine's "
                f"device '{self.device}', only for {', '.join(floats)}. Choose one of "
                "those, or auto."
            )

    @classmethod
    def parse(
        cls,
        backend: str = BackendName.OPENVINO,
        precision: str = Precision.FP32,
        device: str = Device.AUTO,
        threads: int = 0,
    ) -> "Runtime":
        """Read what a user wrote.

        Raises
        ------
        UnsupportedBackend
            If a name is unknown, or they do not go together.
        """
        return cls(
            _member(BackendName, "backend", backend),
            _member(Device, "device", device),
            _member(Precision, "precision", precision),
            threads,
        )


Name = TypeVar("Name", bound=StrEnum)


def _member(kind: type[Name], what: str, text: str) -> Name:
    try:
        return kind(text)
    except ValueError:
        raise UnsupportedBackend(
            f"No {what} is called '{text}'. Known: {', '.join(kind)}."
        ) from None
