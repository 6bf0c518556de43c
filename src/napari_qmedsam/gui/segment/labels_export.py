"""Saving the labels of a workspace to a file, and beside it what made them."""

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.gui.segment.workspace import Workspace
from napari_qmedsam.gui.shared.work import Work
from napari_qmedsam.gui.shared.worker import Report
from napari_qmedsam.replay import keep_provenance, snapshot
from napari_qmedsam.volumes.files import free_path
from napari_qmedsam.volumes.registry import FORMATS

SAVE_FILTERS = ";;".join(
    f"{kind.title} ({' '.join(f'*{suffix}' for suffix in kind.written)})"
    for kind in FORMATS
    if kind.write_labels is not None
)


def ask_where_to_save(parent: QWidget, workspace: Workspace, folder: str) -> str:
    """Ask for a file beside the image; `folder` is for images that have none.

    The name that is proposed is free: a reference may lie beside the scan.
    """
    source = Path(workspace.session.volume.source.path or workspace.image.name)
    name = source.name.removesuffix(".gz")
    stem = Path(name).stem if source.suffix else name
    is_file = bool(workspace.session.volume.source.path)
    beside = source.parent if is_file or not folder else Path(folder)
    start = str(free_path(beside / f"{stem}_labels.nii.gz"))
    path, _ = QFileDialog.getSaveFileName(parent, "Save labels", start, SAVE_FILTERS)
    return path if not path or Path(path).suffix else f"{path}.nii.gz"


def save_labels(
    workspace: Workspace, path: Path, work: Work, on_success: Callable[[], None]
) -> None:
    """Write a workspace's labels on the grid of its image file.

    Parameters
    ----------
    workspace : Workspace
    path : Path
    work : Work
        Does it.
    on_success : callable
        Called when they are there.
    """
    session, revision = workspace.session, workspace.revision
    remarks: list[str] = []

    def job(report: Report) -> None:
        kept = snapshot(session)
        kept.save_labels(path)
        report(f"Saved {path}. Keeping what made it…")
        try:
            keep_provenance(kept, path)
        except (QMedSAMError, OSError) as error:  # the labels are there all the same
            remarks.append(f" What made it is not kept: {error}")

    def saved() -> None:
        if workspace.revision == revision:  # else something was changed meanwhile
            workspace.mark_saved()
            on_success()
        work.said.emit("".join([f"Saved {path}.", *remarks]))

    work.start(job, f"Saving {path.name}…", saved)
