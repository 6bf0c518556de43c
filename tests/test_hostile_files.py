"""Mutated files of every kind end in a result or in one of our errors.

Half a thousand here; ``scripts/fuzz.py`` reads as many as it is asked for.
"""

import importlib.util
import os
import signal
import struct
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from napari_qmedsam.errors import UnreadableVolume
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.volumes import read_volume
from napari_qmedsam.volumes.segment_fields import segments_of_table

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="limits on memory need Linux"
)

CORPORA = sorted((Path(__file__).parent / "data" / "corpora").glob("*.zip"))
"""Inputs that reached something new, by parser; see ``scripts/fuzz_guided.py``."""

EACH = 32
"""Mutated files for each of 17 readers."""


def _script():
    path = Path(__file__).parents[1] / "scripts" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


fuzz = _script()


def test_every_reader_ends_well(tmp_path):
    problems, names = [], []
    for reader in fuzz.readers(tmp_path):
        names.append(reader.name)
        problems += fuzz.fuzz(reader, EACH, seed=1)
    assert problems == []
    assert {"nifti", "nrrd", "mha", "dicom", "npz", "safetensors", "pth"} <= set(names)
    assert {"ir", "wheel", "recipe", "settings", "autosave", "picture"} <= set(names)


@pytest.mark.parametrize("kept", CORPORA, ids=lambda path: path.stem)
def test_what_guided_fuzzing_kept_ends_well(tmp_path, kept):
    suffix = {"nifti": ".nii", "picture": ".tif"}.get(kept.stem, f".{kept.stem}")
    path = tmp_path / f"a{suffix}"
    ended = Counter()
    with zipfile.ZipFile(kept) as archive:
        for name in archive.namelist():
            path.write_bytes(archive.read(name))
            try:
                ended["read"] += read_volume(path).array.size > 0
            except UnreadableVolume:
                ended["refused"] += 1
    assert ended["read"] > 0
    assert ended["refused"] > 0
    assert ended.total() == len(archive.namelist())


def asks_for_memory(path):
    return bytearray(3 << 30)


def never_ends(path):
    while True:
        pass


def crashes(path):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (asks_for_memory, "more than 1 GB"),
        (never_ends, "s of the processor"),
        (crashes, "SIGKILL"),
        (lambda path: {}["none"], "KeyError"),
    ],
)
def test_what_goes_wrong_is_seen(read, complaint):
    (problem,) = fuzz.fuzz(fuzz.Reader("bad", ".bin", (b"seed",), read), 1, seed=0)
    assert complaint in problem


def test_a_mutation_is_made_again_by_its_number():
    reader = fuzz.Reader("any", ".bin", (b"abc" * 99, b"def" * 99), lambda path: None)
    made = [fuzz.make(reader, 3, number) for number in range(50)]
    assert made == [fuzz.make(reader, 3, number) for number in range(50)]
    assert len(set(made)) > 40


# What was found ------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["UTF-0", "latin-77", "utf-16"])
def test_a_label_table_is_read_as_utf8_whatever_it_claims(encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?><a><Label Key="1">x</Label></a>'
    assert segments_of_table(text.encode("utf-16")) == ()
    assert [s.name for s in segments_of_table(text.encode())] == ["x"]


def test_one_damaged_autosave_does_not_hide_the_others(tmp_path):
    import numpy as np

    from napari_qmedsam.prompts import Box3D
    from napari_qmedsam.session import Session
    from napari_qmedsam.volumes.volume import Volume

    session = Session(Volume(np.zeros((3, 8, 9), np.uint8)))
    session.add_object(Box3D(1, 1, 0, 5, 5, 2))
    session.labels[1, 2:5] = 1
    whole = Autosave(session.volume, tmp_path)
    whole.write(session.objects, session.labels, is_closed=True)
    data = bytearray(whole.path.read_bytes())
    # The first compressed byte of the first member: a kind of block that is none.
    name_size, extra_size = struct.unpack_from("<HH", data, 26)
    data[30 + name_size + extra_size] |= 0b110
    key = whole.path.name.split("-")[0]
    (tmp_path / f"{key}-0-0.npz").write_bytes(data)
    found = Autosave(session.volume, tmp_path).left_behind()
    assert found is not None
    assert found.path == whole.path


@pytest.mark.parametrize(
    ("place", "complaint"), [(116, "intercept is nan"), (108, "begin at byte nan")]
)
def test_a_number_that_is_none_is_named(tmp_path, place, complaint):
    import nibabel as nib
    import numpy as np

    nib.save(
        nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.nii"
    )
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:116] = struct.pack("<f", 1.0)
    data[place : place + 4] = struct.pack("<f", float("nan"))
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(UnreadableVolume, match=complaint):
        read_volume(tmp_path / "a.nii")


def test_a_data_file_whose_name_no_file_can_have_is_refused(tmp_path):
    header = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\n"
    path = tmp_path / "a.mhd"
    path.write_text(f"{header}ElementDataFile = {'x' * 5000}\n")
    with pytest.raises(UnreadableVolume, match="a.mhd"):
        read_volume(path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/proc/self/mem"])
def test_a_header_cannot_send_the_reader_to_a_device(tmp_path, device):
    header = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\n"
    (tmp_path / "a.mhd").write_text(f"{header}ElementDataFile = {device}\n")
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    nrrd += f"endian: little\ndata file: {device}\n"
    (tmp_path / "a.nhdr").write_text(nrrd)
    for name in ("a.mhd", "a.nhdr"):
        reader = fuzz.Reader(
            "device", Path(name).suffix, ((tmp_path / name).read_bytes(),), read_volume
        )
        assert fuzz.outcome(reader, tmp_path / name) == ""
        with pytest.raises(UnreadableVolume):
            read_volume(tmp_path / name)
