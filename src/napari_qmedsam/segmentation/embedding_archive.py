"""Image embeddings on disk, found again by the next session.

A file's name stands for the windowed slice, the model and what it runs on
(`SliceSegmenter.key`), so that another window, model, precision or scan finds nothing.
Values are kept in half precision, which moves a mask's edge by a pixel at most here
and there: results that must not depend on what was done before go without.
"""

import logging
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from napari_qmedsam.disk import atomic_write
from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.runtime.cache import cache_folder

log = logging.getLogger(__name__)

BUDGET = "QMEDSAM_EMBEDDINGS_GB"
"""Variable with the budget; 0 keeps nothing."""

DEFAULT_GB = 4.0

NAME, SUFFIX = "embedding", ".safetensors"


class EmbeddingArchive:
    """A folder of embeddings under a budget; those used longest ago go first.

    Parameters
    ----------
    folder : Path
        Made when the first one is kept.
    budget : int
        Bytes.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.budget = folder, budget
        self._sizes: OrderedDict[str, int] = OrderedDict()
        found = []
        for path in folder.glob(f"*{SUFFIX}"):
            try:
                state = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            found.append((state.st_mtime_ns, path.stem, state.st_size))
        for _, key, size in sorted(found):
            self._sizes[key] = size
        self._make_room()

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of all files."""
        return sum(self._sizes.values())

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return an embedding, or None where it is not kept or cannot be read."""
        path = self._path(key)
        try:
            found = load_file(path)[NAME]
            os.utime(path)
        except FileNotFoundError:
            self._sizes.pop(key, None)
            return None
        except (OSError, SafetensorError, KeyError):
            log.warning("Cannot read the embedding '%s'; it is made again.", path)
            self._drop(key)
            return None
        if key in self._sizes:
            self._sizes.move_to_end(key)
        return found.astype(np.float32)

    def put(self, key: str, embedding: NDArray[np.float32]) -> None:
        """Keep an embedding, dropping others for it; a full disk keeps none."""
        path = self._path(key)
        if path.exists():
            return
        with np.errstate(over="ignore"):
            half = embedding.astype(np.float16)
        kept = half if np.isfinite(half).all() else embedding
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                save_file({NAME: np.ascontiguousarray(kept)}, part)
            self._sizes[key] = path.stat().st_size
        except OSError as error:
            log.warning("Cannot keep the embedding '%s': %s", path, error)
            return
        self._make_room()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _make_room(self) -> None:
        while self._sizes and self.bytes_on_disk > self.budget:
            self._drop(next(iter(self._sizes)))

    def _drop(self, key: str) -> None:
        self._sizes.pop(key, None)
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:  # open in another process
            log.info("Cannot drop '%s': %s", self._path(key), error)


def users_archive(
    gigabytes: float | None = None, default: float = DEFAULT_GB
) -> EmbeddingArchive | None:
    """Return the archive in the cache folder; None where the budget is 0.

    Parameters
    ----------
    gigabytes : float, optional
        The budget. Default: `QMEDSAM_EMBEDDINGS_GB`, where that is set.
    default : float
        The budget where it is not.

    Raises
    ------
    InvalidSettings
        If `QMEDSAM_EMBEDDINGS_GB` is no number.
    """
    text = os.environ.get(BUDGET, str(default)) if gigabytes is None else str(gigabytes)
    try:
        budget = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise InvalidSettings(
            f"{BUDGET} is '{text}', but must be a number of gigabytes, like 4."
        ) from None
    if budget <= 0:
        return None
    return EmbeddingArchive(cache_folder() / "embeddings", budget)
