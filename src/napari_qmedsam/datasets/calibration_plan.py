"""Where calibration slices come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.datasets.calibration import (
    CalibrationSet,
    from_phantoms,
    from_volumes,
)
from napari_qmedsam.errors import InvalidSettings, UnreadableVolume
from napari_qmedsam.models.configuration import ModelConfig
from napari_qmedsam.volumes.reading import read_volume
from napari_qmedsam.volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class CalibrationPlan:
    """Where the calibration slices come from; phantoms if nothing is named.

    Parameters
    ----------
    volumes : sequence of Volume
        Volumes that are open already.
    path : Path or None
        An image file, a DICOM folder, or a folder of images.
    slices : int
    seed : int
    """

    volumes: Sequence[Volume] = ()
    path: Path | None = None
    slices: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.volumes and self.path is not None:
            raise InvalidSettings("Calibrate on open volumes or on a folder, not both.")
        if self.slices < 1:
            raise InvalidSettings(
                f"Calibration needs 1 slice or more, not {self.slices}."
            )

    def samples(self, config: ModelConfig) -> CalibrationSet:
        """Read or make the slices, for models of one configuration.

        Raises
        ------
        Cancelled
            If the work is not wanted any more.
        UnreadableVolume
            If a path holds no readable volume.
        CalibrationMismatch
            If no slice has anything on it.
        """
        if self.path is None and not self.volumes:
            return from_phantoms(config, self.slices, self.seed)
        volumes = list(self.volumes)
        if self.path is not None:
            volumes = read_volumes(self.path)
        return from_volumes(config, volumes, self.slices, self.seed)


def read_volumes(where: Path) -> list[Volume]:
    """Read a file, a DICOM folder, or every readable volume of a folder.

    Raises
    ------
    Cancelled
        If the work is not wanted any more.
    UnreadableVolume
        If there is none.
    """
    if not where.is_dir():
        return [read_volume(where)]
    volumes, problems = [], []
    for path in sorted(where.iterdir()):
        check_cancelled("Stopped while calibration images were read.")
        try:
            volumes.append(read_volume(path))
        except UnreadableVolume as error:
            problems.append(str(error))
    if volumes:
        return volumes
    if not any(where.iterdir()):
        raise UnreadableVolume(f"The calibration folder '{where}' is empty.")
    try:
        return [read_volume(where)]  # a DICOM series
    except UnreadableVolume as error:
        detail = problems[0] if problems else str(error)
        raise UnreadableVolume(
            f"The calibration folder '{where}' holds no readable volume. {detail}"
        ) from error
