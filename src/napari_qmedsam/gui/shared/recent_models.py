"""Model files that were used before, offered in every panel that takes a model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from napari_qmedsam.gui.shared.panel_choices import recall, remember

MOST = 8
"""How many files are remembered."""


@dataclass
class RecentModels:
    """Paths of files and folders, the one used last first."""

    NAME: ClassVar[str] = "recent-models"

    paths: list[str] = field(default_factory=list)


def recent_models() -> list[str]:
    """Return those that are still there."""
    return [path for path in recall(RecentModels).paths if Path(path).exists()]


def use_model(path: str) -> None:
    """Remember a file or folder as the one used last."""
    others = [other for other in recent_models() if other != path]
    remember(RecentModels([path, *others][:MOST]))
