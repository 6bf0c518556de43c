"""DICOM SEG as labels: segments are classes, placed by their frames.

Frames and their places are read as those of an image. highdicom would do it
too, but refuses objects that lack a code or a reference, as many in use do.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.dicom.frames import Frame, frames_of
from napari_qmedsam.volumes.dicom.headers import (
    Header,
    ObjectKind,
    deep,
    items,
    numbers,
    quiet_pydicom,
    read_header,
    text,
    whole_number,
)
from napari_qmedsam.volumes.dicom.pixels import read_pixels
from napari_qmedsam.volumes.dicom.series import choose_series, list_series
from napari_qmedsam.volumes.dicom.stack import (
    GAP_TOLERANCE,
    ORIENTATION_TOLERANCE,
    SAME_PLACE_MM,
    grid_affine,
)
from napari_qmedsam.volumes.files import unreadable
from napari_qmedsam.volumes.formats import WHOLE, Selection
from napari_qmedsam.volumes.frames import choose_frame
from napari_qmedsam.volumes.grid import LPS_FROM_RAS
from napari_qmedsam.volumes.segments import (
    TISSUE,
    Code,
    Colour,
    Segment,
    colour_from_fractions,
)
from napari_qmedsam.volumes.volume import Modality, Source, Volume

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
"""How segments are stored; SegmentationType."""

SLICE_LIMIT = 1 << 14
"""Slices that frames may lie apart; empty ones between them are not stored."""

EXPORT_AGAIN = "Export the segmentation again."


def holds_segmentation(path: Path, series: str | None = None) -> bool:
    """Tell whether a file is a DICOM SEG, or a folder holds one that is meant.

    Parameters
    ----------
    path : Path
    series : str or None
        UID or description; without it any segmentation of a folder counts.
    """
    if path.is_dir():
        found = list_series(path, ObjectKind.SEGMENTATION)
        return any(series in (None, s.uid, s.description) for s in found)
    with quiet_pydicom():
        header = read_header(path)
    return header is not None and header.kind is ObjectKind.SEGMENTATION


def read_segmentation(path: Path, selection: Selection = WHOLE) -> Volume:
    """Read a DICOM SEG as a label volume on the grid of its frames.

    Parameters
    ----------
    path : Path
        The object, or a folder that holds one.
    selection : Selection
        `series` chooses among several in a folder.

    Returns
    -------
    Volume
        Segment numbers, 0 where there is none; slices without a frame between
        others are empty. `segments` has names and codes.

    Raises
    ------
    UnreadableVolume
        If frames or segments are damaged, or make no grid.
    """
    choose_frame(path, selection.frame, 1)
    header = _choose(path, selection)
    if whole_number(header.dataset, "NumberOfFrames") == 0:
        raise unreadable(path, "it holds no frames", EXPORT_AGAIN)
    with quiet_pydicom():
        frames = frames_of(path, header)
        dataset = header.dataset
        kind = text(dataset, "SegmentationType").upper() or "BINARY"
        if kind not in KINDS:
            raise unreadable(
                path, f"its segments are stored as {kind[:40]}", EXPORT_AGAIN
            )
        threshold = 0.5 * (whole_number(dataset, "MaximumFractionalValue") or 255)
        segments = _segments(dataset)
    affine, spacing, places, notice = _grid(path, frames, selection.like)
    padding = whole_number(dataset, "PixelPaddingValue")
    labels = np.zeros((max(places) + 1, header.rows, header.columns), np.uint16)
    overlaps = 0
    by_place = defaultdict(list)
    for index, place in enumerate(places):
        by_place[place].append(index)
    for place, indices in by_place.items():
        plane = labels[place]
        indices.sort(key=lambda i: frames[i].segment or 0)
        pixels = read_pixels(path, header, [frames[i].index for i in indices])
        for index, stored in zip(indices, pixels, strict=True):
            if kind == "LABELMAP":
                plane[...] = np.where(stored == padding, 0, stored)
                continue
            number = frames[index].segment
            if number is None or not 0 < number < 1 << 16:
                raise unreadable(
                    path, f"frame {index} names the segment {number}", EXPORT_AGAIN
                )
            inside = stored >= threshold if kind == "FRACTIONAL" else stored > 0
            overlaps += int(np.count_nonzero(plane[inside]))
            plane[inside] = number
    return Volume(
        array=labels,
        spacing_mm=spacing,
        affine=affine,
        modality=Modality.OTHER,
        source=Source(str(path), "dicom"),
        notices=_notices(kind, overlaps, segments) + notice,
        segments=segments,
    )


# Helpers ------------------------------------------------------------------


def _choose(path: Path, selection: Selection) -> Header:
    chosen = choose_series(path, selection.series, ObjectKind.SEGMENTATION)
    if not path.is_dir():
        return next(h for h in chosen.headers if h.file.samefile(path))
    if len(chosen.headers) > 1:
        names = ", ".join(f"'{header.file.name}'" for header in chosen.headers)
        raise unreadable(
            path,
            f"it holds {len(chosen.headers)} segmentations: {names}",
            "Choose one of these files.",
        )
    return chosen.headers[0]


def _segments(dataset: object) -> tuple[Segment, ...]:
    """Return names and codes; a segment without codes is tissue."""
    found = []
    for item in items(dataset, "SegmentSequence"):  # type: ignore[arg-type]
        number = whole_number(item, "SegmentNumber")
        if number is None or number == 0:
            continue
        codes = []
        for keyword in (
            "SegmentedPropertyCategoryCodeSequence",
            "SegmentedPropertyTypeCodeSequence",
        ):
            code = deep(item, keyword)
            words = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            parts = [] if code is None else [text(code, word) for word in words]
            codes.append(Code(*parts) if parts else TISSUE)
        category, kind = codes
        name = text(item, "SegmentLabel") or f"segment {number}"
        found.append(Segment(number, name, category, kind, _colour(item)))
    return tuple(sorted(found, key=lambda segment: segment.number))


def _colour(item: object) -> Colour | None:
    """Return the recommended colour of a segment, stored as CIELab in 16 bits."""
    from skimage.color import lab2rgb

    stored = numbers(item, "RecommendedDisplayCIELabValue", 3)  # type: ignore[arg-type]
    if stored is None:
        return None
    lightness, a, b = (value / 65535 for value in stored)
    return colour_from_fractions(
        lab2rgb([100 * lightness, 255 * a - 128, 255 * b - 128])
    )


def _grid(
    path: Path, frames: list[Frame], like: Volume | None
) -> tuple[NDArray[np.float64], tuple[float, float, float], list[int], tuple[str, ...]]:
    """Return affine, spacing (z, y, x), the slice of each frame, and notices."""
    first = frames[0]
    normal, spacing = first.normal, first.spacing
    if normal is None or spacing is None or any(f.position is None for f in frames):
        raise unreadable(path, "its frames do not say where they lie", EXPORT_AGAIN)
    orientations = np.array([frame.orientation for frame in frames], dtype=float)
    if not np.ptp(orientations, axis=0).max() <= ORIENTATION_TOLERANCE:
        raise unreadable(path, "its frames lie in different directions", EXPORT_AGAIN)
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    image_gap = None if like is None else _gap_of_image(positions, normal, like)
    gap, notices = _gap(first, along, image_gap)
    steps = (along - along.min()) / gap
    places = np.rint(steps).astype(np.int64)
    if np.abs(steps - places).max() > GAP_TOLERANCE * max(1, places.max()):
        raise unreadable(
            path,
            f"its frames are not at whole steps of {gap:g} mm",
            "Export the segmentation on the slices of its image.",
        )
    if places.max() >= SLICE_LIMIT:
        raise unreadable(
            path, f"its frames lie {np.ptp(along):g} mm apart", EXPORT_AGAIN
        )
    origin = positions[int(along.argmin())]
    in_plane = (spacing[0], spacing[1])
    affine = grid_affine(first.orientation, origin, normal, (gap, *in_plane))
    return affine, (gap, *in_plane), places.tolist(), notices


def _gap(
    first: Frame, along: NDArray[np.float64], image_gap: float | None
) -> tuple[float, tuple[str, ...]]:
    """Return the distance of slices, of which those without a segment are not there.

    That of the image goes first, if it is known and the frames lie on its slices;
    then what the header says, and the least distance of two frames.
    """
    gaps = np.diff(np.unique(along))
    gaps = gaps[gaps > SAME_PLACE_MM]
    if image_gap is not None:
        return image_gap, ()
    if first.between is not None:
        return first.between, ()
    is_even = gaps.size > 1 and np.ptp(gaps) <= GAP_TOLERANCE * gaps.min()
    thickness = first.thickness
    if thickness and not is_even and _are_whole(gaps / thickness):
        return thickness, ()
    if gaps.size == 0:
        return 1.0, ("The file carries no slice thickness; 1 mm is assumed.",)
    least = float(gaps.min())
    if is_even:
        return least, ()
    notice = (
        "The file does not say how far its slices lie apart; the least distance of two "
        f"frames, {least:g} mm, is assumed."
    )
    return least, (notice,)


def _gap_of_image(
    positions: NDArray[np.float64], normal: NDArray[np.float64], like: Volume
) -> float | None:
    """Return the distance of an image's slices; None if the frames lie on none."""
    gap = like.spacing_mm[0]
    across = LPS_FROM_RAS[:3, :3] @ like.affine[:3, 2] / gap
    if abs(across @ normal) < 1 - ORIENTATION_TOLERANCE:
        return None
    origin = LPS_FROM_RAS[:3, :3] @ like.affine[:3, 3]
    return gap if _are_whole((positions - origin) @ across / gap) else None


def _are_whole(steps: NDArray[np.float64]) -> bool:
    apart = np.abs(steps - np.rint(steps))
    return bool((apart <= GAP_TOLERANCE * np.maximum(1, np.abs(steps))).all())


def _notices(
    kind: str, overlaps: int, segments: tuple[Segment, ...]
) -> tuple[str, ...]:
    notices: tuple[str, ...] = ()
    if segments:
        listed = ", ".join(f"{s.number} '{s.name}'" for s in segments[:20])
        more = f" and {len(segments) - 20} more" if len(segments) > 20 else ""
        notices += (f"Segments: {listed}{more}.",)
    if kind == "FRACTIONAL":
        notices += ("Fractional segments are taken from half of the full value on.",)
    if overlaps:
        notices += (
            f"Segments overlap in {overlaps} voxels; the higher number was taken.",
        )
    return notices
