import nibabel as nib
import numpy as np
import pytest
import torch
from paper import reports
from paper.paired import difference
from paper.scored_slices import case_slices, phantom_slices, score, scored_sets
from paper.simulation import simulate
from paper.tables import TABLE_1, make_rows
from reproduce import main

from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.datasets.calibration import from_phantoms
from napari_qmedsam.errors import UnusableData
from napari_qmedsam.evaluation.prompted_slices import PromptedSlice
from napari_qmedsam.evaluation.scores import Scores
from napari_qmedsam.models import build_model
from napari_qmedsam.volumes import Volume, Window


@pytest.mark.parametrize("seed", [0, 1])
def test_permuted_elements_err_less_on_the_smaller_three_quarters(seed):
    rows = {(row.bits, row.method): row for row in simulate(seed).rows}
    for bits in (2, 4, 8):
        comq = rows[bits, "COMQ"]
        permuted = rows[bits, "Permutation-COMQ, elements"]
        for ours, theirs in zip(permuted.quartiles[:3], comq.quartiles, strict=False):
            assert ours < theirs


def test_a_table_has_a_row_per_variant_and_the_float_row(tiny_config, tmp_path):
    torch.manual_seed(0)
    chosen = tuple(v for v in TABLE_1 if v.settings["bit_width"] in (2, 8))[:3]
    source = resolve_model(save_model(build_model("tiny"), tmp_path / "m.safetensors"))
    sets = {"phantoms": phantom_slices(2)}
    rows = list(make_rows(source, chosen, from_phantoms(tiny_config, 1), sets))
    assert [row.bits for row in rows] == sorted(
        v.settings["bit_width"] for v in chosen
    ) + [32]
    assert all(row.effective_bits >= row.bits for row in rows)
    assert rows[-1].published == (93.505, 92.969)
    cells = reports.table_cells(rows)
    first = dict(zip(cells[0], cells[1], strict=True))
    assert (first["paper DSC"], first["paper NSD"]) == ("29.79", "30.22")
    assert first["activations"] == "32"
    change = rows[0].scores["phantoms"].dsc - rows[-1].scores["phantoms"].dsc
    assert rows[0].differences["phantoms"].dsc == pytest.approx(100 * change)
    assert rows[-1].differences["phantoms"].dsc == 0
    paths = reports.write_table(cells, tmp_path, "table", "note")
    assert paths[0].read_text(encoding="utf-8").count("\n") == len(rows) + 1
    assert reports.draw_table(rows, tmp_path / "t.png", "title").stat().st_size > 5000


def test_differences_are_of_objects_over_all_their_slices():
    """Object 1 loses 0.1 and 0.3 on two slices, object 2 gains 0.1 on one."""
    volume = Volume(np.zeros((2, 4, 4), np.float32))
    none = np.zeros((2, 4, 4), bool)

    def item(*class_ids):
        window = Window(0, 1)
        return PromptedSlice(volume, 0, window, class_ids, (), none[: len(class_ids)])

    def scores(*values):
        return [Scores(dsc, dsc, 0.0, 0.0) for dsc in values]

    found = difference(
        [item(1, 2), item(1)],
        [scores(0.8, 0.6), scores(0.5)],
        [scores(0.9, 0.5), scores(0.8)],
    )
    assert found.dsc == pytest.approx(-10)
    # Resampled objects: both the first, both the second.
    assert found.dsc_interval == pytest.approx((-20, 10))
    assert found.lost == 0.5
    assert found.cells()[0] == "-10.00 (-20.00 to +10.00)"


def test_organs_and_the_rest_are_scored_apart(tmp_path):
    labels = np.zeros((16, 12, 2), np.uint8)
    labels[:10, :, :] = 5
    labels[10:, 2:, :] = 9
    for name, values in (("a", labels.astype(np.int16)), ("a_labels", labels)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    sets = scored_sets(0, cases=tmp_path, organs=[5], every=2)
    assert {name: [s.class_ids for s in of] for name, of in sets.items()} == {
        "organs": [(5,)]
    }
    assert len(scored_sets(0, cases=tmp_path)[tmp_path.name]) == 2


def test_labelled_cases_are_scored_at_their_own_spacing(tiny_config, tmp_path):
    image = np.zeros((12, 16, 3), np.int16)
    image[2:12, 3:15, 1] = 100
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    labels = (image > 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "a_labels.nii.gz")
    (only,) = case_slices(tmp_path)
    assert only.truths.sum() == 120
    torch.manual_seed(0)
    scores = score(build_model("tiny"), [only])
    assert 0 <= scores.dsc <= 1
    # One row is missed, 3 mm high, or one column, 2 mm wide.
    for axis, distance in ((1, 3), (2, 2)):
        shrunk = np.roll(only.truths, -1, axis) & only.truths
        (missed,) = only.scores(shrunk)
        assert missed.hd95_mm == distance


def test_a_folder_without_labels_is_one_clear_error(tmp_path):
    with pytest.raises(UnusableData, match="no images"):
        case_slices(tmp_path)


def test_simulation_writes_tables_and_figures(tmp_path, capsys):
    main(["simulation", "--out", str(tmp_path / "tables")])
    assert "Permutation-COMQ" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert names == {
        "simulation.csv",
        "simulation.md",
        "simulation_errors.png",
        "simulation_magnitudes.png",
    }


@pytest.mark.slow
def test_rows_of_nncf_are_scored_as_graphs(tiny_config, tmp_path):
    pytest.importorskip("nncf")
    torch.manual_seed(0)
    source = resolve_model(save_model(build_model("tiny"), tmp_path / "m.safetensors"))
    calibration = from_phantoms(tiny_config, 2)
    sets = {"phantoms": phantom_slices(1)}
    int8, int4, exact = make_rows(source, (), calibration, sets, with_graphs=True)
    assert (int8.bits, int8.activation_bits) == (8, 8)
    assert (int4.bits, int4.activation_bits) == (4, 32)
    assert exact.bits == 32
    print(int8.effective_bits, int4.effective_bits)
    assert 4 < int4.effective_bits < 12
    assert 8 < int8.effective_bits < 16
    for row in (int8, int4):
        assert abs(row.differences["phantoms"].dsc) < 20
