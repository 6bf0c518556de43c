"""models, fetch and info."""

import json
import os

from napari_qmedsam.checkpoints.catalogue import CATALOGUE


def test_models_and_info_say_where_weights_are(run):
    status, out, _ = run("models", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == {
        "qmedsam_lite",
        "demo",
        "demo-qat",
        "lite_medsam",
        "medsam_vit_b",
    }
    assert rows["demo"]["installed"]
    assert not rows["lite_medsam"]["installed"]
    status, out, _ = run("info", "demo", "--json")
    card = json.loads(out)
    assert card["architecture"] == "demo"
    assert "not for clinical use" in " ".join(card["limits"].split())
    assert card["size_bytes"] == os.path.getsize(card["file"])
    status, out, _ = run("info", "medsam_vit_b", "--json")
    assert json.loads(out)["installed"] is False


def test_fetch_says_where_the_weights_are_and_whose(run, monkeypatch, tmp_path):
    status, out, _ = run("fetch", "demo")
    assert status == 0
    assert out.strip().endswith("demo.safetensors")
    status, _, err = run("fetch", "medsam")
    assert status == 2
    assert "No checkpoint is called 'medsam'" in err
    path = tmp_path / "weights" / "lite_medsam.pth"
    path.parent.mkdir()
    path.touch()
    os.truncate(path, CATALOGUE["lite_medsam"].size_bytes)
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path))
    status, out, _ = run("fetch", "lite_medsam")
    assert status == 0
    assert str(path) in out
    assert "Apache-2.0" in out
    assert "Nature Communications" in out


def test_info_reads_well_without_json(run):
    status, out, _ = run("info", "demo")
    assert status == 0
    assert "architecture: demo\n" in out
    assert "{" not in out
