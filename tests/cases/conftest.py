"""Small files of every kind that has gone wrong somewhere, made by pydicom.

A case is 8 slices of 40 x 48 with a bright block. Writers take what departs from
a plain file; names and ids in them are invented.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.volumes import Volume, read_labels, read_volume
from napari_qmedsam.volumes.registry import opens

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
ROOT = "1.2.826.0.1.3680043.8.498."
SPACING = (3.0, 0.8, 0.6)
ORIGIN = (-20.0, -30.0, -40.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.fixture(scope="session")
def walked() -> set[str]:
    """Tests whose files were taken through both doors."""
    return set()


@pytest.fixture(autouse=True)
def both_doors(request, tmp_path, walked):
    """See that napari opens what the core reads, and refuses what it refuses.

    Of each test the files that it left, once whatever its parameters are.
    """
    yield
    test = request.node.nodeid.partition("[")[0]
    if test in walked or importlib.util.find_spec("napari") is None:
        return
    walked.add(test)
    left = sorted(tmp_path.iterdir())
    folder = next((path for path in left if path.is_dir()), tmp_path)
    files = [path for path in (*left, *sorted(folder.iterdir())) if not path.is_dir()]
    for path in (folder, *files[:1]):
        same_through_both_doors(path)


def same_through_both_doors(path: Path) -> None:
    from napari_qmedsam.gui.files import get_reader

    reader = get_reader(str(path))
    assert (reader is None) is (not opens(path)), path
    if reader is None:
        return
    core = through_core(path)
    try:
        data, arguments, kind = reader(str(path))[0]
    except QMedSAMError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert refusal in core.values(), path
        return
    volume = core[kind]
    assert isinstance(volume, Volume), f"{path}: napari alone reads it ({volume})"
    np.testing.assert_array_equal(data, volume.array)
    (shown,) = arguments["metadata"].values()
    if kind == "image":
        assert shown.notices == volume.notices


def through_core(path: Path) -> dict[str, Volume | str]:
    """Return what the core reads, or why not, as an image and as labels."""
    found: dict[str, Volume | str] = {}
    for kind, read in (("image", read_volume), ("labels", read_labels)):
        try:
            found[kind] = read(path)
        except QMedSAMError as error:
            found[kind] = str(error)
    return found


@pytest.fixture
def stored() -> np.ndarray:
    """Stored values (8, 40, 48): every slice of its own grey, and a bright block."""
    array = np.zeros((8, 40, 48), np.uint16)
    array += np.arange(8, dtype=np.uint16)[:, None, None] * 10
    array[1:7, 8:26, 19:39] += 1000
    return array


def _object(sop_class: str, uid: str, series: str, modality: str) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    data.file_meta.MediaStorageSOPInstanceUID = UID(ROOT + uid)
    data.SOPClassUID = UID(sop_class)
    data.SOPInstanceUID = UID(ROOT + uid)
    data.StudyInstanceUID = UID(ROOT + "1")
    data.SeriesInstanceUID = UID(ROOT + series)
    data.FrameOfReferenceUID = UID(ROOT + "9")
    data.Modality = modality
    data.PatientName = "NOBODY^NOWHERE"
    data.PatientID = "X0"
    data.StudyDate, data.StudyTime = "20200101", "120000"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    return data


def _set(data: Dataset, changes: dict) -> None:
    for keyword, value in changes.items():
        if value is None:
            data.pop(keyword, None)
        else:
            setattr(data, keyword, value)


def _pixels(data: Dataset, array: np.ndarray) -> None:
    data.Rows, data.Columns = array.shape[-2:]
    bits = 8 * array.dtype.itemsize
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(array.dtype.kind == "i")
    data.PixelData = array.tobytes()


@pytest.fixture
def write_classic():
    """Write a file per slice; `change(i)` gives attributes, None leaves one out."""

    def write(folder: Path, array, change=lambda i: {}, suffix=".dcm", series="2"):
        folder.mkdir(exist_ok=True)
        files = []
        for i, plane in enumerate(array):
            data = _object(CT, f"{series}.{i + 1}", series, "CT")
            data.InstanceNumber = i + 1
            data.ImagePositionPatient = [*ORIGIN[:2], ORIGIN[2] + SPACING[0] * i]
            data.ImageOrientationPatient = list(AXIAL)
            data.PixelSpacing = list(SPACING[1:])
            data.SliceThickness = SPACING[0]
            data.RescaleSlope, data.RescaleIntercept = 1, -1024
            _pixels(data, plane)
            _set(data, change(i))
            files.append(folder / f"IM{i:03}{suffix}")
            data.save_as(files[-1], enforce_file_format=True)
        return files

    return write


def _item(**values) -> Sequence:
    item = Dataset()
    _set(item, values)
    return Sequence([item])


@pytest.fixture
def write_enhanced():
    """Write an enhanced object.

    Frame `i` of the file shows slice `places[i]`. `groups(i)` gives functional
    groups of the frame as {sequence: {attribute: value}}, on top of its position.
    """

    def write(
        file: Path,
        array,
        places,
        groups=lambda i: {},
        shared=None,
        position=lambda z: [*ORIGIN[:2], ORIGIN[2] + SPACING[0] * z],
        uid="3.1",
        series="3",
        sop_class=ENHANCED_MR,
        **changes,
    ):
        data = _object(sop_class, uid, series, "MR")
        data.InstanceNumber = 1
        data.NumberOfFrames = len(array)
        common = {
            "PlaneOrientationSequence": {"ImageOrientationPatient": list(AXIAL)},
            "PixelMeasuresSequence": {
                "PixelSpacing": list(SPACING[1:]),
                "SliceThickness": SPACING[0],
            },
        } | (shared or {})
        data.SharedFunctionalGroupsSequence = _item(
            **{name: _item(**values) for name, values in common.items()}
        )
        own = []
        for i, place in enumerate(places):
            frame = {"PlanePositionSequence": {"ImagePositionPatient": position(place)}}
            frame |= groups(i)
            own += _item(**{name: _item(**values) for name, values in frame.items()})
        data.PerFrameFunctionalGroupsSequence = Sequence(own)
        _pixels(data, np.asarray(array))
        _set(data, changes)
        file.parent.mkdir(exist_ok=True)
        data.save_as(file, enforce_file_format=True)
        return file

    return write


@pytest.fixture
def write_segmentation(write_enhanced):
    """Write a binary DICOM SEG; `masks` is {(segment, slice): (40, 48) bool}."""

    def write(file: Path, masks, names, **changes):
        keys = list(masks)
        segments = []
        for number, name in names.items():
            segments += _item(SegmentNumber=number, SegmentLabel=name)
        bits = np.packbits(
            np.stack([masks[key] for key in keys]).astype(np.uint8), bitorder="little"
        )
        return write_enhanced(
            file,
            np.zeros((len(keys), 40, 48), np.uint8),
            [place for _, place in keys],
            lambda i: {
                "SegmentIdentificationSequence": {"ReferencedSegmentNumber": keys[i][0]}
            },
            sop_class=SEGMENTATION,
            series="4",
            uid="4.1",
            Modality="SEG",
            SegmentationType="BINARY",
            SegmentSequence=Sequence(segments),
            BitsAllocated=1,
            BitsStored=1,
            HighBit=0,
            PixelData=bits.tobytes(),
            **changes,
        )

    return write
