"""The model that the panel Segment works with: loading it, and what is known of it."""

from collections.abc import Callable
from pathlib import Path

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.catalogue import CATALOGUE, CheckpointEntry
from napari_qmedsam.checkpoints.download import is_fetched, weights_path
from napari_qmedsam.gui.shared.loading import LoadModel, ModelChoice
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.models.configuration import CONFIGS, ModelConfig
from napari_qmedsam.segmentation.embedding_archive import DEFAULT_GB, users_archive
from napari_qmedsam.segmentation.embeddings import EmbeddingStore
from napari_qmedsam.segmentation.segmenter import SliceSegmenter


class ModelLoader:
    """Keeps the model that was loaded last.

    Embeddings are kept for every model, and for the next start, so that going back to
    one costs no encoding.

    Parameters
    ----------
    load : callable
    work : Work
    embeddings_gb : float
        Disk for embeddings, where the user's environment does not say.
    """

    def __init__(
        self, load: LoadModel, work: Work, embeddings_gb: float = DEFAULT_GB
    ) -> None:
        self.load, self._work = load, work
        self._store = EmbeddingStore(archive=users_archive(default=embeddings_gb))
        self._choice: ModelChoice | None = None
        self.segmenter: SliceSegmenter | None = None
        """The model that is loaded."""

    def has_loaded(self, choice: ModelChoice) -> bool:
        """Tell whether this is the model that is loaded."""
        return self.segmenter is not None and self._choice == choice

    def start(
        self, choice: ModelChoice, on_success: Callable[[], None] | None = None
    ) -> None:
        """Load a model, with its download if it takes one."""

        def job(report: Report) -> None:
            backend = self.load(choice, report)
            self.segmenter = SliceSegmenter(backend, self._store)
            self._choice = choice
            check_cancelled()

        self._work.start(
            job,
            f"Loading {Path(choice.model).name}…",
            on_success or (lambda: self._work.said.emit("Loaded.")),
        )

    def config(self, choice: ModelChoice) -> ModelConfig | None:
        """Return the configuration of a model, as far as it is known."""
        if self.segmenter is not None and self._choice == choice:
            return self.segmenter.backend.config
        entry = CATALOGUE.get(choice.model)
        return CONFIGS[entry.architecture] if entry is not None else None

    def describe(self, choice: ModelChoice) -> str:
        """Say what really runs, or that the chosen model is still to be loaded."""
        if self.segmenter is not None and self._choice == choice:
            return description(self.segmenter)
        entry, state = CATALOGUE.get(choice.loaded_name), "not loaded yet"
        if entry is not None and is_fetched(entry):
            state += f" · {weights_path(entry).stat().st_size / 1e6:.1f} MB on disk"
        elif entry is not None:
            state = f"to be downloaded{size_of(entry)}"
        return f"{choice.loaded_name} on {choice.backend}: {state}"


def size_of(entry: CheckpointEntry) -> str:
    """Return the size of a download in brackets, nothing where it is not known."""
    size = entry.size_bytes
    return f" ({size / 1e6:.0f} MB)" if size is not None else ""


def description(segmenter: SliceSegmenter) -> str:
    """Say what runs: model, runtime, precision, device, speed and sizes."""
    info = segmenter.backend.info
    parts = [info.model, f"{info.backend} {info.precision} on {info.device.upper()}"]
    encoding, decoding = segmenter.milliseconds
    if encoding is not None:
        parts.append(f"{encoding + (decoding or 0):.0f} ms per slice")
    parts.append(f"{info.weights_bytes / 1e6:.1f} MB on disk")
    if info.memory_bytes:
        parts.append(f"{info.memory_bytes / 1e6:.1f} MB in memory")
    return " · ".join(parts)
