"""The volume: voxels with their place in the patient."""

from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidVolume
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.windows import CT_PRESETS, Window, percentile_window


class Modality(str, Enum):
    """Imaging modality; it decides the default window."""

    CT = "CT"
    MR = "MR"
    PET = "PET"
    US = "US"
    XRAY = "X-Ray"
    COLOUR = "Colour"
    OTHER = "Other"


@dataclass(frozen=True)
class Source:
    """Where a volume came from, as far as a writer needs it.

    Parameters
    ----------
    path : str
        File or folder it was read from; empty for made data.
    format : str
        ``nifti``, ``dicom``, ``nrrd``, ``mha``, ``npz``, ``picture`` or
        ``memory``.
    header : bytes or None
        The NIfTI header as stored, so that codes and units survive.
    dimensions : int
        2 if the file holds one 2D image, so that labels go back as 2D.
    series : str
        UID of the DICOM series, which a folder may hold several of.
    names_modality : bool
        Whether this one file says what made the image, of a format that need not.
    """

    path: str = ""
    format: str = "memory"
    header: bytes | None = field(default=None, repr=False)
    dimensions: int = 3
    series: str = ""
    names_modality: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels in storage order with spacing, affine and modality.

    The array keeps the order of the file: ``array[z, y, x]`` is voxel
    ``(x, y, z)`` of nibabel and SimpleITK alike. Nothing is flipped or
    resampled; viewers flip the display through the affine.

    Parameters
    ----------
    array : ndarray, (Z, Y, X), or (Z, Y, X, 3) uint8 for colour
    spacing_mm : tuple of float
        Voxel size in mm, order (z, y, x).
    affine : ndarray, (4, 4) float64
        Takes the column (x, y, z, 1) of voxel indices to RAS mm, as nibabel
        does. Default: spacing on the diagonal in LPS direction.
    modality : Modality
    source : Source
    notices : tuple of str
        What the reader had to repair or assume, one sentence each.
    pixel_aspect : float
        Height over width of a slice's pixels as models are to see them. 1, as
        read from any file, shows them as they are stored; see
        :mod:`~napari_qmedsam.volumes.reslicing`.
    segments : tuple of Segment
        Of a label volume, what its numbers mean where that is known.
    has_spacing : bool
        False where the spacing is made up, as that of a photograph: sizes are then
        pixels, and neither millimetres nor millilitres.

    Raises
    ------
    InvalidVolume
        If the shapes do not fit, a spacing is not above zero, or voxels are no
        real numbers.
    """

    array: NDArray
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    # Never None once made; the default follows the spacing.
    affine: NDArray[np.float64] = None  # type: ignore[assignment]
    modality: Modality = Modality.OTHER
    source: Source = field(default_factory=Source)
    notices: tuple[str, ...] = ()
    pixel_aspect: float = 1.0
    segments: tuple[Segment, ...] = ()
    has_spacing: bool = True

    def __post_init__(self) -> None:
        shape = self.array.shape
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
            raise InvalidVolume(
                f"A volume is (Z, Y, X) or (Z, Y, X, 3), but the array is {shape}."
            )
        if 0 in shape:
            raise InvalidVolume(f"The array {shape} has an axis without voxels.")
        if self.array.dtype.kind not in "biuf":
            raise InvalidVolume(
                f"A volume holds real numbers, but the array is {self.array.dtype}."
            )
        if len(shape) == 4 and self.array.dtype != np.uint8:
            raise InvalidVolume(
                f"A colour volume holds uint8, but the array is {self.array.dtype}."
            )
        spacing = tuple(float(s) for s in self.spacing_mm)
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise InvalidVolume(
                f"Spacing must be three numbers above 0 mm, but it is {spacing}."
            )
        object.__setattr__(self, "spacing_mm", spacing)
        affine = self.affine
        if affine is None:
            affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
        affine = np.array(affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InvalidVolume("The affine must be a finite 4 by 4 matrix.")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X), without the colour axis."""
        z, y, x = self.array.shape[:3]
        return z, y, x

    @property
    def is_colour(self) -> bool:
        """True for (Z, Y, X, 3)."""
        return self.array.ndim == 4

    def window_or_default(self, window: Window | None) -> Window:
        """Return `window`, or the default where nobody chose one."""
        return self.default_window() if window is None else window

    def default_window(self) -> Window:
        """Return soft tissue for CT, 0..255 for colour, percentiles for the rest."""
        if self.modality is Modality.CT:
            return CT_PRESETS["soft-tissue"]
        if self.is_colour:
            return Window(0.0, 255.0)
        return percentile_window(self.array)

    def with_labels(
        self, labels: NDArray, segments: tuple[Segment, ...] = ()
    ) -> "Volume":
        """Return labels on the grid of this image."""
        return replace(
            self.with_array(labels),
            modality=Modality.OTHER,
            source=Source(format=self.source.format),
            notices=(),
            segments=segments,
        )

    def with_array(self, array: NDArray) -> "Volume":
        """Return a volume on the same grid with other voxels (labels, say)."""
        if array.shape[:3] != self.shape:
            raise InvalidVolume(
                f"An array of shape {array.shape} does not fit the grid {self.shape}."
            )
        return replace(self, array=array)
