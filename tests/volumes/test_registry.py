"""One record for each kind of file, and one decision which kind a file is."""

import ast
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

import napari_qmedsam
from napari_qmedsam.errors import UnreadableVolume, UnwritableLabels
from napari_qmedsam.volumes import Volume, read_volume, write_labels
from napari_qmedsam.volumes.formats import HEAD_BYTES
from napari_qmedsam.volumes.reading import volume_shape
from napari_qmedsam.volumes.registry import FORMATS, WRITABLE, format_of, keeps_place
from napari_qmedsam.volumes.writing import write_volume

PACKAGE = Path(napari_qmedsam.__file__).parent
ROOT = Path(__file__).parents[2]


def test_no_two_formats_claim_a_suffix():
    counts = Counter(s for kind in FORMATS for s in (*kind.suffixes,))
    assert set(counts.values()) == {1}
    assert all(set(kind.written) <= set(kind.suffixes) for kind in FORMATS)


@pytest.mark.parametrize(
    "suffix", [s for s, kind in WRITABLE.items() if kind.write_image]
)
def test_what_is_written_is_told_again(tmp_path, ct, suffix):
    image = Volume(np.abs(ct[:1]) // 8).with_array(
        (np.abs(ct[:1]) // 8).astype(np.uint8)
    )
    path = write_volume(image, tmp_path / f"a{suffix}")
    assert format_of(path) is WRITABLE[suffix]
    assert volume_shape(path) == image.shape
    head = path.read_bytes()[:HEAD_BYTES]
    told = [kind.name for kind in FORMATS if kind.recognises(head)]
    assert told == [WRITABLE[suffix].name]


@pytest.mark.parametrize("name", ["a.nii", "a.dcm", "a"])
def test_contents_go_before_the_name(tmp_path, ct, name):
    write_volume(Volume(ct), tmp_path / "a.mha").rename(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, ct)


def test_only_pictures_and_npz_have_no_place(tmp_path, ct):
    assert [kind.name for kind in FORMATS if not kind.keeps_place] == ["npz", "picture"]
    volume = Volume((ct % 200).astype(np.uint8))
    assert keeps_place(volume)
    assert not keeps_place(read_volume(write_volume(volume, tmp_path / "a.npz")))


def test_an_unknown_name_is_refused_with_what_is_known(tmp_path):
    (tmp_path / "a.docx").write_text("hello")
    with pytest.raises(
        UnreadableVolume, match="'.docx' is not known. Readable are NIfTI, DICOM"
    ):
        read_volume(tmp_path / "a.docx")
    with pytest.raises(UnwritableLabels, match=r"Writable are \.nii\.gz, \.nii"):
        write_labels(np.zeros((1, 1, 1), int), Volume(np.zeros((1, 1, 1))), "a.docx")


def test_the_manifest_names_the_same_suffixes():
    """Pictures are left to napari's own reader and writer."""
    contributions = yaml.safe_load((PACKAGE / "napari.yaml").read_text())[
        "contributions"
    ]
    kinds = [kind for kind in FORMATS if kind.name != "picture"]
    (reader,), (writer,) = contributions["readers"], contributions["writers"]
    suffixes = {s for kind in kinds for s in kind.suffixes}
    assert {f"*{suffix}" for suffix in suffixes} <= set(reader["filename_patterns"])
    assert set(writer["filename_extensions"]) == {s for k in kinds for s in k.written}


def test_the_manifest_is_what_its_script_writes():
    """Nobody has to edit it for a new kind of file: run scripts/manifest.py."""
    script = runpy.run_path(str(ROOT / "scripts" / "manifest.py"))
    text = (PACKAGE / "napari.yaml").read_text(encoding="utf-8")
    assert script["with_suffixes"](text) == text
    bare = text.replace("        - '*.mha'\n", "").replace("'.npz', ", "")
    assert bare != text
    assert script["with_suffixes"](bare) == text


def test_a_format_is_named_in_its_module_and_the_registry_only():
    """A new kind of file must not need changes all over the package."""
    modules = {
        "NIFTI": "nifti",
        "NRRD": "nrrd",
        "METAIMAGE": "metaimage",
        "PICTURE": "pictures",
    }
    for record, module in modules.items():
        users = {
            path.stem
            for path in PACKAGE.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Name) and node.id == record
        }
        assert users == {module, "registry"}
