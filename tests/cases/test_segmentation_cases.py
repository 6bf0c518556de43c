"""DICOM SEG: segments are classes at their places, and come back as they were."""

import numpy as np
import pydicom
import pytest

from napari_qmedsam.errors import UnreadableVolume, UnwritableLabels
from napari_qmedsam.volumes import Volume, read_labels, read_volume, write_labels

TISSUE = "85756007"


@pytest.fixture
def labels():
    array = np.zeros((8, 40, 48), np.uint8)
    array[2:5, 8:20, 10:30] = 1
    array[4:7, 22:30, 31:40] = 3
    return array


def masks_of(labels):
    return {
        (int(number), z): labels[z] == number
        for number in np.unique(labels)[1:]
        for z in np.flatnonzero((labels == number).any(axis=(1, 2)))
    }


def test_segments_are_classes_at_their_places(
    tmp_path, stored, labels, write_classic, write_segmentation
):
    write_classic(tmp_path / "s", stored)
    file = write_segmentation(
        tmp_path / "seg.dcm", masks_of(labels), {1: "liver", 3: "spleen"}
    )
    read = read_labels(file, read_volume(tmp_path / "s"))
    np.testing.assert_array_equal(read.array, labels)
    assert [(s.number, s.name) for s in read.segments] == [(1, "liver"), (3, "spleen")]
    assert read.notices[0] == "Segments: 1 'liver', 3 'spleen'."
    alone = read_labels(file)
    np.testing.assert_array_equal(alone.array, labels[2:7])
    np.testing.assert_allclose(alone.spacing_mm, (3.0, 0.8, 0.6))
    np.testing.assert_allclose(alone.affine[:3, 3], (20, 30, -34))


def test_slices_without_a_frame_between_others_are_empty(
    tmp_path, labels, write_segmentation
):
    labels[3:6] = 0
    file = write_segmentation(tmp_path / "seg.dcm", masks_of(labels), {1: "a", 3: "b"})
    # Slices 2 and 6 alone would be 12 mm apart; the step is told by the header.
    data = pydicom.dcmread(file)
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].SpacingBetweenSlices = 3
    data.save_as(file)
    read = read_labels(file)
    np.testing.assert_array_equal(read.array, labels[2:7])


def test_where_segments_overlap_is_told(tmp_path, labels, write_segmentation):
    masks = masks_of(labels)
    masks[3, 4] = masks[3, 4] | masks[1, 4]
    file = write_segmentation(tmp_path / "seg.dcm", masks, {1: "a", 3: "b"})
    read = read_labels(file)
    assert "Segments overlap in 240 voxels; the higher number" in read.notices[1]
    assert (read.array[2][labels[4] == 1] == 3).all()


def test_fractional_segments_are_cut_at_half(tmp_path, labels, write_segmentation):
    (key, mask), *_ = masks_of(labels).items()
    values = np.where(mask, 200, 40).astype(np.uint8)
    file = write_segmentation(
        tmp_path / "seg.dcm",
        {key: mask},
        {1: "a"},
        MaximumFractionalValue=200,
    )
    data = pydicom.dcmread(file)
    data.SegmentationType = "FRACTIONAL"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelData = 7, values.tobytes()
    data.save_as(file)
    read = read_labels(file)
    np.testing.assert_array_equal(read.array[0], mask)
    assert "from half of the full value on" in read.notices[1]


def test_a_segmentation_is_no_image_and_an_image_no_segmentation(
    tmp_path, stored, labels, write_classic, write_segmentation
):
    file = write_segmentation(tmp_path / "s" / "seg.dcm", masks_of(labels), {1: "a"})
    with pytest.raises(UnreadableVolume, match="which holds labels and no image"):
        read_volume(file)
    write_classic(tmp_path / "s", stored)
    image = read_volume(tmp_path / "s")  # the segmentation beside it does not matter
    assert image.shape == (8, 40, 48)
    found = read_labels(tmp_path / "s", image)
    np.testing.assert_array_equal(found.array, labels)


