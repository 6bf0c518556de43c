"""Image embeddings, kept so that the second box on a slice costs only a decode."""

import logging
import tempfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.disk import atomic_write
from napari_qmedsam.segmentation.embedding_archive import EmbeddingArchive

log = logging.getLogger(__name__)

DEFAULT_MEMORY = 1 << 30
"""Bytes of embeddings kept in memory."""


class EmbeddingStore:
    """A least-recently-used store with a memory limit, and disk on request.

    Parameters
    ----------
    memory_limit : int
        Bytes. One embedding is always kept, however large.
    folder : Path, optional
        Where embeddings go that no longer fit; without it they are dropped,
        except those on hold, which go to a temporary folder.
    archive : EmbeddingArchive, optional
        Gets every embedding, for the next session, and is asked last.
    """

    def __init__(
        self,
        memory_limit: int = DEFAULT_MEMORY,
        folder: Path | None = None,
        archive: EmbeddingArchive | None = None,
    ) -> None:
        self.memory_limit, self.folder, self.archive = memory_limit, folder, archive
        self._memory: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._disk: dict[str, Path] = {}
        self._held: Counter[str] = Counter()
        self._temporary: tempfile.TemporaryDirectory | None = None

    @property
    def bytes_in_memory(self) -> int:
        """Bytes held in memory now."""
        return sum(e.nbytes for e in self._memory.values())

    def __contains__(self, key: str) -> bool:
        if key in self._memory or self._path(key) is not None:
            return True
        return self.archive is not None and key in self.archive

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return the embedding, or None where it was never put or was dropped."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        path = self._path(key)
        if path is None:
            found = None if self.archive is None else self.archive.get(key)
            if found is not None:
                self._keep(key, found)
            return found
        try:
            embedding = np.load(path)
        except (OSError, ValueError, EOFError):  # deleted or damaged by others
            log.warning("Cannot read the embedding '%s'; it is made again.", path)
            path.unlink(missing_ok=True)
            self._disk.pop(key, None)
            return None
        self._keep(key, embedding)
        return embedding

    def put(self, key: str, embedding: NDArray[np.float32]) -> None:
        """Keep an embedding, making room for it."""
        if self.archive is not None:
            self.archive.put(key, embedding)
        self._keep(key, embedding)

    def _keep(self, key: str, embedding: NDArray[np.float32]) -> None:
        self._memory[key] = embedding
        self._memory.move_to_end(key)
        while self.bytes_in_memory > self.memory_limit and len(self._memory) > 1:
            old_key, old = self._memory.popitem(last=False)
            self._spill(old_key, old)

    def hold(self, key: str) -> None:
        """Promise that the embedding will be asked for again."""
        self._held[key] += 1

    def release(self, key: str) -> None:
        """Take one promise back."""
        self._held[key] -= 1
        if self._held[key] <= 0:
            del self._held[key]
            if self.folder is None and key in self._disk:
                self._disk.pop(key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything; files in a given folder stay."""
        self._memory.clear()
        self._disk.clear()
        self._held.clear()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _path(self, key: str) -> Path | None:
        if key in self._disk:
            return self._disk[key]
        if self.folder is not None and (path := self.folder / f"{key}.npy").exists():
            self._disk[key] = path
            return path
        return None

    def _spill(self, key: str, embedding: NDArray[np.float32]) -> None:
        if self._path(key) is not None:
            return
        folder = self.folder
        if folder is None:
            if key not in self._held:
                return
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="qmedsam-")
            folder = Path(self._temporary.name)
        path = folder / f"{key}.npy"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                np.save(part, embedding)
        except OSError as error:  # full, or gone: it can be made again
            log.warning("Cannot keep the embedding '%s': %s", path, error)
            return
        self._disk[key] = path
