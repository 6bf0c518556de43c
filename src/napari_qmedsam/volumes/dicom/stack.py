"""From frames to one stack: which belong together, in which order, how far apart."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.dicom.frames import Frame
from napari_qmedsam.volumes.dicom.repeats import (
    SAME_PLACE_MM,
    SamePixels,
    drop_copies,
    one_image,
)
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import LPS_FROM_RAS

GAP_TOLERANCE = 0.02
"""Gaps may differ by this share of the usual one before a notice says so."""

SHIFT_TOLERANCE_MM = 0.1
"""Sideways step between slices from which a gantry tilt is reported."""

ASIDE_TOLERANCE_MM = 0.5
"""Distance from the line of the others at which a slice is reported."""

ORIENTATION_TOLERANCE = 1e-3
"""Direction cosines may differ by this much across slices."""


SPACING_TOLERANCE = 1e-3
"""Pixel sizes may differ by this share across slices."""


@dataclass(frozen=True)
class Stack:
    """Frames in the order of their slices, and the grid they lie on.

    Parameters
    ----------
    frames : tuple of Frame
    spacing_mm : tuple of float
        Order (z, y, x).
    affine : ndarray, (4, 4)
        Voxels (x, y, z) to RAS mm.
    notices : tuple of str
        What was assumed, chosen, or does not fit the grid.
    """

    frames: tuple[Frame, ...]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    notices: tuple[str, ...] = ()


def stack_frames(
    path: Path,
    frames: list[Frame],
    same_pixels: SamePixels,
    wanted: int | None = None,
) -> Stack:
    """Put the frames of a series in order, or say why they make no volume.

    Parameters
    ----------
    path : Path
        Named in errors.
    frames : list of Frame
        Of one series, from however many files.
    same_pixels : callable
        Asked where nothing in the headers tells frames of one place apart.
    wanted : int or None
        Which of several images of the same slices, from 0.

    Raises
    ------
    UnreadableVolume
        If frames differ in size, spacing or direction, or lie at the same
        place and nothing tells them apart.
    """
    _check_equal_sizes(path, frames)
    frames, notices = drop_copies(frames, same_pixels)
    spacing, more = _in_plane_spacing(path, frames)
    notices += more
    is_placed = _are_placed(path, frames)
    frames = sorted_frames(frames)
    along = _along(frames) if is_placed else _along_unplaced(frames)
    if along is None:
        choose_frame(path, wanted, 1)
    else:
        order = np.argsort(along, kind="stable")
        frames, along = [frames[i] for i in order], along[order]
        frames, more = one_image(path, frames, along, same_pixels, wanted)
        notices += more
    stack = _placed(frames, spacing) if is_placed else _unplaced(frames, spacing)
    return replace(stack, notices=notices + stack.notices)


def grid_affine(
    orientation: tuple[float, ...] | None,
    origin: NDArray[np.float64],
    normal: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Return the map from voxels (x, y, z) to RAS mm.

    Parameters
    ----------
    orientation : tuple of float
        Six direction cosines in LPS.
    origin, normal : ndarray, (3,)
        Centre of the first voxel in LPS mm, and the direction of the slices.
    spacing_mm : tuple of float
        Order (z, y, x).
    """
    cosines = np.array(orientation)
    lps = np.eye(4)
    lps[:3, 0] = cosines[:3] * spacing_mm[2]
    lps[:3, 1] = cosines[3:] * spacing_mm[1]
    lps[:3, 2] = normal * spacing_mm[0]
    lps[:3, 3] = origin
    return LPS_FROM_RAS @ lps


def sorted_frames(frames: Iterable[Frame]) -> list[Frame]:
    """Return frames from the lowest place along their normal, else by number."""
    frames = sorted(frames, key=lambda frame: (frame.order, frame.file.name))
    normal = frames[0].normal if frames else None
    if normal is None or any(frame.position is None for frame in frames):
        return frames
    along = np.array([frame.position for frame in frames]) @ normal
    return [frames[i] for i in np.argsort(along, kind="stable")]


# What belongs together ----------------------------------------------------


