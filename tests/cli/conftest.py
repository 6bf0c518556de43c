"""Running commands in process."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam import cli
from napari_qmedsam.cli import shared
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes.volume import Volume
from napari_qmedsam.volumes.writing import write_volume


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in process, in a folder of its own: status, out, err."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


@pytest.fixture
def fake_model(monkeypatch, new_backend):
    """Put the made-up model in place of the real one."""
    backend = new_backend()
    monkeypatch.setattr(
        shared, "segmenter", lambda *rest: SliceSegmenter(backend, max_boxes=rest[3])
    )
    return backend


@pytest.fixture
def scan(tmp_path):
    """Oblique, flipped CT: bright boxes 1 and 2 with their labels."""
    truth = np.zeros((6, 32, 32), np.uint8)
    truth[1:4, 4:16, 6:20] = 1
    truth[2:5, 20:30, 18:30] = 2
    array = np.where(truth > 0, 200, -900).astype(np.int16)
    angle = np.deg2rad(12)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = affine @ np.diag([-0.8, 0.8, 3.0, 1.0])
    affine[:3, 3] = [40, -20, 100]
    for name, values in (("ct", array), ("labels", truth)):
        image = nib.Nifti1Image(values.transpose(2, 1, 0), affine)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    return truth


@pytest.fixture
def small_scan(tmp_path) -> Path:
    array = np.random.default_rng(0).integers(0, 255, (2, 40, 50)).astype(np.int16)
    return write_volume(Volume(array), tmp_path / "scan.nii.gz")


@pytest.fixture
def write_series():
    """Give what writes a volume as a DICOM series."""
    return _write_series


def _write_series(image: sitk.Image, folder: Path) -> None:
    """Write a volume as a DICOM series, one file per slice."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = np.reshape(image.GetDirection(), (3, 3)).T[:2].ravel()
    for z in range(image.GetDepth()):
        plane = image[:, :, z]
        place = image.TransformIndexToPhysicalPoint((0, 0, z))
        for tag, value in {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0020|0013": str(z + 1),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "\\".join(map(str, cosines)),
            "0008|0018": f"1.2.3.4.{z + 1}",
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{z}.dcm"))
        writer.Execute(plane)
