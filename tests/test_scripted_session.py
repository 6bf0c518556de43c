"""A whole session from scan to table, as a script: no Qt, no viewer."""

import csv

import numpy as np
import pytest

from napari_qmedsam import open_session, read_labels
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.prompts import Box2D, Box3D
from napari_qmedsam.segmentation.propagation import Direction
from napari_qmedsam.volumes.volume import Modality
from napari_qmedsam.volumes.writing import write_labels

ORGANS = ("spleen", "left kidney", "aorta")


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Return a CT phantom on disk, its reference labels and a box per organ."""
    folder = tmp_path_factory.mktemp("scan")
    case = abdomen_case(Modality.CT)
    labels = case.labels.array
    ids = {name: i for i, name in case.names.items()}
    areas = [(labels == ids[name]).sum(axis=(1, 2)) for name in ORGANS]
    middle = int(np.argmax(np.min(areas, axis=0)))
    boxes = {}
    for name in ORGANS:
        slab = labels[middle - 2 : middle + 3] == ids[name]
        box = Box2D.enclosing(slab.any(axis=0))
        boxes[name] = Box3D(
            box.x_min, box.y_min, middle - 2, box.x_max, box.y_max, middle + 3
        )
    shifted = case.volume.array + 1024  # labels are written as whole numbers from 0
    path = write_labels(
        np.clip(shifted, 0, None).astype(np.uint16), case.volume, folder / "ct.nii.gz"
    )
    return path, labels, boxes, ids


def test_scan_to_table(scan, tmp_path):
    path, reference, boxes, ids = scan

    # Open, draw three boxes, fill in 3D.
    session = open_session(path, model="demo", backend="torch")
    for name, box in boxes.items():
        session.add_object(box, name)
    updates = list(session.iter_segment())
    assert [u.slice_index for u in updates] == sorted(u.slice_index for u in updates)
    assert len(updates) == 5
    assert set(np.unique(session.labels)) == {0, 1, 2, 3}
    filled = session.labels.copy()

    # Correct a slice: a tighter box there, and on from it.
    spleen = session.objects[1]
    middle = spleen.box.middle_slice
    truth = reference[middle] == ids["spleen"]
    with session.history.step():
        session.set_box(1, middle, Box2D.enclosing(truth))
        session.segment([1], middle)
    session.propagate(middle, Direction.UP, [1])
    corrected = session.labels.copy()
    assert not np.array_equal(corrected, filled)
    np.testing.assert_array_equal(corrected[: middle - 2], filled[: middle - 2])
    session.undo()
    session.undo()
    np.testing.assert_array_equal(session.labels, filled)
    session.redo()
    session.redo()
    np.testing.assert_array_equal(session.labels, corrected)

    # Quantize to 4 and 2 bits.
    for bits in (4, 2):
        target = tmp_path / f"demo-{bits}.qmedsam.safetensors"
        session.quantize(bits, target, method="rtn", slices=1)
    sizes = [variant.file_bytes for variant in session.variants]
    assert sizes == sorted(sizes, reverse=True)

    # Compare with the labels.
    table = session.compare(reference)
    comparison = table.comparison
    assert [o.reference_id for o in comparison.objects] == [ids[n] for n in ORGANS]
    whole, four, two = (comparison.results[name] for name in session.variants.names)
    assert whole.mean.dsc > 0.5
    assert two.mean.dsc < four.mean.dsc
    # Four bits change less of the float masks than two.
    changed = [np.count_nonzero(r.labels != whole.labels) for r in (four, two)]
    assert changed[0] < changed[1]
    # The labels of the session, but for the slices that were corrected.
    others = np.isin(filled, (2, 3))
    assert (whole.labels[others] == filled[others]).mean() > 0.99

    # Save, and read it all again.
    saved = session.save_labels(tmp_path / "labels.nii.gz")
    again = read_labels(saved)
    np.testing.assert_array_equal(again.array, session.labels)
    np.testing.assert_allclose(again.affine, session.volume.affine, atol=1e-6)
    written = table.save(tmp_path / "table.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(written.splitlines()))
    assert len(rows) == 3 * 4  # means and three objects of three variants
    for row, result in zip(rows, comparison.results.values(), strict=False):
        assert row["variant"] == result.variant.name
        assert float(row["DSC %"]) == pytest.approx(100 * result.mean.dsc, abs=0.005)
    assert [float(r["change against FP32"]) for r in rows[:3]] == pytest.approx(
        [100 * (r.mean.dsc - whole.mean.dsc) for r in (whole, four, two)], abs=0.006
    )
    third = open_session(path, str(target), backend="torch")
    third.add_object(boxes["aorta"], "aorta", 3)
    third.segment()
    np.testing.assert_array_equal(third.labels == 3, two.labels == 3)
