"""From tissues to grey values: what scanner, reconstruction and window do."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from napari_qmedsam.phantoms.fields import (
    Field,
    Mask,
    smooth_field,
    texture_field,
    warp_map,
)


@dataclass
class Palette:
    """Mean and texture of every tissue on a canvas, grey levels 0 to 255.

    Parameters
    ----------
    mean : ndarray, (256,) float32
        By tissue number.
    texture : ndarray, (256,) float32
        Standard deviation of the texture inside the tissue.
    is_mr : bool
        MR has bias, Rician noise and any order of tissues.
    """

    mean: Field = field(default_factory=lambda: np.zeros(256, np.float32))
    texture: Field = field(default_factory=lambda: np.zeros(256, np.float32))
    is_mr: bool = False

    def set(self, tissue: int, mean: float, texture: float = 0.0) -> None:
        """Give one tissue its values."""
        self.mean[tissue] = mean
        self.texture[tissue] = texture


@dataclass(frozen=True)
class Scan:
    """How a slice is acquired and reconstructed; lengths in native pixels."""

    native: int
    blur: float
    noise: float
    noise_grain: float
    bias: float
    thick: float
    sharpen: float
    ringing: bool
    gamma: float

    @classmethod
    def draw(cls, rng: np.random.Generator, is_mr: bool, size: int) -> "Scan":
        """Draw a scan; half have coarse pixels (3 mm), half finer ones."""
        coarse = rng.random() < 0.55
        native = (
            int(rng.uniform(84, 140) if coarse else rng.uniform(140, 256)) * size // 256
        )
        noisy = rng.random()
        noise = float(np.exp(rng.uniform(np.log(1.0), np.log(8.0))))
        if noisy > 0.85:
            noise = float(rng.uniform(8.0, 22.0))
        return cls(
            native=max(native, 16),
            blur=float(
                rng.uniform(0.2, 0.7) if rng.random() < 0.75 else rng.uniform(0.7, 1.5)
            ),
            noise=noise,
            noise_grain=float(rng.uniform(0.4, 1.3) if rng.random() < 0.6 else 0.0),
            bias=float(rng.uniform(0.0, 0.35) if is_mr else rng.uniform(0.0, 0.03)),
            thick=float(rng.uniform(0.5, 2.5) if rng.random() < 0.35 else 0.0),
            sharpen=float(rng.uniform(0.2, 1.2) if rng.random() < 0.25 else 0.0),
            ringing=bool(rng.random() < (0.12 if is_mr else 0.02)),
            gamma=float(np.exp(rng.normal(0.0, 0.22 if is_mr else 0.06))),
        )


def tissue_image(rng: np.random.Generator, tissue: Mask, palette: Palette) -> Field:
    """Return means plus texture, at canvas resolution, before any blur."""
    image: Field = cv2.LUT(tissue, palette.mean.reshape(1, 256))
    if palette.texture.any():
        amplitude = cv2.LUT(tissue, palette.texture.reshape(1, 256))
        cells = (rng.uniform(6, 16), rng.uniform(16, 45), rng.uniform(60, 120))
        image += amplitude * texture_field(rng, tissue.shape, cells)
    return image


def acquire(rng: np.random.Generator, image: Field, scan: Scan, is_mr: bool) -> Mask:
    """Turn the ideal image into a native-resolution slice, 0 to 255."""
    height, width = image.shape
    ratio = scan.native / max(height, width)
    shape = max(8, round(height * ratio)), max(8, round(width * ratio))
    if scan.thick > 0:
        step = scan.thick / ratio
        maps = warp_map(rng, (height, width), ((6.0, step), (14.0, 0.4 * step)))
        other = cv2.remap(
            image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        weight = float(rng.uniform(0.2, 0.5))
        image = cv2.addWeighted(image, 1.0 - weight, other, weight, 0.0)
    image = cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    if scan.blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), scan.blur)
    if scan.ringing:
        image = _truncate_frequencies(image, float(rng.uniform(0.5, 0.8)))
    if scan.bias > 0:
        bias = smooth_field(rng, shape, float(rng.uniform(2.0, 4.0)))
        if is_mr and rng.random() < 0.4:  # surface coils: bright near the skin
            bias += np.float32(rng.uniform(0.5, 3.0)) * _towards_edges(shape)
        image = image * np.exp(np.float32(scan.bias) * bias)
    image = _add_noise(rng, image, scan, is_mr)
    if scan.sharpen > 0:
        soft = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.8, 1.6)))
        image = image + np.float32(scan.sharpen) * (image - soft)
    image = np.clip(image, 0.0, 255.0)
    if scan.gamma != 1.0:
        image = 255.0 * (image / 255.0) ** np.float32(scan.gamma)
    return np.rint(image).astype(np.uint8)


def _towards_edges(shape: tuple[int, int]) -> Field:
    y, x = (np.linspace(-1.0, 1.0, n, dtype=np.float32) for n in shape)
    return y[:, None] ** 2 + x**2


def _truncate_frequencies(image: Field, keep: float) -> Field:
    spectrum = np.fft.rfft2(image)
    rows = np.abs(np.fft.fftfreq(image.shape[0])) > 0.5 * keep
    columns = np.fft.rfftfreq(image.shape[1]) > 0.5 * keep
    spectrum[rows] = 0
    spectrum[:, columns] = 0
    return np.fft.irfft2(spectrum, image.shape).astype(np.float32)


def _add_noise(
    rng: np.random.Generator, image: Field, scan: Scan, is_mr: bool
) -> Field:
    def draw() -> Field:
        noise: Field = rng.standard_normal(image.shape, dtype=np.float32)
        if scan.noise_grain > 0:
            noise = cv2.GaussianBlur(noise, (0, 0), scan.noise_grain)
            noise = noise * np.float32(1.0 / max(float(noise.std()), 1e-6))
        return np.float32(scan.noise) * noise

    if is_mr:
        return np.hypot(image + draw(), draw())
    return image + draw()
