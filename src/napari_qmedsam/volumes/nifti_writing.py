"""Writing NIfTI, with the header of the source where there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_qmedsam.volumes.nifti_header import HEADER_BYTES, mm_per_unit, quiet_nibabel
from napari_qmedsam.volumes.segment_fields import CARET, label_table
from napari_qmedsam.volumes.volume import Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header


def write_nifti(array: NDArray, like: Volume, path: Path) -> None:
    """Write an array on the grid of `like`.

    If `like` came from NIfTI and still has that grid, its header is used
    again, so sform, qform, their codes and the units come back unchanged. If
    only the header is known (a crop, say), codes and units are kept. From
    other formats the file gets mm and code 1 (scanner). The segments of `like`,
    which labels have, go into a header extension.

    Parameters
    ----------
    array : ndarray, (Z, Y, X), or (Z, Y, X, 3) uint8
    like : Volume
    path : Path
        Its suffix decides about compression.
    """
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    if array.ndim == 4:
        rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        array = np.ascontiguousarray(array).view(rgb)[..., 0]
    data = array.transpose(2, 1, 0)
    with quiet_nibabel():
        header = _source_header(like)
        if header is not None and _dimensions(header) == 2 and data.shape[2] == 1:
            data = data[:, :, 0]
        kind = nib.Nifti2Image if _is_nifti2(header) else nib.Nifti1Image
        try:
            header = _fresh_header(header, like, data)
        except HeaderDataError as error:
            raise OSError(f"NIfTI-1 cannot hold it ({error})") from error
        if like.segments:
            table = label_table(like.segments)
            extension = nib.nifti1.Nifti1Extension(CARET, table)
            header.extensions.append(extension)
        image = kind(data, None, header, dtype=data.dtype)
        nib.save(image, path)


def _source_header(like: Volume) -> "Nifti1Header | None":
    """Return the header `like` was read with, little-endian, or None."""
    if like.source.format != "nifti" or like.source.header is None:
        return None
    import nibabel as nib

    stored = like.source.header
    header = getattr(nib, HEADER_BYTES[len(stored)])(stored, check=False)
    header.check_fix(error_level=40)
    return header.as_byteswapped("<")


def _fresh_header(
    header: "Nifti1Header | None", like: Volume, data: NDArray
) -> "Nifti1Header":
    """Return a header for `data` on the grid of `like`."""
    import nibabel as nib

    if header is None:
        header = nib.Nifti1Header()
        header.set_xyzt_units("mm")
        codes, factor, kept = (1, 1), 1.0, False
    else:
        codes = (int(header["sform_code"]), int(header["qform_code"]))
        factor = mm_per_unit(header)
        old = np.array(header.get_best_affine(), dtype=np.float64)
        old[:3] *= factor
        same_shape = _padded(header.get_data_shape())[:3] == like.shape[::-1]
        kept = same_shape and np.allclose(old, like.affine, rtol=0, atol=1e-6)
    header.set_data_dtype(data.dtype)
    # Slope and display range belong to the image, an intent to its frames.
    header.set_slope_inter(None, None)
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("none", allow_unknown=True)
    # Converters put names, ids and dates of patients there.
    for text in ("descrip", "aux_file", "db_name", "intent_name"):
        if text in header:
            header[text] = b""
    pixdim = header["pixdim"].copy()
    header.set_data_shape(data.shape)
    header["pixdim"][:4] = pixdim[:4]
    if not kept:
        affine = like.affine.copy()
        affine[:3] /= factor
        header.set_zooms([s / factor for s in like.spacing_mm[::-1]][: data.ndim])
        header.set_qform(affine, code=codes[1])
        if not np.allclose(header.get_qform(), affine, rtol=0, atol=1e-3):
            # A qform holds no shear; a wrong one is worse than none.
            header["qform_code"], codes = 0, (codes[0] or codes[1], 0)
        # With both codes 0 readers would make up an origin.
        header.set_sform(affine, code=codes[0] or (0 if codes[1] else 1))
    return header


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape) + (1,) * (3 - len(shape))


def _dimensions(header: "Nifti1Header") -> int:
    return int(header["dim"][0])


def _is_nifti2(header: "Nifti1Header | None") -> bool:
    return header is not None and int(header["sizeof_hdr"]) == 540
