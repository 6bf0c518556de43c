"""Names of files, and how to say that one cannot be read."""

from pathlib import Path

from napari_qmedsam.errors import UnreadableVolume

COPY_AGAIN = "Copy or export it again."
EXPORT_AGAIN = "Re-export it with a valid header."


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case, with ``.nii.gz`` kept whole."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def unreadable(path: Path, reason: str, advice: str) -> UnreadableVolume:
    """Make the error ``Cannot read 'name': reason. advice``."""
    return UnreadableVolume(f"Cannot read '{path.name}': {reason}. {advice}")
