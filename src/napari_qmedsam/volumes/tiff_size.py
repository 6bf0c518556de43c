"""The voxel size that TIFF files of ImageJ and OME carry."""

import logging
import math
import re
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

MM_PER_UNIT = {
    "nm": 1e-6,
    "micron": 1e-3,
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

Size = tuple[float, float, float]


def tiff_size(path: Path) -> tuple[Size | None, tuple[str, ...]]:
    """Return (z, y, x) in mm, None where the file gives none, and notices.

    The resolution of a plain TIFF is that of a print or a scan and says
    nothing about voxels, so it does not count.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if file.imagej_metadata is not None:
                return _imagej(file)
            if file.ome_metadata:
                return _ome(file.ome_metadata), ()
    except Exception as error:  # noqa: BLE001 - tifffile raises what it meets
        # The pixels are read by OpenCV, which judges the file.
        logger.debug("%s: %s", path, error)
    return None, ()


def _imagej(file: Any) -> tuple[Size | None, tuple[str, ...]]:
    stored = file.imagej_metadata
    notices: tuple[str, ...] = ()
    images = [int(stored.get(name, 1)) for name in ("channels", "frames")]
    if max(images) > 1:
        notice = (
            f"The file holds {images[0]} channels and {images[1]} time points; all its "
            "pages were read as slices."
        )
        notices = (notice,)
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
