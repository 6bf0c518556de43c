"""The one way from a slice to model input, and from logits back to a mask.

Viewer, command line, calibration and training all come through here. There is
one transform per model family, in the order of the official inference code:

`PreprocessingKind.PAD` (LiteMedSAM, demo)
    longest side to the input size (area interpolation on uint8), min-max over
    the slice, zero padding below and right; back: crop, enlarge the logits,
    threshold at 0.
`PreprocessingKind.SQUARE` (MedSAM)
    both sides to the input size (bicubic with anti-aliasing, cast to uint8),
    min-max; back: sigmoid, enlarge, threshold at one half.

No torch here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidPrompt, InvalidVolume
from napari_qmedsam.models.configuration import ModelConfig, PreprocessingKind
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.windows import Window

MASK_BOX_MARGIN = 3
"""Pixels of the model input by which a box taken from a mask is widened."""


@dataclass(frozen=True)
class SliceGeometry:
    """How a slice of one size lies in the model input, both ways.

    Parameters
    ----------
    kind : PreprocessingKind
    height, width : int
        Of the slice.
    input_size : int
        Side of the square model input.
    pixel_aspect : float
        Height over width of a pixel as the model is to see it. 1 leaves the
        slice as it is, like the official code; another value straightens
        slices across a scan whose slices lie further apart than its pixels.
        `PreprocessingKind.SQUARE` stretches every slice anyway.
    """

    kind: PreprocessingKind
    height: int
    width: int
    input_size: int
    pixel_aspect: float = 1.0

    @classmethod
    def of(
        cls, config: ModelConfig, height: int, width: int, pixel_aspect: float = 1.0
    ) -> "SliceGeometry":
        """Return the geometry of (height, width) slices for a model."""
        return cls(config.preprocessing, height, width, config.input_size, pixel_aspect)

    @property
    def content(self) -> tuple[int, int]:
        """Height and width of the slice inside the model input."""
        if self.kind is PreprocessingKind.SQUARE:
            return self.input_size, self.input_size
        height = self.height * self.pixel_aspect
        scale = self.input_size / max(height, self.width)
        # A sliver of a slice would round to nothing.
        return (
            max(1, int(height * scale + 0.5)),
            max(1, int(self.width * scale + 0.5)),
        )

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Make model input of a slice.

        Parameters
        ----------
        image : ndarray, (H, W) or (H, W, 3) uint8
            Already windowed; grey slices fill all three channels.

        Returns
        -------
        ndarray, (3, input_size, input_size) float32 in [0, 1]
        """
        if image.shape[:2] != (self.height, self.width):
            raise InvalidVolume(
                f"Expected a slice of {self.height} by {self.width} pixels but got "
                f"{image.shape[0]} by {image.shape[1]}."
            )
        if image.dtype != np.uint8:
            raise InvalidVolume(f"Model input is made of uint8, not {image.dtype}.")
        resized = self._resize(image).astype(np.float64)
        resized -= resized.min()
        resized /= max(resized.max(), 1e-8)
        rows, columns = self.content
        model_input = np.zeros((3, self.input_size, self.input_size), np.float32)
        channels_first = resized if resized.ndim == 2 else resized.transpose(2, 0, 1)
        model_input[:, :rows, :columns] = channels_first
        return model_input

    def box_to_input(self, box: Box2D) -> tuple[float, float, float, float]:
        """Corner pixels of a box in the model input, as the official code has them.

        The box's last pixel, not its excluded maximum, is what the published
        models were trained with. LiteMedSAM's coordinates are truncated.
        """
        corners = np.array(box.corners(), dtype=np.float64)
        if self.kind is PreprocessingKind.PAD:
            longest = max(self.height * self.pixel_aspect, self.width)
            corners *= (1.0, self.pixel_aspect) * 2
            scaled = np.trunc(corners * self.input_size / longest)
        else:
            size = (self.width, self.height) * 2
            scaled = corners / np.array(size) * self.input_size
        x_min, y_min, x_max, y_max = (float(v) for v in scaled)
        return x_min, y_min, x_max, y_max

    def point_to_input(self, x: float, y: float) -> tuple[float, float]:
        """Place of a voxel index in the model input, scaled as boxes are."""
        if self.kind is PreprocessingKind.SQUARE:
            return x / self.width * self.input_size, y / self.height * self.input_size
        scale = self.input_size / max(self.height * self.pixel_aspect, self.width)
        return x * scale, y * self.pixel_aspect * scale

    def mask_to_input_box(
        self, mask: NDArray[np.bool_]
    ) -> tuple[float, float, float, float] | None:
        """Box of a predicted (H, W) mask in the model input, 3 pixels wider.

        It prompts the neighbouring slice; None where the mask is empty. The
        upper limit is the input size itself, and with padding the box may
        reach into it, both as in the official code.
        """
        import cv2

        rows, columns = self.content
        small = cv2.resize(
            mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_AREA
        )
        box = Box2D.around(small > 0)
        if box is None:
            return None
        x_min, y_min, x_max, y_max = box.corners()
        low, high = -MASK_BOX_MARGIN, MASK_BOX_MARGIN
        return (
            max(x_min + low, 0),
            max(y_min + low, 0),
            min(x_max + high, self.input_size),
            min(y_max + high, self.input_size),
        )

    def logits_to_masks(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Masks on the slice's own pixels.

        Parameters
        ----------
        logits : ndarray, (n, L, L) float32
            Low-res logits.

        Returns
        -------
        ndarray, (n, H, W) bool
        """
        if logits.ndim != 3:
            raise InvalidPrompt(f"Logits must be (n, L, L), not {logits.shape}.")
        masks = np.empty((len(logits), self.height, self.width), bool)
        for mask, low_res in zip(masks, logits, strict=True):
            mask[:] = self._to_mask(low_res)
        return masks

    def logits_on(
        self, low_res: NDArray[np.floating], height: int, width: int
    ) -> NDArray[np.floating]:
        """Return low-res logits of the slice on a grid of (height, width) pixels."""
        if self.kind is PreprocessingKind.SQUARE:
            return _bilinear(low_res, height, width)
        if low_res.shape[-1] != self.input_size:
            low_res = _bilinear(low_res, self.input_size, self.input_size)
        rows, columns = self.content
        return _bilinear(low_res[:rows, :columns], height, width)

    def _to_mask(self, low_res: NDArray[np.float32]) -> NDArray[np.bool_]:
        if self.kind is PreprocessingKind.SQUARE:
            # exp of a large negative logit may overflow to inf, giving 0 as meant
            with np.errstate(over="ignore"):
                probability = np.float32(1) / (1 + np.exp(-low_res))
            return _bilinear(probability, self.height, self.width) > 0.5
        return self.logits_on(low_res, self.height, self.width) > 0

    def _resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.kind is PreprocessingKind.PAD:
            import cv2

            rows, columns = self.content
            return np.asarray(
                cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA),
                np.uint8,
            )
        from skimage.transform import resize

        if image.ndim == 2:
            # Not for show: the spline runs across channels too, and what it
            # rounds differently decides whether a flat 150 is cut to 149.
            image = np.repeat(image[..., None], 3, axis=-1)
        resized = resize(
            image,
            (self.input_size, self.input_size),
            order=3,
            preserve_range=True,
            anti_aliasing=True,
        )
        return resized.astype(np.uint8)


def slice_image(array: NDArray, slice_index: int, window: Window) -> NDArray[np.uint8]:
    """Return slice `slice_index` of a volume's array as windowed uint8.

    (Z, Y, X) gives (Y, X); (Z, Y, X, 3) gives (Y, X, 3). Colour that the
    window leaves as it is passes unchanged.
    """
    chosen = np.asarray(array[slice_index])
    if chosen.dtype == np.uint8 and window == Window(0.0, 255.0):
        return chosen
    return window.to_uint8(chosen)


def is_blank(array: NDArray, slice_index: int) -> bool:
    """Tell a slice of one value, such as padding: there is no object on it."""
    plane = array[slice_index]
    return bool((plane == plane.flat[0]).all())


def _bilinear(
    image: NDArray[np.floating], height: int, width: int
) -> NDArray[np.floating]:
    """Resize with half-pixel centres and no anti-aliasing, as torch does.

    With float32 coordinates, as torch has them: OpenCV's are more exact, which
    moves logits by up to 6e-5, and single pixels out of a mask or into it.
    """
    if image.shape == (height, width):
        return image
    image = image.astype(np.float32, copy=False)
    above, below, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    wide = image[:, left] * (1 - across) + image[:, right] * across
    down = down[:, None]
    return wide[above] * (1 - down) + wide[below] * down


def _neighbours(
    size: int, new_size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the two old pixels around each new one, and the second's share."""
    scale = float(np.float32(size) / np.float32(new_size))
    # Rounded once, as by the fused multiply-add that torch is compiled to.
    place = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
    place = np.maximum(place, 0)
    first = np.minimum(place.astype(np.intp), size - 1)
    share = np.clip(place - first.astype(np.float32), 0, 1)
    return first, np.minimum(first + 1, size - 1), share
