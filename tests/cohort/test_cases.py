"""Which files make a case, and which lists do."""

import pytest

from napari_qmedsam.cohort.case_lists import read_boxes, read_case_list
from napari_qmedsam.cohort.pairing import pair_folders
from napari_qmedsam.errors import InvalidBox, InvalidSettings, UnusableData
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.volumes.volume import Modality


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read here")


def named(cohort):
    return [(c.name, c.image.name, c.labels and c.labels.name) for c in cohort.cases]


def test_names_pair_by_the_endings_that_data_sets_have(tmp_path):
    images, labels = tmp_path / "i", tmp_path / "l"
    touch(images, "b_0000.nii.gz", "a.nrrd", "lone.nii", "sub/c.mha")
    touch(labels, "a_seg.nii.gz", "b.nii.gz", "nobody.nii.gz", "sub/c.mha")
    cohort = pair_folders(images, labels)
    assert named(cohort) == [
        ("a", "a.nrrd", "a_seg.nii.gz"),
        ("b", "b_0000.nii.gz", "b.nii.gz"),
        ("sub__c", "c.mha", "c.mha"),
    ]
    assert [n for n in cohort.notices if "without labels: 1 (lone.nii)" in n]
    assert [n for n in cohort.notices if "without an image: 1 (nobody.nii.gz)" in n]


def test_one_folder_may_hold_both(tmp_path):
    touch(tmp_path, "a.nii.gz", "a_labels.nii.gz", "b.nii.gz")
    cohort = pair_folders(tmp_path, tmp_path)
    assert named(cohort) == [("a", "a.nii.gz", "a_labels.nii.gz")]
    assert "b.nii.gz" in cohort.notices[0]


def test_a_pattern_says_how_names_pair(tmp_path):
    images, labels = tmp_path / "i", tmp_path / "l"
    touch(images, "scan-7-t1.nii", "scan-7-t2.nii")
    touch(labels, "truth 7.nii")
    cohort = pair_folders(images, labels, "scan-{case}-t2:truth {case}")
    assert named(cohort) == [("7", "scan-7-t2.nii", "truth 7.nii")]


@pytest.mark.parametrize("pattern", ["{case}", "{case}:a", "{case}{case}:{case}", ":"])
def test_what_is_no_pattern_is_refused(tmp_path, pattern):
    with pytest.raises(InvalidSettings, match="each with {case} once"):
        pair_folders(tmp_path, tmp_path, pattern)


def test_folders_without_a_pair_are_refused(tmp_path):
    touch(tmp_path, "a.nii")
    with pytest.raises(UnusableData, match="No image .* has labels"):
        pair_folders(tmp_path, tmp_path)
    with pytest.raises(UnusableData, match="There is no folder"):
        pair_folders(tmp_path / "no", tmp_path)


def test_two_labels_for_one_image_are_refused(tmp_path):
    touch(tmp_path, "a.nii", "a_seg.nii", "a_labels.nii")
    with pytest.raises(InvalidSettings, match="both labels of 'a'"):
        pair_folders(tmp_path, tmp_path)


def test_a_list_names_patients_and_modalities(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        "image,label,modality,patient\n"
        "x/one.nii.gz,l/one.nii.gz,ct,P1\n\n"
        "y/two.npz, ,,\n"
    )
    first, second = read_case_list(path).cases
    assert (first.name, first.patient, first.modality) == ("x__one", "P1", Modality.CT)
    assert first.labels == tmp_path / "l/one.nii.gz"
    assert (second.labels, second.patient) == (second.image, "y__two")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must name the columns image, label"),
        ("image\na\n", "must name the columns image, label"),
        ("image,label,age\na,b,3\n", "must name the columns"),
        ("image,label\n", "lists nothing"),
        ("image,label\na\n", "Line 2 of 'list.csv' has 1 cells"),
        ("image,label\n,b\n", "Line 2 of 'list.csv' names no image"),
        ("image,label,modality\na,b,XX\n", "Line 2 .* modality 'XX' must be one of"),
        ("image,label\na.nii,b\na.nrrd,b\n", "Two images make one case 'a'"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(tmp_path, text, why):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match=why):
        read_case_list(path)


def test_boxes_are_listed_a_line_each(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz")
    path = tmp_path / "boxes.csv"
    head = "image,name,x_min,y_min,z_min,x_max,y_max,z_max\n"
    path.write_text(head + "a.nii.gz,liver,1,2,3,10,20,30\na.nii.gz,,0,0,0,5,5,1\n")
    cohort = read_boxes(tmp_path, path)
    (case,) = cohort.cases
    assert [(b.name, b.box) for b in case.boxes] == [
        ("liver", Box3D(1, 2, 3, 10, 20, 30)),
        ("", Box3D(0, 0, 0, 5, 5, 1)),
    ]
    assert "without a box: 1 (b.nii.gz)" in cohort.notices[0]
    path.write_text(head + "a.nii.gz,liver,1,2,3,one,20,30\n")
    with pytest.raises(InvalidBox, match="Line 2 of 'boxes.csv'"):
        read_boxes(tmp_path, path)
