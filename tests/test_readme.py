"""What the README shows must work, and what the page on Python shows."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np

README = Path(__file__).parents[1] / "README.md"
API = README.parent / "docs" / "api.md"


def test_the_python_example_runs_and_writes_labels(tmp_path, monkeypatch):
    from napari_qmedsam.phantoms.abdomen import abdomen_case
    from napari_qmedsam.volumes import write_volume
    from napari_qmedsam.volumes.volume import Modality

    monkeypatch.chdir(tmp_path)
    case = abdomen_case(Modality.CT, 0, (24, 128, 128), (10.0, 2.7, 2.7))
    write_volume(case.volume, tmp_path / "ct.nii.gz")
    (example,) = re.findall(
        r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert len([line for line in example.splitlines() if line]) == 5
    exec(compile(example, "README.md", "exec"), {})
    labels = nib.load("liver_labels.nii.gz").get_fdata()
    assert labels.shape == (128, 128, 24)
    assert set(np.unique(labels)) == {0, 1}
    assert np.flatnonzero(labels.any(axis=(0, 1))).tolist() == list(range(10, 20))
    # The page's blocks follow one another, but for a question of the reader's own.
    names = {"enough": lambda labels: labels.any()}
    blocks = re.findall(r"```python\n(.*?)```", API.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "api.md", "exec"), names)
    assert (nib.load("labels.nii.gz").get_fdata() > 0).any()
    assert Path("labels.nii.gz.provenance.json").exists()


def test_pictures_and_pages_that_it_links_exist():
    for target in re.findall(
        r"\]\(((?!http)[^)#]+)\)", README.read_text(encoding="utf-8")
    ):
        assert (README.parent / target).exists(), target