def test_frames_off_the_grid_are_refused(tmp_path, labels, write_segmentation):
    masks = {(1, z): mask for (_, z), mask in masks_of(labels).items()}
    masks[1, 5.5] = masks.pop((1, 5))
    file = write_segmentation(tmp_path / "seg.dcm", masks, {1: "a"})
    data = pydicom.dcmread(file)
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].SpacingBetweenSlices = 3
    data.save_as(file)
    with pytest.raises(UnreadableVolume, match="not at whole steps of 3 mm"):
        read_labels(file)


@pytest.mark.parametrize("places", [(2, 6), (1, 3, 5, 7), (3,)])
@pytest.mark.parametrize("thickness", [3, 9, None])
def test_frames_lie_on_slices_of_the_image_and_on_no_others(
    tmp_path, stored, write_classic, write_segmentation, places, thickness
):
    write_classic(tmp_path / "s", stored)
    mask = np.zeros((40, 48), bool)
    mask[5:9, 5:9] = True
    file = write_segmentation(
        tmp_path / "seg.dcm", {(1, z): mask for z in places}, {1: "a"}
    )
    data = pydicom.dcmread(file)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SliceThickness = thickness
    data.save_as(file)
    read = read_labels(file, read_volume(tmp_path / "s"))
    assert np.flatnonzero(read.array.any(axis=(1, 2))).tolist() == list(places)


def test_a_distance_that_only_frames_give_is_told(tmp_path, write_segmentation):
    mask = np.ones((40, 48), bool)
    file = write_segmentation(tmp_path / "seg.dcm", {(1, 2): mask, (1, 6): mask}, {})
    data = pydicom.dcmread(file)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SliceThickness = 7
    data.save_as(file)
    read = read_labels(file)
    assert read.spacing_mm[0] == 12
    assert "12 mm, is assumed" in read.notices[-1]


def test_label_maps_keep_their_numbers_whatever_their_palette(
    tmp_path, labels, write_enhanced
):
    segment = pydicom.Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 3, "b"
    tables = {}
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        tables |= {f"{name}Descriptor": [256, 0, 16], f"{name}Data": bytes(512)}
    stored = np.where(labels == 0, 255, labels)[2:7].astype(np.uint8)
    file = write_enhanced(
        tmp_path / "seg.dcm",
        stored,
        range(2, 7),
        sop_class="1.2.840.10008.5.1.4.1.1.66.7",
        Modality="SEG",
        SegmentationType="LABELMAP",
        SegmentSequence=[segment],
        PhotometricInterpretation="PALETTE COLOR",
        PixelPaddingValue=255,
        **tables,
    )
    np.testing.assert_array_equal(read_labels(file).array, labels[2:7])


def test_frames_of_bits_may_begin_within_a_byte(tmp_path, write_segmentation):
    odd = np.zeros((4, 5, 7), bool)
    odd[1, 2, 3] = odd[2, 4, 6] = odd[0, 0, 0] = True
    odd[3] = True
    file = write_segmentation(
        tmp_path / "seg.dcm", {(1, z): odd[z] for z in range(4)}, {1: "a"}
    )
    data = pydicom.dcmread(file)
    data.Rows, data.Columns = odd.shape[1:]
    data.PixelData = np.packbits(odd.ravel(), bitorder="little").tobytes()
    data.save_as(file)
    np.testing.assert_array_equal(read_labels(file).array, odd)


def test_a_segmentation_without_frames_is_called_so(tmp_path, write_segmentation):
    mask = np.ones((40, 48), bool)
    file = write_segmentation(
        tmp_path / "seg.dcm", {(1, 0): mask}, {1: "a"}, NumberOfFrames=0
    )
    with pytest.raises(UnreadableVolume, match="it holds no frames"):
        read_labels(file)


