"""Weights from a direct address: resumable, and tried again where it breaks."""

from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.checkpoints.catalogue import CheckpointEntry
from napari_qmedsam.checkpoints.supplier import (
    Broken,
    DownloadProgress,
    Unusable,
    stored_bytes,
    verify,
)
from napari_qmedsam.checkpoints.transfer import Transfer, run_until

ATTEMPTS = 3
"""Tries when a connection breaks; each goes on where it stopped."""


@dataclass(frozen=True)
class WebAddress:
    """Downloads a file, going on from the part that is there."""

    entry: CheckpointEntry
    url: str

    def supply(self, part: Path, progress: DownloadProgress | None = None) -> None:
        """Append what is missing of `part`; what stops half-way is kept."""
        for attempt in range(1, ATTEMPTS + 1):
            resumed = stored_bytes(part) > 0
            try:
                run_until(Transfer(self.entry, self.url, part, progress))
                verify(self.entry, part)
            except Broken:
                if attempt == ATTEMPTS:
                    raise
            except Unusable:
                # What was there before may be of another file: once more, afresh.
                if not resumed or part.exists() or attempt == ATTEMPTS:
                    raise
            else:
                return
