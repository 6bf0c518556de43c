"""Who was scanned, and when, is in no output: only in the image it came with."""

import gzip
import json
import logging
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from napari_qmedsam import Session, cli
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.cli import shared
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.segmentation.segmenter import SliceSegmenter
from napari_qmedsam.volumes import read_volume, write_labels

NAMES = ("PatientName", "PatientBirthName", "OtherPatientNames", "OperatorsName")
IDS = ("PatientID", "AccessionNumber", "StudyID", "MedicalRecordLocator")
PEOPLE = ("ReferringPhysicianName", "PerformingPhysicianName", "InstitutionName")
TEXTS = ("PatientComments", "ImageComments", "StudyDescription", "PatientAddress")
PLACES = ("StationName", "ProtocolName", "DeviceSerialNumber", "InstitutionAddress")
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
SECRETS = ("ZZNAME", "ZZID", "ZZTEXT", "19610203", "20190817", "101713", "057Y")
"""What is looked for in everything that is written."""


def tags(_: int) -> dict:
    """Return every attribute of a file that may say who was scanned, and when."""
    found: dict = dict.fromkeys((*NAMES, *PEOPLE), "ZZNAME^JANE")
    found |= dict.fromkeys(IDS, "ZZID77")
    found |= dict.fromkeys((*TEXTS, *PLACES), "ZZTEXT")
    found |= dict.fromkeys(DATES, "20190817")
    found |= {name.replace("Date", "Time"): "101713" for name in DATES}
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "ZZID1", "ZZID2"
    assert {dictionary_VR(name) for name in DATES} == {"DA"}
    assert set(found) <= set(keyword_dict)
    return found | {
        "PatientBirthDate": "19610203",
        "PatientAge": "057Y",
        "SeriesDescription": "ZZTEXT",
        "RequestAttributesSequence": Sequence([request]),
    }


@pytest.fixture
def series(write_classic, tmp_path, stored) -> Path:
    write_classic(tmp_path / "series", stored, tags)
    return tmp_path / "series"


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qmedsam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        assert stop.value.code in (0, None), err
        return out + err

    return call


def contents(path: Path) -> bytes:
    """Return a file as it is, and what is packed in it."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            return b"".join(packed.read(name) for name in packed.namelist())
    return data


def secrets_in(data: bytes) -> list[str]:
    wide = data.replace(b"\0", b"")  # NumPy's text has four bytes a letter
    return [s for s in SECRETS if s.encode() in data or s.encode() in wide]


def assert_private(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert secrets_in(contents(path)) == [], path.name
        assert secrets_in(str(path.relative_to(folder)).encode()) == []


def test_what_is_looked_for_is_found(series, tmp_path):
    found = set()
    for path in series.iterdir():
        found.update(secrets_in(contents(path)))
    assert found == set(SECRETS)
    np.savez_compressed(tmp_path / "p.npz", header=np.array("ZZNAME"))
    assert secrets_in(contents(tmp_path / "p.npz")) == ["ZZNAME"]


@pytest.mark.parametrize(
    "suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".npz", ".tif", ".dcm"]
)
def test_label_files_and_logs_do_not_say_it(series, tmp_path, caplog, suffix):
    if suffix == ".dcm":
        pytest.importorskip("highdicom")
    caplog.set_level(logging.DEBUG)
    volume = read_volume(series)
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:7, 8:26, 19:39] = 1
    (tmp_path / "out").mkdir()
    write_labels(labels, volume, tmp_path / "out" / f"labels{suffix}")
    assert_private(tmp_path / "out")
    ours = [r for r in caplog.records if r.name.startswith("napari_qmedsam")]
    assert secrets_in("\n".join(r.getMessage() for r in ours).encode()) == []
    assert secrets_in(repr(volume).encode()) == []


def test_commands_do_not_say_it(run, series, tmp_path, new_backend, monkeypatch):
    made = SliceSegmenter(new_backend())
    monkeypatch.setattr(shared, "segmenter", lambda *rest: made)
    box = "--box3d=19,8,1,39,26,7"
    said = run("segment", series, box, "--json")
    said += run("segment", series, box, "-o", "other.nrrd")
    labels = tmp_path / "out" / "series_labels.nii.gz"
    said += run("evaluate", "--image", series, "--labels", labels, "--json", "r.json")
    assert secrets_in(said.encode()) == []
    assert_private(tmp_path / "out")


def test_autosaves_do_not_say_it(series, tmp_path):
    session = Session(read_volume(series))
    session.add_object(Box3D(19, 8, 1, 39, 26, 7))
    session.labels[1] = 1
    Autosave(session.volume, tmp_path / "out").write(session.objects, session.labels)
    assert_private(tmp_path / "out")


def test_cards_of_quantized_models_do_not_say_it(run, series, tiny_config, tmp_path):
    import torch

    from napari_qmedsam.models import build_model

    torch.manual_seed(0)
    # People call folders and files after patients, too.
    named = series.rename(tmp_path / "ZZNAME_ZZID")
    save_model(build_model("tiny"), tmp_path / "tiny.safetensors")
    said = run(
        "quantize", "--model", tmp_path / "tiny.safetensors", "--calibration", named,
        "--slices", "2", "-o", "made.qmedsam.safetensors", "--json",
    )  # fmt: skip
    card = json.loads(run("info", "made.qmedsam.safetensors", "--json"))
    assert card["calibration"]["volumes"] >= 1
    assert len(card["calibration"]["sha256"]) == 64
    assert secrets_in(said.encode()) == []
    assert_private(tmp_path / "out")


def test_texts_of_a_nifti_header_are_not_copied(tmp_path):
    image = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), np.eye(4))
    for name in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[name] = b"ZZNAME"
    comment = nib.nifti1.Nifti1Extension("comment", b"ZZTEXT")
    image.header.extensions.append(comment)
    nib.save(image, tmp_path / "in.nii")
    volume = read_volume(tmp_path / "in.nii")
    (tmp_path / "out").mkdir()
    write_labels(np.ones((7, 6, 5), np.uint8), volume, tmp_path / "out" / "l.nii")
    assert_private(tmp_path / "out")