def test_segments_stored_in_another_way_are_refused(tmp_path, write_segmentation):
    file = write_segmentation(
        tmp_path / "seg.dcm", {(1, 0): np.ones((40, 48), bool)}, {1: "a"}
    )
    (tmp_path / "empty.dcm").write_bytes(b"")  # no slice of a segmentation
    assert read_labels(file).array.all()
    data = pydicom.dcmread(file)
    data.SegmentationType = "SURFACE"
    data.save_as(file)
    with pytest.raises(UnreadableVolume, match="segments are stored as SURFACE"):
        read_labels(file)


# Writing --------------------------------------------------------------------


@pytest.mark.parametrize("enhanced", [False, True])
def test_what_is_written_is_read_back_by_highdicom(
    tmp_path, stored, labels, write_classic, write_enhanced, enhanced
):
    hd = pytest.importorskip("highdicom")
    path = tmp_path / "s"
    if enhanced:
        write_enhanced(path / "e.dcm", stored[::-1], range(7, -1, -1))
    else:
        write_classic(path, stored)
    image = read_volume(path)
    out = write_labels(labels, image, tmp_path / "o.dcm", names={1: "liver", 3: "x"})
    seg = hd.seg.segread(out)
    volume = seg.get_volume(combine_segments=True, skip_overlap_checks=False)
    placed = read_labels(out, image)
    np.testing.assert_array_equal(placed.array, labels)
    for index in np.argwhere(volume.array)[::97]:
        place = volume.affine @ [*index, 1]
        x, y, z, _ = np.linalg.solve(image.affine, place * (-1, -1, 1, 1))
        here = labels[round(z), round(y), round(x)]
        assert here == volume.array[tuple(index)]
    assert np.count_nonzero(volume.array) == np.count_nonzero(labels)
    described = seg.get_segment_description(1)
    assert described.segment_label == "liver"
    assert described.segmented_property_type.value == TISSUE
    assert seg.get_segment_description(3).segment_label == "x"


def test_the_image_is_referred_to_and_the_patient_left_out(
    tmp_path, stored, labels, write_classic
):
    pytest.importorskip("highdicom")
    files = write_classic(tmp_path / "s", stored)
    out = write_labels(labels, read_volume(tmp_path / "s"), tmp_path / "o.dcm")
    written, image = pydicom.dcmread(out), pydicom.dcmread(files[0])
    assert written.StudyInstanceUID == image.StudyInstanceUID
    assert written.FrameOfReferenceUID == image.FrameOfReferenceUID
    (series,) = written.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert len(series.ReferencedInstanceSequence) == 8
    content = out.read_bytes()
    for secret in (b"NOBODY", b"X0", b"20200101"):
        assert secret in files[0].read_bytes()
        assert secret not in content


def test_labels_of_no_dicom_image_are_no_dicom_segmentation(tmp_path, labels):
    with pytest.raises(UnwritableLabels, match="the image is from none"):
        write_labels(labels, Volume(labels), tmp_path / "o.dcm")


def test_a_missing_highdicom_is_said_before_the_work(
    tmp_path, stored, write_classic, monkeypatch
):
    from napari_qmedsam.volumes.dicom import segmentation_writing
    from napari_qmedsam.volumes.writing import check_target

    write_classic(tmp_path / "s", stored)
    image = read_volume(tmp_path / "s")
    monkeypatch.setattr(segmentation_writing, "find_spec", lambda name: None)
    with pytest.raises(UnwritableLabels, match=r"napari-qmedsam\[dicom\]"):
        check_target(tmp_path / "o.dcm", image)


@pytest.mark.gui
def test_napari_shows_a_segmentation_as_labels(tmp_path, labels, write_segmentation):
    from napari_qmedsam.gui.files import get_reader

    file = write_segmentation(tmp_path / "seg", masks_of(labels), {1: "a", 3: "b"})
    ((data, _, kind),) = get_reader(str(file))(str(file))
    assert kind == "labels"
    np.testing.assert_array_equal(data, labels[2:7])
