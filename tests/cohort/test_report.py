"""Reports of runs: whole in one file, the same each time, and silent on patients."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_qmedsam.cohort.executors import InThisProcess
from napari_qmedsam.cohort.merged_runs import read_runs
from napari_qmedsam.cohort.pairing import pair_folders
from napari_qmedsam.cohort.plan import Labelling, Plan, Scoring
from napari_qmedsam.cohort.report import make_report
from napari_qmedsam.cohort.report_writing import FILES, html_report, write_report
from napari_qmedsam.cohort.run_folder import RunFolder
from napari_qmedsam.cohort.running import run_cohort
from napari_qmedsam.errors import InvalidSettings


@pytest.fixture
def cases(folders):
    """Cases whose files are called after people."""
    images, labels = folders
    for number, name in enumerate(["SMITH_Anna", "JONES_Bob", "MEIER_Carl"]):
        image = images / f"ct_{number}_0000.nii.gz"
        image.rename(images / f"{name}_0000.nii.gz")
        (labels / f"ct_{number}.nii.gz").rename(labels / f"{name}.nii.gz")
    return pair_folders(*folders).cases


@pytest.fixture
def run(plan, cases, tmp_path):
    folder = RunFolder(tmp_path / "run")
    run_cohort(plan, cases, folder, InThisProcess())
    return folder


def test_every_form_is_written_and_no_name_of_a_patient(run, cases, tmp_path):
    cases[1].image.write_bytes(b"broken")
    plan = Plan(read_plan(run), Scoring())
    run_cohort(plan, cases, run, InThisProcess())
    page = write_report(make_report(read_runs([run.path])), tmp_path / "out")
    text = page.read_text()
    assert sorted(p.name for p in page.parent.iterdir()) == sorted(FILES)
    assert "2 cases of 2 patients, 2 models" in text
    assert "Failed, and counted nowhere: case 2." in text
    assert "Case 1, class" in text
    for path in page.parent.iterdir():
        content = path.read_bytes()
        assert not re.search(rb"smith|anna|jones|bob|meier|carl", content, re.I), path
        assert str(tmp_path).encode() not in content


def read_plan(run):
    from napari_qmedsam.cohort.plan import PlannedModel
    from napari_qmedsam.evaluation.variants import Variant

    names = [model["name"] for model in run.content()["models"]]
    return tuple(PlannedModel(Variant(name, name), "0" * 64) for name in names)


def test_the_page_loads_nothing(run):
    text = html_report(make_report(read_runs([run.path])))
    sources = re.findall(r'(?:src|href)="([^"]{,12})', text)
    assert len(sources) >= 3
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in text
    assert "default-src 'none'" in text


def test_it_is_the_same_each_time(run, tmp_path):
    for name in ("a", "b"):
        write_report(make_report(read_runs([run.path])), tmp_path / name)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes(), name


def test_the_figure_has_the_models_and_is_sound(run, tmp_path):
    report = make_report(read_runs([run.path]))
    assert report.png.startswith(b"\x89PNG")
    root = ElementTree.fromstring(report.svg)
    assert root.tag.endswith("svg")
    # Text is drawn as paths; its words stand in comments.
    assert b"float" in report.svg
    assert b"margin" in report.svg


def test_runs_of_other_models_on_the_same_cases_are_one(models, cases, tmp_path):
    folders = []
    for planned in models[0]:
        folder = RunFolder(tmp_path / planned.variant.name)
        run_cohort(Plan((planned,), Scoring()), cases, folder, InThisProcess())
        folders.append(folder.path)
    merged = read_runs(folders)
    assert [model["name"] for model in merged.models] == ["float", "small"]
    assert all(len(result.models) == 2 for result in merged.results)
    assert "&#x27;small&#x27;" in html_report(make_report(merged))


def test_runs_with_other_settings_are_refused(models, cases, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, tolerance in zip(paths, (2.0, 3.0), strict=True):
        plan = Plan(models[0], Scoring(tolerance_mm=tolerance))
        run_cohort(plan, cases, RunFolder(path), InThisProcess())
    with pytest.raises(InvalidSettings, match="made with other settings"):
        read_runs(paths)


def test_runs_of_other_files_are_refused(models, cases, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, planned in zip(paths, models[0], strict=True):
        plan = Plan((planned,), Scoring())
        run_cohort(plan, cases, RunFolder(path), InThisProcess())
        cases[0].labels.write_bytes(cases[1].labels.read_bytes())
    with pytest.raises(InvalidSettings, match="made of other files"):
        read_runs(paths)


def test_what_scored_nothing_is_refused(models, cases, tmp_path):
    (tmp_path / "run").mkdir()
    folder = RunFolder(tmp_path / "run")
    run_cohort(Plan(models[0], Labelling(tmp_path)), [], folder, InThisProcess())
    with pytest.raises(InvalidSettings, match="wrote labels and scored nothing"):
        read_runs([folder.path])
    with pytest.raises(InvalidSettings, match="is no folder of a run"):
        read_runs([tmp_path])


def test_names_are_shown_as_they_are(models, cases, tmp_path):
    from dataclasses import replace

    (planned, _) = models[0]
    models[1]["<b>&"] = models[1]["float"]
    odd = replace(planned, variant=replace(planned.variant, name="<b>&"))
    folder = RunFolder(tmp_path / "run")
    run_cohort(Plan((odd,), Scoring()), cases, folder, InThisProcess())
    assert "<td>&lt;b&gt;&amp;</td>" in html_report(
        make_report(read_runs([folder.path]))
    )


@pytest.mark.slow
def test_a_browser_shows_tables_and_pictures(run, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    page = write_report(make_report(read_runs([run.path])), tmp_path / "out")
    # The page may not run anything itself; a copy with a script counts what is seen.
    counting = (
        "<script>addEventListener('load', () => { document.title = [...document.images]"
        ".filter(i => i.naturalWidth > 50).length + ' pictures, ' + "
        "[...document.querySelectorAll('td')].filter(c => c.offsetWidth > 20).length + "
        "' cells'; })</script></body>"
    )
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
    probe = tmp_path / "probe.html"
    probe.write_text(text.replace("</body>", counting))
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
    seen = subprocess.run(
        [*common, "--virtual-time-budget=4000", "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    pictures, cells = map(int, re.findall(r"(\d+) pictures, (\d+) cells", seen)[0])
    assert pictures == 1 + 2 * 3
    assert cells == text.count("<td")
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*common, f"--screenshot={shot}", "--window-size=1000,2000", page.as_uri()],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    from matplotlib.image import imread

    assert np.ptp(imread(shot)[..., :3]) > 0.9
