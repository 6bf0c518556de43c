"""Contours of an RT structure set on the slices of their image."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.volumes import read_labels, read_volume

STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"


def item(**values) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


@pytest.fixture
def image(tmp_path, stored, write_classic):
    write_classic(tmp_path / "ct", stored)
    return read_volume(tmp_path / "ct")


@pytest.fixture
def write(tmp_path, image):
    """Write {number: (name, boxes)}; a box is x, y of both ends, and its slice."""

    def outline(x_min, y_min, x_max, y_max, z):
        """In mm, half a voxel outside the first and last centre."""
        low, high = np.subtract((x_min, y_min), 0.5), np.subtract((x_max, y_max), 0.5)
        corners = [(low[0], low[1]), (high[0], low[1]), tuple(high), (low[0], high[1])]
        ras = image.affine @ np.array([(*corner, z, 1) for corner in corners]).T
        return (np.diag([-1, -1, 1, 1]) @ ras)[:3].T.ravel().tolist()

    def write(structures, kind="CLOSED_PLANAR", series="", data=outline):
        rois, contours = [], []
        for roi, (name, boxes) in structures.items():
            rois.append(item(ROINumber=roi, ROIName=name))
            drawn = [
                item(
                    ContourGeometricType=kind,
                    NumberOfContourPoints=4,
                    ContourData=data(*box),
                )
                for box in boxes
            ]
            contours.append(
                item(
                    ReferencedROINumber=roi,
                    ROIDisplayColor=[255, roi % 256, 0],
                    ContourSequence=Sequence(drawn),
                )
            )
        whole = item(
            SOPClassUID=STRUCTURES,
            SOPInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.4",
            Modality="RTSTRUCT",
            StructureSetROISequence=Sequence(rois),
            ROIContourSequence=Sequence(contours),
        )
        if series:
            of_series = Sequence([item(SeriesInstanceUID=series)])
            study = Sequence([item(RTReferencedSeriesSequence=of_series)])
            whole.ReferencedFrameOfReferenceSequence = [
                item(RTReferencedStudySequence=study)
            ]
        whole.file_meta = FileMetaDataset()
        whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        whole.save_as(tmp_path / "rs.dcm", enforce_file_format=True)
        return tmp_path / "rs.dcm"

    return write


def test_contours_are_filled_on_their_slices(image, write):
    """As plastimatch 1.10 fills the same contours, voxel by voxel."""
    file = write(
        {
            7: ("liver", [(10, 5, 20, 12, z) for z in (2, 3, 4)]),
            9: ("two parts", [(30, 30, 34, 33, 6), (36, 30, 40, 33, 6)]),
        },
        series=image.source.series,
    )
    labels = read_labels(file, image)
    expected = np.zeros(image.shape, np.uint8)
    expected[2:5, 5:12, 10:20] = 7
    expected[6, 30:33, 30:34] = expected[6, 30:33, 36:40] = 9
    np.testing.assert_array_equal(labels.array, expected)
    assert [(s.number, s.name) for s in labels.segments] == [
        (7, "liver"),
        (9, "two parts"),
    ]
    assert labels.segments[0].colour == (255, 7, 0)
    assert labels.notices == ()
    np.testing.assert_array_equal(labels.affine, image.affine)


def test_holes_overlaps_and_other_lines_are_told(image, write):
    ring = [(5, 5, 25, 25, 1), (10, 10, 20, 20, 1)]
    file = write({0: ("ring", ring), 70000: ("lid", [(0, 0, 7, 7, 1)])}, series="1.9")
    labels = read_labels(file, image)
    # Numbers that no label may have are counted anew.
    assert (labels.array[1] == 1).sum() == 20 * 20 - 10 * 10 - 2 * 2
    assert (labels.array[1] == 2).sum() == 7 * 7
    assert labels.notices == (
        "Structures overlap in 4 voxels; the higher number was taken.",
        "The structures were drawn on another series than this image.",
    )


@pytest.mark.parametrize(
    ("boxes", "changes", "said"),
    [
        ([(1, 1, 5, 5, 2.5)], {}, "a contour lies 0.5 slices off"),
        ([(1, 1, 5, 5, 20)], {}, "none of its contours encloses a voxel"),
        ([(1, 1, 5, 5, 2)], {"kind": "POINT"}, "none of its contours encloses"),
        ([(1, 1, 5, 5, 2)], {"data": lambda *box: [0, 1]}, "has not 12 numbers"),
        ([], {}, "none of its contours encloses a voxel"),
    ],
)
def test_what_lies_on_no_slice_is_refused(image, write, boxes, changes, said):
    with pytest.raises(UnreadableVolume, match=said):
        read_labels(write({1: ("a", boxes)}, **changes), image)


def test_contours_need_their_image(write):
    file = write({1: ("a", [(1, 1, 5, 5, 2)])})
    with pytest.raises(UnreadableVolume, match="contours have no grid of their own"):
        read_labels(file)
    with pytest.raises(UnreadableVolume, match="Give it as the labels of the image"):
        read_volume(file)
