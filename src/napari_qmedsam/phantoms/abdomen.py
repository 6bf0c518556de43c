"""A whole abdomen with named organs: sample data, and a volume for tests."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.phantoms.canvas import Canvas
from napari_qmedsam.phantoms.fields import Field, Mask, smooth_field
from napari_qmedsam.phantoms.tissues import ct_values, mr_palette
from napari_qmedsam.phantoms.trunk import Z_RANGE, Trunk
from napari_qmedsam.volumes.volume import Modality, Volume

ORGANS: dict[str, str] = {
    "liver": "liver",
    "right kidney": "kidney right",
    "left kidney": "kidney left",
    "spleen": "spleen",
    "pancreas": "pancreas",
    "gallbladder": "gallbladder",
    "stomach": "stomach",
    "duodenum": "duodenum",
    "aorta": "aorta",
    "vena cava": "vena cava",
    "portal vein": "portal vein",
    "right adrenal gland": "adrenal right",
    "left adrenal gland": "adrenal left",
    "vertebrae": "vertebra ",
    "colon": "colon",
    "small bowel": "small bowel ",
    "right lung": "lung right",
    "left lung": "lung left",
    "heart": "heart ",
    "right back muscle": "autochthonous right",
    "left back muscle": "autochthonous left",
    "right psoas": "iliopsoas right",
    "left psoas": "iliopsoas left",
}
"""Public name of an organ, and how the names of its parts begin; the number
of an organ in the label volume is its place here, from 1."""

CENTRE_MM = 12.0
"""Height of the middle slice: the upper half of the kidneys."""

_OVERSAMPLING = 1.5


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A phantom volume with its organs.

    Parameters
    ----------
    volume : Volume
        CT in HU, or MR in arbitrary units; int16.
    labels : Volume
        uint8 on the same grid, 0 for background.
    names : dict of int to str
        The organs that are there.
    """

    volume: Volume
    labels: Volume
    names: dict[int, str]


def abdomen_case(
    modality: Modality,
    seed: int = 0,
    shape: tuple[int, int, int] = (48, 192, 192),
    spacing_mm: tuple[float, float, float] = (5.0, 1.8, 1.8),
) -> PhantomCase:
    """Make an abdomen as it lies in a scanner.

    Array x grows to the patient's left, y to the back, z to the head; the
    affine says so.

    Parameters
    ----------
    modality : Modality
        CT (with contrast) or MR (T1-like).
    seed : int
        Same seed, same bytes.
    shape : tuple of int
        (Z, Y, X).
    spacing_mm : tuple of float
        (z, y, x). A patient wider than the grid is scaled down to fit.

    Returns
    -------
    PhantomCase

    Raises
    ------
    InvalidSettings
        If the modality is neither CT nor MR.
    """
    if modality not in (Modality.CT, Modality.MR):
        raise InvalidSettings(
            f"A phantom abdomen is CT or MR, but modality is {modality.value}."
        )
    rng = np.random.default_rng([0xABD0, seed])
    trunk = Trunk.draw(rng, warp_mm=3.0)
    depth, height, width = shape
    shrink = _fit(trunk, height * spacing_mm[1], width * spacing_mm[2])
    heights = CENTRE_MM + (np.arange(depth) - (depth - 1) / 2) * spacing_mm[0] / shrink
    heights = np.clip(heights, Z_RANGE[0] - 50, Z_RANGE[1] + 50)
    mean, texture = _values(rng, modality)
    grain = _Grain(rng)
    table = _organ_table(trunk)
    image = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint8)
    for index, z in enumerate(heights.tolist()):
        canvas = _canvas((height, width), spacing_mm[1:], shrink)
        trunk.cut(canvas, z)
        labels[index] = cv2.resize(
            table[canvas.objects],
            (width, height),
            interpolation=cv2.INTER_NEAREST_EXACT,
        )
        fine: Field = cv2.LUT(canvas.tissue, mean.reshape(1, 256))
        fine += cv2.LUT(canvas.tissue, texture.reshape(1, 256)) * grain.texture(
            z, canvas.shape
        )
        coarse = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        image[index] = cv2.GaussianBlur(coarse, (0, 0), 0.55)
    finished = _finish(rng, image, modality)
    volume = Volume(finished, spacing_mm, modality=modality)
    present = np.unique(labels)
    names = {i: name for i, name in enumerate(ORGANS, 1) if i in present}
    return PhantomCase(volume, volume.with_array(labels), names)


def _fit(trunk: Trunk, height_mm: float, width_mm: float) -> float:
    """Return by how much the patient must shrink to lie inside the grid."""
    half_width, half_depth = trunk.half_axes(CENTRE_MM)
    return min(
        1.0, 0.95 * width_mm / (2 * half_width), 0.95 * height_mm / (2 * half_depth)
    )


def _canvas(
    shape: tuple[int, int], spacing_mm: tuple[float, ...], shrink: float
) -> Canvas:
    height_mm, width_mm = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    per_mm = _OVERSAMPLING / min(spacing_mm)
    size = round(height_mm * per_mm), round(width_mm * per_mm)
    return Canvas(size, per_mm * shrink, (size[1] / 2, size[0] * 0.49))


def _organ_table(trunk: Trunk) -> Mask:
    """Return the organ number of every object number of a trunk."""
    numbers = trunk.numbers()
    table = np.zeros(max(numbers.values()) + 1, np.uint8)
    for number, beginning in enumerate(ORGANS.values(), 1):
        for name, value in numbers.items():
            if name.startswith(beginning):
                table[value] = number
    return table


def _values(rng: np.random.Generator, modality: Modality) -> tuple[NDArray, NDArray]:
    if modality is Modality.CT:
        return ct_values(rng, 0.85)
    palette = mr_palette(rng, "T1")
    return palette.mean, palette.texture


def _finish(rng: np.random.Generator, image: NDArray, modality: Modality) -> Mask:
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if modality is Modality.CT:
        image = np.clip(image + 9 * noise, -1024, 3071)
    else:
        other = rng.standard_normal(image.shape, dtype=np.float32)
        bias = np.exp(0.2 * smooth_field(rng, image.shape[1:], 3.0))
        image = 4.0 * np.hypot(image * bias + 3 * noise, 3 * other)
    return np.rint(image).astype(np.int16)


class _Grain:
    """Texture of standard deviation about 1, smooth along z."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.layers = [
            (mm, rng.standard_normal((n, cells, cells), dtype=np.float32))
            for mm, n, cells in ((40.0, 16, 14), (12.0, 48, 44))
        ]

    def texture(self, z: float, shape: tuple[int, int]) -> Field:
        """Return the texture at a height."""
        total = np.zeros(shape, np.float32)
        for mm, noise in self.layers:
            place = (z - Z_RANGE[0] + 60) / mm
            low = int(place) % (len(noise) - 1)
            part = np.float32(place - int(place))
            layer = (1 - part) * noise[low] + part * noise[low + 1]
            total += 0.9 * cv2.resize(layer, shape[::-1], interpolation=cv2.INTER_CUBIC)
        return total
