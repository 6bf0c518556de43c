"""Fixtures for every test: folders of our own, parity data, models real and made up."""

import hashlib
import importlib.util
import json
import signal
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tiny_model import TINY

from napari_qmedsam.checkpoints import catalogue, default_model
from napari_qmedsam.checkpoints.catalogue import CATALOGUE
from napari_qmedsam.checkpoints.download import data_folder
from napari_qmedsam.models.configuration import (
    CONFIGS,
    ModelConfig,
    PreprocessingKind,
    TinyViTConfig,
)
from napari_qmedsam.runtime.protocol import RuntimeInfo
from napari_qmedsam.volumes.volume import Volume

USERS_DATA = data_folder()
"""The user's own, as it was before the tests were sent to another one."""

DATA = Path(__file__).parent / "data"
"""Small reference values; its README says where they come from."""

PARITY = Path(__file__).parents[2] / "shared" / "parity"
"""Larger ones, which lie beside the repository or nowhere."""


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_heard() -> Iterator[None]:
    """Hear Ctrl-C where the tests were started in the background, which mutes it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep caches and downloads of the tests away from the user's own."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QMEDSAM_CACHE", str(folder / "cache"))
        patch.setenv("QMEDSAM_HOME", str(folder / "home"))
        # Tests tell encodings by their number and masks by their last pixel.
        patch.setenv("QMEDSAM_EMBEDDINGS_GB", "0")
        yield folder


REAL_DEFAULT = default_model.DEFAULT


@pytest.fixture(scope="session", autouse=True)
def quick_default() -> Iterator[None]:
    """Let the default be the small model: tests run it hundreds of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default_model, "DEFAULT", catalogue.DEMO)
        yield