def _check_equal_sizes(path: Path, frames: list[Frame]) -> None:
    first = frames[0]
    for frame in frames:
        if frame.size != first.size:
            raise unreadable(
                path,
                f"its slices differ in size: '{first.file.name}' has {_by(first.size)} "
                f"pixels, '{frame.file.name}' {_by(frame.size)}",
                "Export the series without localizers or summary pictures.",
            )


def _in_plane_spacing(
    path: Path, frames: list[Frame]
) -> tuple[tuple[float, float], tuple[str, ...]]:
    first = next((frame for frame in frames if frame.spacing is not None), None)
    if first is None or first.spacing is None:
        notice = "The files carry no pixel spacing above 0; 1 mm is assumed."
        aspect = frames[0].aspect
        if aspect is None or min(aspect) <= 0 or aspect[0] == aspect[1]:
            return (1.0, 1.0), (notice,)
        height = aspect[0] / aspect[1]
        notice = (
            "The files carry no pixel spacing above 0; 1 mm is assumed along a row, "
            f"and {height:g} mm down a column by their PixelAspectRatio."
        )
        return (height, 1.0), (notice,)
    bare = sum(frame.spacing is None for frame in frames)
    for frame in frames:
        if frame.spacing is not None and not np.allclose(
            frame.spacing, first.spacing, rtol=SPACING_TOLERANCE, atol=0
        ):
            raise unreadable(
                path,
                f"its slices differ in pixel spacing: '{first.file.name}' has "
                f"{_by(first.spacing)} mm, '{frame.file.name}' {_by(frame.spacing)} mm",
                "Export each spacing as a series of its own.",
            )
    rows, columns = first.spacing
    if bare:
        notice = (
            f"{bare} of {len(frames)} slices carry no pixel spacing; that of the "
            f"others, {_by(first.spacing)} mm, is assumed."
        )
        return (rows, columns), (notice,)
    return (rows, columns), ()


def _are_placed(path: Path, frames: list[Frame]) -> bool:
    """Tell whether every frame says where it lies, all in one direction."""
    if any(frame.normal is None or frame.position is None for frame in frames):
        return False
    orientations = np.array([frame.orientation for frame in frames])
    if np.ptp(orientations, axis=0).max() > ORIENTATION_TOLERANCE:
        raise unreadable(
            path,
            "its slices lie in different directions",
            "Export each direction as a series of its own.",
        )
    return True


# Where they lie -----------------------------------------------------------


def _placed(frames: list[Frame], in_plane: tuple[float, float]) -> Stack:
    """Set the slice spacing from the positions, and report what does not fit."""
    normal = frames[0].normal
    assert normal is not None  # looked at by _are_placed
    positions = np.array([frame.position for frame in frames])
    notices: tuple[str | None, ...]
    origin = positions[0]
    if len(frames) == 1:
        gap, notice = _thickness(frames)
        notices = (notice,)
    else:
        along = positions @ normal
        gaps = np.diff(along)
        gap = float(np.median(gaps))
        aside, tilt = _sideways(positions, along, normal)
        origin = origin - aside[0]
        notices = (_describe_gaps(gaps, gap), tilt, _describe_aside(aside))
    affine = grid_affine(frames[0].orientation, origin, normal, (gap, *in_plane))
    told = tuple(notice for notice in notices if notice is not None)
    return Stack(tuple(frames), (gap, *in_plane), affine, told)


def _unplaced(frames: list[Frame], in_plane: tuple[float, float]) -> Stack:
    """Stack frames of which not all say where they lie and in which direction."""
    gap, notice = _thickness(frames)
    along = _along_unplaced(frames)
    if len(frames) > 1:
        basis = "assumed" if notice else "taken from their thickness"
        order = "their numbers and may be wrong"
        if along is not None and along.tolist() != [frame.rank for frame in frames]:
            gap = float(np.median(np.diff(along)))
            order, basis = "their locations", "the usual distance of these"
        elif along is not None:
            order = "their place in the stack"
        notice = (
            "Not every slice says where it lies and in which direction; their order "
            f"follows {order}, and {gap:g} mm between them is {basis}."
        )
    lps = np.diag([in_plane[1], in_plane[0], gap, 1.0])
    told = () if notice is None else (notice,)
    return Stack(tuple(frames), (gap, *in_plane), LPS_FROM_RAS @ lps, told)


