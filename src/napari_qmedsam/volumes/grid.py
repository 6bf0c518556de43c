"""Grids: affines of nibabel and SimpleITK, comparison, and display."""

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.volume import Volume

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns RAS mm into LPS mm and back; nibabel uses RAS, ITK and DICOM use LPS."""

USUAL_MM = (0.005, 200.0)
"""Lengths of voxels beyond which a unit was most likely mistaken."""

MM_PER_UNIT = {
    "nm": 1e-6,
    "micron": 1e-3,
    "microns": 1e-3,
    "um": 1e-3,
    "\u00b5m": 1e-3,
    "\u03bcm": 1e-3,
    "\\u00b5m": 1e-3,
    "mm": 1.0,
    "millimeter": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "m": 1000.0,
    "inch": 25.4,
    "in": 25.4,
}
"""Units of length by their names, with both letters that stand for micro."""

NO_SPACING = "The file carries no voxel size; 1 mm is assumed."
"""What readers say where nothing tells how large a voxel is."""

SUPERIOR = 2
"""The anatomical axis from foot to head, as :func:`anatomical_axes` counts."""


def spacing_from_affine(
    affine: NDArray[np.float64],
) -> tuple[float, float, float]:
    """Return the column lengths of an affine as spacing in mm, order (z, y, x)."""
    x, y, z = (float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return z, y, x


def voxel_volume_ml(volume: Volume) -> float:
    """Return the volume of one voxel, oblique or not: 1 ml is 1000 mm³."""
    return abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000


def affine_from_geometry(
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    direction: tuple[float, ...],
) -> NDArray[np.float64]:
    """Return the RAS affine of an ITK geometry.

    Parameters
    ----------
    spacing, origin, direction : tuple of float
        As SimpleITK gives them: order (x, y, z), LPS, direction row by row.
        A 2D geometry gets a third axis of 1 mm towards Superior.

    Returns
    -------
    ndarray, (4, 4) float64
    """
    n = len(spacing)
    affine = np.eye(4)
    affine[:n, :n] = np.reshape(direction, (n, n)) * np.asarray(spacing)
    affine[:n, 3] = origin
    return LPS_FROM_RAS @ affine


def geometry_from_affine(
    affine: NDArray[np.float64],
) -> tuple[list[float], list[float], list[float]]:
    """Return spacing, origin and direction for ITK; the inverse of the above."""
    lps = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    # Adding zero turns -0.0 into 0.0, which text headers would print.
    return (
        spacing.tolist(),
        (lps[:3, 3] + 0.0).tolist(),
        (direction + 0.0).ravel().tolist(),
    )


def bad_spacing(affine: NDArray[np.float64]) -> str | None:
    """Say what keeps an affine from being a grid, or None if nothing does."""
    if not np.isfinite(affine).all():
        return "its affine holds values that are not numbers"
    for axis, step in zip("zyx", spacing_from_affine(affine), strict=True):
        if step <= 0:
            return f"spacing along {axis} is 0 mm"
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(unit)) < 1e-4:
        return "its affine is singular: two axes point the same way"
    return None


def unit_notice(factor: float) -> tuple[str, ...]:
    """Return a notice of lengths in another unit than mm; none of mm."""
    if factor == 1.0:
        return ()
    return (f"Lengths stored in units of {factor:g} mm were converted.",)


def odd_spacing(volume: Volume) -> str | None:
    """Return a notice of voxels that no scanner makes, None of usual ones."""
    low, high = USUAL_MM
    if all(low <= step <= high for step in volume.spacing_mm):
        return None
    size = " x ".join(f"{step:.3g}" for step in volume.spacing_mm)
    return (
        f"Its voxels measure {size} mm (z, y, x); see that the file gives lengths in "
        "the unit that it names."
    )


def corner_indices(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the eight corner voxels as columns (x, y, z, 1), shape (4, 8)."""
    z, y, x = shape
    ends = product((0, x - 1), (0, y - 1), (0, z - 1))
    return np.array([(*end, 1) for end in ends], dtype=np.float64).T


def same_grid(a: Volume, b: Volume, tolerance_mm: float = 0.01) -> bool:
    """Tell whether two volumes share their voxels.

    True if the shapes are equal and every corner voxel of one lies within
    `tolerance_mm` of the same voxel of the other. The corners bound the error
    everywhere, since both maps are affine.
    """
    if a.shape != b.shape:
        return False
    corners = corner_indices(a.shape)
    distances = ((a.affine - b.affine) @ corners)[:3]
    return bool(np.linalg.norm(distances, axis=0).max() <= tolerance_mm)


def anatomical_axes(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Match each array axis (z, y, x) to its nearest anatomical axis.

    Returns
    -------
    tuple of int
        0 for left-right, 1 for anterior-posterior, 2 for inferior-superior;
        each appears once. The match with the largest sum of cosines wins, so
        a scan turned by 45 degrees still uses three different axes.
    """
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(columns[:, ::-1].T)  # (array axis, anatomical axis)

    def fit(choice: tuple[int, ...]) -> float:
        return float(sum(cosines[i, axis] for i, axis in enumerate(choice)))

    # Listed from (2, 1, 0) so that exact ties fall to the axial layout.
    z, y, x = max(permutations((2, 1, 0)), key=fit)
    return z, y, x


def display_affine(volume: Volume) -> NDArray[np.float64]:
    """Return the map from array index to display mm, for viewer layers.

    Viewers such as napari draw array axes along the screen and cannot show
    an oblique grid slice by slice. So the rotation of an oblique scan is
    dropped: the result has only a scale with sign and a translation.

    Each array axis keeps its place. It is scaled by its spacing and runs
    towards Superior, Posterior or Left, whichever belongs to the anatomical
    axis it is nearest to. An axial scan so has display z growing to Superior,
    y to Posterior (down the screen) and x to Left (the viewer's right, as
    radiologists look at it). A sagittal scan has its slices along array z,
    so display z grows to Left.

    The translation is the position of voxel (0, 0, 0) measured along each
    array axis, so volumes of one direction lie on each other as they do in
    the patient. For a grid along the anatomical axes, display coordinates
    are exactly LPS mm, in the order of the array axes.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    ndarray, (4, 4) float64
        Takes the column (z, y, x, 1) of array indices to display mm, the
        form of napari's ``Layer.affine``.
    """
    lps = LPS_FROM_RAS @ volume.affine
    axes = lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)
    display = np.eye(4)
    nearest = anatomical_axes(volume.affine)
    for i, (axis, step) in enumerate(zip(nearest, volume.spacing_mm, strict=True)):
        towards = axes[:, 2 - i]
        sign = -1.0 if towards[axis] < 0 else 1.0
        display[i, i] = sign * step
        display[i, 3] = float(lps[:3, 3] @ towards) * sign
    return display
