"""What the tutorial shows must work."""

import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


def test_pictures_that_it_links_exist():
    targets = re.findall(r"\]\(((?!http)[^)#]+)\)", TUTORIAL.read_text("utf-8"))
    assert targets
    for target in targets:
        assert (TUTORIAL.parent / target).exists(), target


@pytest.mark.slow
def test_the_script_prints_the_table(tmp_path, monkeypatch, capsys):
    from napari_qmedsam.phantoms.abdomen import abdomen_case
    from napari_qmedsam.volumes import write_labels, write_volume
    from napari_qmedsam.volumes.volume import Modality

    monkeypatch.chdir(tmp_path)
    case = abdomen_case(Modality.CT, 0, (24, 128, 128), (10.0, 2.7, 2.7))
    write_volume(case.volume, tmp_path / "ct.nii.gz")
    write_labels(case.labels.array, case.volume, tmp_path / "reference.nii.gz")
    (example,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text("utf-8"), re.S)
    exec(compile(example, "tutorial.md", "exec"), {})
    assert len([line for line in example.splitlines() if "import" in line]) <= 3
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["variant", "object"]
    names = ["demo FP32", "demo 4-bit P-COMQ", "demo 2-bit P-COMQ"]
    assert [row.split("  ")[0] for row in rows[:3]] == names
    assert rows[4].startswith("1 object on slices 10 to 19;")
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    rows = [row for row in table.splitlines() if row.startswith("| demo")]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in names]