def _along_unplaced(frames: list[Frame]) -> NDArray[np.float64] | None:
    """Return where frames lie along their stack by what else says it.

    Positions without a valid direction, SliceLocation in mm, or the numbers of
    their slices; None where not every frame has one.
    """
    positions = [frame.position for frame in frames]
    if all(position is not None for position in positions):
        points = np.array(positions)
        steps = points - points[0]
        farthest = steps[int(np.linalg.norm(steps, axis=1).argmax())]
        length = np.linalg.norm(farthest)
        if length > SAME_PLACE_MM:
            towards = farthest / length
            # Axial slices are assumed to go up.
            sign = np.sign(towards[int(np.abs(towards).argmax())])
            return points @ (sign * towards)
    locations, ranks = ([f.location for f in frames], [f.rank for f in frames])
    if None not in locations and len(set(locations)) > 1:
        return np.array(locations, dtype=np.float64)
    return None if None in ranks else np.array(ranks, dtype=np.float64)


def _thickness(frames: list[Frame]) -> tuple[float, str | None]:
    """Return the slice spacing that headers name without positions."""
    names = ("thickness", "between") if len(frames) == 1 else ("between", "thickness")
    for name in names:
        values = {getattr(frame, name) for frame in frames} - {None}
        if len(values) == 1:
            return float(values.pop()), None
    return 1.0, "The files carry no slice thickness; 1 mm is assumed."


def _along(frames: list[Frame]) -> NDArray[np.float64]:
    return np.array([frame.position for frame in frames]) @ frames[0].normal


def _describe_gaps(gaps: NDArray[np.float64], usual: float) -> str | None:
    """Say which gaps differ from the usual one, and how many slices may lack."""
    odd = np.flatnonzero(np.abs(gaps - usual) > GAP_TOLERANCE * usual)
    if odd.size == 0:
        return None
    first = int(odd[0])
    missing = int(np.rint(gaps[odd] / usual - 1).clip(min=0).sum())
    lacking = f"{missing} slice(s) seem to be missing; " if missing else ""
    return (
        f"Slice gaps are uneven: slices {first} and {first + 1} are "
        f"{gaps[first]:.2f} mm apart, the usual gap is {usual:.2f} mm "
        f"({odd.size} uneven in all); {lacking}every slice is shown "
        f"{usual:.2f} mm thick, so positions beyond the gap are off."
    )


def _sideways(
    positions: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> tuple[NDArray[np.float64], str | None]:
    """Split sideways steps into a steady tilt and slices beside its line.

    Medians are taken, so that a few slices aside do not bend the line.

    Returns
    -------
    aside : ndarray, (n, 3)
        How far each slice lies beside the line, 0 within the tolerance.
    notice : str or None
        Of a tilted gantry.
    """
    sideways = positions - along[:, None] * normal
    slope = np.median(np.diff(sideways, axis=0) / np.diff(along)[:, None], axis=0)
    aside = sideways - along[:, None] * slope
    aside -= np.median(aside, axis=0)
    aside[np.linalg.norm(aside, axis=1) < ASIDE_TOLERANCE_MM] = 0.0
    shift = float(np.linalg.norm(slope) * np.median(np.diff(along)))
    if shift < SHIFT_TOLERANCE_MM:
        return aside, None
    return aside, (
        f"Each slice is shifted {shift:.2f} mm sideways against the one before "
        "(tilted gantry); the slices are shown without the shift."
    )


def _describe_aside(aside: NDArray[np.float64]) -> str | None:
    distances = np.linalg.norm(aside, axis=1)
    beside = np.flatnonzero(distances)
    if beside.size == 0:
        return None
    worst = int(distances.argmax())
    return (
        f"{beside.size} slice(s) lie beside the others: slice {worst} by "
        f"{distances[worst]:.2f} mm; they are shown without that shift, so positions "
        "on them are off."
    )


def _by(sizes: tuple[float, ...]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
