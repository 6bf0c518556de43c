"""The voxel size that TIFF files of ImageJ and OME carry."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_qmedsam.volumes.grid import MM_PER_UNIT

logger = logging.getLogger(__name__)

Size = tuple[float, float, float]


def tiff_size(path: Path) -> tuple[Size | None, tuple[str, ...]]:
    """Return (z, y, x) in mm, None where the file gives none, and notices.

    The resolution of a plain TIFF is that of a print or a scan and says
    nothing about voxels, so it does not count.
    """
    import tifffile

    try:
        with quiet_tifffile(), tifffile.TiffFile(path) as file:
            if file.imagej_metadata is not None:
                return _imagej(file)
            if file.ome_metadata:
                return _ome(file.ome_metadata), _stacked(file.ome_metadata)
    except Exception as error:  # noqa: BLE001 - tifffile raises what it meets
        # The pixels are read by OpenCV, which judges the file.
        logger.debug("%s: %s", path, error)
    return None, ()


@contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Keep tifffile from printing what our errors say."""
    log = logging.getLogger("tifffile")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def _imagej(file: Any) -> tuple[Size | None, tuple[str, ...]]:
    stored = file.imagej_metadata
    notices = _images(*(int(stored.get(name, 1)) for name in ("channels", "frames")))
    factor = MM_PER_UNIT.get(str(stored.get("unit", "")).strip().lower())
    tags = file.pages[0].tags
    if factor is None or not {"XResolution", "YResolution"} <= {t.name for t in tags}:
        return None, notices
    steps = []
    for name in ("YResolution", "XResolution"):
        pixels, length = tags[name].value
        steps.append(factor * length / pixels if pixels else 0.0)
    depth = abs(float(stored.get("spacing", 0.0))) * factor or steps[0]
    return _valid((depth, *steps)), notices


def _stacked(text: str) -> tuple[str, ...]:
    """Say that pages of channels or times stand among the slices."""
    found = [re.search(rf'\bSize{axis}="(\d{{1,9}})"', text) for axis in "CT"]
    samples = re.search(r'\bSamplesPerPixel="(\d{1,9})"', text)
    channels, times = (int(size[1]) if size else 1 for size in found)
    return _images(channels // max(1, int(samples[1]) if samples else 1), times)


def _images(channels: int, times: int) -> tuple[str, ...]:
    if max(channels, times) <= 1:
        return ()
    notice = (
        f"The file holds {channels} channels and {times} time points; all its pages "
        "were read as slices."
    )
    return (notice,)


def _ome(text: str) -> Size | None:
    """Read three attributes; the XML is not parsed, which could be made to hang."""
    steps = []
    for axis in "ZYX":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]{{1,40}})"', text)
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]{{1,40}})"', text)
        factor = MM_PER_UNIT.get(unit[1].lower() if unit else "um")
        try:
            steps.append(float(size[1]) * factor if size and factor else 0.0)
        except ValueError:
            return None
    if steps[0] == 0.0:
        steps[0] = steps[1]
    return _valid((steps[0], steps[1], steps[2]))


def _valid(size: tuple[float, ...]) -> Size | None:
    z, y, x = size
    return (z, y, x) if all(math.isfinite(s) and s > 0 for s in size) else None
