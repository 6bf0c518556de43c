import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.volumes import Volume, read_labels, read_volume, write_labels
from napari_qmedsam.volumes.registry import FORMATS
from napari_qmedsam.volumes.segment_fields import (
    segments_of_fields,
    segments_of_json,
    segments_of_table,
)
from napari_qmedsam.volumes.segments import Segment, colour_from_hex

NAMED = (
    Segment(1, "Leber & Gefäße <links>", colour=(255, 90, 95)),
    Segment(7, "tumour, left: 2 cm", colour=(0, 128, 7)),
)

HOLDS_NAMES = [s for k in FORMATS if k.write_labels for s in k.written]
HOLDS_NAMES = [s for s in HOLDS_NAMES if s not in (".png", ".tif", ".tiff", ".dcm")]


@pytest.fixture
def volume(ct, oblique):
    return Volume(ct, (2.5, 0.9, 0.7), oblique)


@pytest.mark.parametrize("suffix", HOLDS_NAMES)
def test_names_and_colours_come_back(tmp_path, volume, labels, suffix):
    labels[labels == 2] = 7
    out = write_labels(labels, volume, tmp_path / f"a{suffix}", names=NAMED)
    read = read_labels(out, volume)
    assert read.segments == NAMED
    np.testing.assert_array_equal(read.array, labels)
    np.testing.assert_allclose(read.affine, volume.affine, atol=1e-5)


def test_names_survive_another_grid(tmp_path, volume, labels):
    flipped = volume.affine @ np.diag([1, -1, 1, 1])
    flipped[:3, 3] += volume.affine[:3, 1] * (volume.shape[1] - 1)
    other = Volume(volume.array[:, ::-1], volume.spacing_mm, flipped)
    out = write_labels(labels[:, ::-1], other, tmp_path / "a.nii.gz", names={1: "a"})
    read = read_labels(out, volume)
    np.testing.assert_array_equal(read.array, labels)
    assert [s.name for s in read.segments] == ["a"]


def test_other_readers_see_a_plain_file(tmp_path, volume, labels):
    nifti = write_labels(labels, volume, tmp_path / "a.nii.gz", names=NAMED)
    image = nib.load(nifti)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, labels)
    (extension,) = image.header.extensions
    assert extension.get_code() == 30  # Caret's, which Workbench reads
    for file in (nifti, write_labels(labels, volume, tmp_path / "a.mha", names=NAMED)):
        itk = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        np.testing.assert_array_equal(itk, labels)


def test_images_get_no_names(tmp_path, volume):
    from napari_qmedsam.volumes import write_volume

    out = write_volume(volume, tmp_path / "a.nii.gz")
    assert not nib.load(out).header.extensions
    assert read_volume(out).segments == ()


def test_fields_are_those_of_slicer(tmp_path, volume, labels):
    out = write_labels(labels, volume, tmp_path / "a.seg.nrrd", names=NAMED[:1])
    header = sitk.ReadImage(str(out))
    fields = {k: header.GetMetaData(k) for k in header.GetMetaDataKeys()}
    assert fields["Segment0_LabelValue"] == "1"
    assert fields["Segment0_Layer"] == "0"
    assert fields["Segment0_Extent"] == "1 2 1 3 1 2"  # x, y, z of the block
    assert fields["Segment0_Color"] == "1 0.352941 0.372549"
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"


def test_label_table_of_totalsegmentator_is_read(tmp_path, labels):
    """It writes Caret's table with the code 0, and background among the labels."""
    table = (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>'
        "<Date><![CDATA[2013-07-14T05:45:09]]></Date>"
        '<VolumeInformation Index="0"><LabelTable>'
        '<Label Key="0" Red="0" Green="0" Blue="0" Alpha="0"><![CDATA[???]]></Label>'
        '<Label Key="5" Red="0.0" Green="1.0" Blue="0.5" Alpha="1">'
        "<![CDATA[liver]]></Label>\n</LabelTable></VolumeInformation>"
        "</CaretExtension>\n              "
    )
    image = nib.Nifti1Image(labels.T.astype(np.uint8), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"a comment"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, table.encode()))
    nib.save(image, tmp_path / "a.nii.gz")
    read = read_labels(tmp_path / "a.nii.gz")
    assert read.segments == (Segment(5, "liver", colour=(0, 255, 128)),)


def test_layers_of_slicer_are_kept_apart():
    fields = {
        "Segment0_Name": "a",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment1_Name": "b",
        "Segment1_LabelValue": "1",
        "Segment1_Layer": "1",
    }
    assert [s.name for s in segments_of_fields(fields)] == ["a"]
    assert [s.name for s in segments_of_fields(fields, layer=1)] == ["b"]


@pytest.mark.parametrize(
    "segments",
    [
        segments_of_table(b"<CaretExtension><LabelTable>"),
        segments_of_table(b'<!DOCTYPE x [<!ENTITY a "b">]><CaretExtension/>'),
        segments_of_json('{"id": 1}'),
        segments_of_json("[1, 2]"),
        segments_of_fields({"Segment0_LabelValue": "x", "Segment0_Name": "a"}),
        segments_of_fields({"Segment0_LabelValue": "-1", "Segment0_Name": "a"}),
    ],
)
def test_damaged_names_are_passed_over(segments):
    assert segments == ()


def test_damaged_colours_leave_the_name():
    fields = {"Segment0_Name": "a", "Segment0_Color": "red"}
    assert segments_of_fields(fields) == (Segment(1, "a"),)
    for colour in ('["x"]', "[1, 2]", "7"):
        entry = f'[{{"id": 1, "name": "a", "color": {colour}}}]'
        assert segments_of_json(entry) == (Segment(1, "a"),)


def test_colours_and_numbers_are_checked():
    assert colour_from_hex("#ff5a5f") == (255, 90, 95)
    with pytest.raises(InvalidSettings, match="'green' is no colour"):
        colour_from_hex("green")
    with pytest.raises(InvalidSettings, match="labels start at 1"):
        Segment(0, "background")
    with pytest.raises(InvalidSettings, match="from 0 to 255"):
        Segment(1, "a", colour=(0, 0, 256))


def test_colours_travel_through_dicom():
    hd = pytest.importorskip("highdicom")
    from pydicom import Dataset

    from napari_qmedsam.volumes.dicom.segmentation import _colour

    for colour in [(255, 90, 95), (0, 128, 7), (255, 255, 255), (0, 0, 0)]:
        item = Dataset()
        stored = hd.color.CIELabColor.from_rgb(*colour).value
        item.RecommendedDisplayCIELabValue = list(stored)
        np.testing.assert_allclose(_colour(item), colour, atol=1)
