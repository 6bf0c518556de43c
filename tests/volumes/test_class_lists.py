import pytest

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.volumes.class_lists import class_list


def test_classes_of_totalsegmentator_have_its_numbers():
    ct, mr = class_list("total"), class_list("total_mr")
    assert list(ct.names) == list(range(1, 118))
    assert list(mr.names) == list(range(1, 51))
    # A few of each part of the published tables.
    for number, name in {
        1: "spleen",
        26: "vertebrae_S1",
        44: "vertebrae_C7",
        52: "aorta",
        65: "iliac_artery_left",
        79: "spinal_cord",
        92: "rib_left_1",
        104: "rib_right_1",
        117: "costal_cartilages",
    }.items():
        assert ct.names[number] == name
    for number, name in {10: "lung_left", 23: "aorta", 50: "brain"}.items():
        assert mr.names[number] == name


FILES = {
    "a.csv": "id,name,colour\n2,tumour,#ff0080\n1,liver,\n",
    "b.csv": "ID, Name, Color\n1, liver,\n2, tumour, ff0080\n",
    "a.json": '[{"id": 1, "name": "liver"},'
    '{"id": 2, "name": "tumour", "color": [255, 0, 128]}]',
    "a.yaml": "- {id: 1, name: liver}\n- {id: 2, name: tumour, colour: '#ff0080'}\n",
}


@pytest.mark.parametrize("name", FILES)
def test_own_lists_are_read_from_every_kind_of_file(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    liver, tumour = class_list(tmp_path / name).segments
    assert (liver.number, liver.name, liver.colour) == (1, "liver", None)
    assert (tumour.number, tumour.name, tumour.colour) == (2, "tumour", (255, 0, 128))


@pytest.mark.parametrize("text", ["1: liver\n4: tumour\n", '{"1": "liver", "4": "x"}'])
def test_a_map_of_ids_is_a_list(tmp_path, text):
    (tmp_path / "a.yml").write_text(text)
    assert list(class_list(tmp_path / "a.yml").names) == [1, 4]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,name\n1,a\n1,b\n", "number 1 twice"),
        ("a.csv", "id,name\n", "names no class"),
        ("a.csv", "number,name\n1,a\n", "needs an id and a name"),
        ("a.csv", "id,name\none,a\n", "needs an id and a name"),
        ("a.csv", "id,name\n1,\n", "the class 1 has no name"),
        ("a.csv", "id,name,colour\n1,a,red\n", "'red' is no colour"),
        ("a.csv", "id,name\n0,background\n", "labels start at 1"),
        ("a.json", "{", "needs an id and a name"),
        ("a.json", "7", "needs an id and a name"),
        ("a.yaml", "- [1, liver]", "needs an id and a name"),
        ("a.txt", "1 liver", "no class list: give total, total_mr, or a file"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidSettings, match=message):
        class_list(tmp_path / name)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidSettings, match="No such file"):
        class_list(tmp_path / "a.csv")