@pytest.fixture
def real_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back the default that users have."""
    monkeypatch.setattr(default_model, "DEFAULT", REAL_DEFAULT)


class Parity:
    """The reference values computed with the official implementation.

    What asks for those that do not travel with the repository skips without them.
    """

    @property
    def folder(self) -> Path:
        """Where the larger reference values are."""
        if not PARITY.is_dir():
            pytest.skip(f"reference values of the official models are not in {PARITY}")
        return PARITY

    @cached_property
    def recipe(self) -> ModuleType:
        """The module that makes synthetic weights and test images."""
        spec = importlib.util.spec_from_file_location("fill", DATA / "synthetic.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "lite_medsam_reference.npz") as file:
            return {name: file[name] for name in file.files}

    def tensors(self, model: str) -> list[dict[str, Any]]:
        """Return the published names, shapes and types, in order."""
        path = DATA / f"{model}_keys.json"
        return json.loads(path.read_text(encoding="utf-8"))["tensors"]

    def image(self, prefix: str) -> np.ndarray:
        """Return the test image of a case, (H, W) or (H, W, 3)."""
        name = next(
            n for n in self.arrays if n.startswith(prefix) and n.endswith("shape_seed")
        )
        return self.picture(*(int(v) for v in self.arrays[name]))

    def picture(self, height: int, width: int, channels: int, seed: int) -> np.ndarray:
        shape = (height, width) if channels == 1 else (height, width, channels)
        return self.recipe.image(shape, seed)

    def masks(self, prefix: str) -> np.ndarray:
        """Return the reference masks of a case, (n, H, W)."""
        height, width = self.arrays[f"{prefix}_original_size"]
        packed = self.arrays[f"{prefix}_masks_packed"]
        bits = np.unpackbits(packed, axis=1, count=height * width)
        return bits.reshape(-1, height, width).astype(bool)

    def fill(self, model: Any) -> Any:
        """Give a model the synthetic weights."""
        import torch

        state = model.state_dict()
        for name, value in state.items():
            if value.is_floating_point():
                filled = self.recipe.fill(name, tuple(value.shape))
                state[name] = torch.from_numpy(filled)
        model.load_state_dict(state)
        return model


@pytest.fixture(scope="session")
def parity() -> Parity:
    return Parity()


@pytest.fixture(scope="session")
def lite_medsam(parity: Parity) -> Any:
    """Return LiteMedSAM with the synthetic weights."""
    from napari_qmedsam.models import build_model

    return parity.fill(build_model("lite_medsam"))


@pytest.fixture(scope="session")
def lite_medsam_file(lite_medsam: Any, tmp_path_factory: Any) -> Path:
    """Return the synthetic LiteMedSAM as a weights file."""
    from napari_qmedsam.checkpoints.saving import save_model

    folder = tmp_path_factory.mktemp("weights")
    return save_model(lite_medsam, folder / "lite_medsam.safetensors")


@pytest.fixture(scope="session")
def official_lite_medsam() -> Path:
    """Return the published weights, which a user may have fetched."""
    entry = CATALOGUE["lite_medsam"]
    path = USERS_DATA / "weights" / entry.filename
    if not path.exists():
        pytest.skip(f"needs {path}: qmedsam fetch lite_medsam")
    return path


@pytest.fixture(scope="session")
def lite_medsam_embeddings(parity: Parity, lite_medsam: Any) -> Callable[[str], Any]:
    """Return our image embedding of a case, computed once for all tests."""
    import torch

    known: dict[str, torch.Tensor] = {}

    def embedding(prefix: str) -> torch.Tensor:
        if prefix not in known:
            stored = torch.from_numpy(parity.arrays[f"{prefix}_input"])
            with torch.inference_mode():
                known[prefix] = lite_medsam.image_encoder(stored.expand(1, 3, -1, -1))
        return known[prefix]

    return embedding


SIDE = 32


class CountingBackend:
    """Its embedding is the image; its mask the bright half inside the box.

    Slices of 32 by 32 pixels go through preprocessing unchanged in size, so
    masks can be told by hand.
    """

    config = ModelConfig(
        name="counting",
        input_size=SIDE,
        preprocessing=PreprocessingKind.PAD,
        encoder=TinyViTConfig(embedding_size=SIDE // 4),
    )

    def __init__(self, weights: str = "0" * 64, name: str = "fake") -> None:
        self.info = RuntimeInfo("counting", name, "fp32", "CPU", weights, 1)
        self.encoded: list[str] = []
        self.decoded: list[int] = []

    def encode(self, model_input):
        self.encoded.append(hashlib.sha256(model_input.tobytes()).hexdigest())
        return model_input[:1][None].copy()

    def decode(self, image_embedding, boxes):
        self.decoded.append(len(boxes))
        y, x = np.mgrid[:SIDE, :SIDE]
        bright = image_embedding[0, 0] > 0.5
        return np.stack(
            [
                np.where(
                    bright & (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1), 4.0, -4.0
                )
                for x0, y0, x1, y1 in boxes
            ]
        ).astype(np.float32)


@pytest.fixture(scope="session")
def new_backend():
    return CountingBackend


@pytest.fixture
def backend():
    return CountingBackend()


@pytest.fixture(scope="session")
def bright_volume():
    """Make a volume whose voxels of `truth` are bright; no two slices are alike."""

    def make(truth: np.ndarray) -> Volume:
        array = np.where(truth, 200, 20).astype(np.uint8)
        for z, plane in enumerate(array):
            plane[-1, z] = 60  # tells the slice from the others, but is not bright
            plane[-1, -1] = 200  # even an empty slice has something bright
        return Volume(array)

    return make


@pytest.fixture
def tiny_config(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """Make 'tiny' a model that can be built by name."""
    monkeypatch.setitem(CONFIGS, "tiny", TINY)
    return TINY


@pytest.fixture
def float_file(tiny_config: ModelConfig, tmp_path: Path) -> Path:
    """Write a float model of that kind, with random weights."""
    import torch

    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model

    torch.manual_seed(0)
    return save_model(build_model(tiny_config), tmp_path / "float.safetensors")


@pytest.fixture
def nncf_stand_in(
    tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Have graphs of a model that was trained for int8 at once, in place of NNCF's.

    Returns the models they were asked of, one by one.
    """
    import torch

    from napari_qmedsam.cancelling import check_cancelled
    from napari_qmedsam.checkpoints.resolve import resolve_model
    from napari_qmedsam.checkpoints.saving import save_model
    from napari_qmedsam.models import build_model
    from napari_qmedsam.models.fake_quantized.model import (
        collect_statistics,
        fake_quantize,
    )
    from napari_qmedsam.models.fake_quantized.settings import FakeQuantSettings
    from napari_qmedsam.runtime import nncf_subprocess
    from napari_qmedsam.runtime.exporting import ExportFormat, export_model

    model = fake_quantize(build_model(tiny_config), FakeQuantSettings(7))
    image, boxes = torch.rand(1, 3, 64, 64), torch.tensor([[4.0, 6.0, 40.0, 50.0]])
    collect_statistics(model, [(image, boxes)])
    trained = resolve_model(str(save_model(model, tmp_path / "qat.safetensors")))
    asked: list[str] = []

    def quantize(source: Any, plan: Any, folder: Path) -> None:
        asked.append(source.name)
        check_cancelled()
        export_model(trained, ExportFormat.OPENVINO, folder)

    monkeypatch.setattr(nncf_subprocess, "quantize_graphs_in_subprocess", quantize)
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    return asked
