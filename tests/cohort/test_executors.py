"""Workers: processes of this machine and of a Dask cluster, and their deaths."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from napari_qmedsam.cohort.executors import (
    DIED,
    TOO_LARGE,
    WATCH_SECONDS,
    DaskCluster,
    LocalProcesses,
    bound_memory,
)
from napari_qmedsam.cohort.pairing import pair_folders
from napari_qmedsam.cohort.plan import Plan, PlannedModel, Scoring
from napari_qmedsam.cohort.run_folder import RunFolder
from napari_qmedsam.cohort.running import run_cohort
from napari_qmedsam.cohort.tables import score_cells
from napari_qmedsam.errors import InvalidSettings, MissingDependency
from napari_qmedsam.evaluation.variants import variant_of
from napari_qmedsam.runtime import Runtime


def double(item: int) -> int:
    return 2 * item


def die_at(marks: Path, lives: int, item: int) -> int:
    """Kill the worker that has item 1, as often as `lives` says."""
    if item == 1:
        mark = marks / f"{os.getpid()}-{time.monotonic_ns()}"
        if len(list(marks.iterdir())) < lives:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return item


def allocate(item: int) -> int:
    return len(bytearray(item << 20))


def allocate_watched(item: int) -> int:
    """Do so where the system bounds nothing, by what any system's worker does there."""
    bound_memory(1 << 30, watch=True)
    kept = bytearray(b"x") * (item << 20)
    time.sleep(5 * WATCH_SECONDS)
    return len(kept)


def fail(item: int) -> int:
    raise ValueError(f"{item} will not do")


def taken(outcomes):
    return sorted((o.item, o.value, o.error) for o in outcomes)


@pytest.fixture
def demo_plan() -> Plan:
    variant = variant_of("demo", "demo")
    return Plan((PlannedModel.of(variant),), Scoring())


def test_no_worker_is_refused():
    with pytest.raises(InvalidSettings, match="1 or more, not 0"):
        LocalProcesses(0)


def test_a_cluster_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependency, match="napari-qmedsam\\[cluster\\]"):
        next(DaskCluster("tcp://127.0.0.1:1").run(double, [1]))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra: cluster")
    monkeypatch.setattr("napari_qmedsam.cohort.executors.CONNECT_SECONDS", 0.2)
    with pytest.raises(InvalidSettings, match="No Dask scheduler answers at 'tcp://"):
        next(DaskCluster("tcp://127.0.0.1:1").run(double, [1]))


@pytest.mark.slow
def test_every_item_comes_back():
    assert taken(LocalProcesses(2).run(double, range(5))) == [
        (item, 2 * item, "") for item in range(5)
    ]


@pytest.mark.slow
def test_an_item_whose_worker_is_killed_is_tried_again(tmp_path):
    outcomes = LocalProcesses(2).run(partial(die_at, tmp_path, 2), range(4))
    assert taken(outcomes) == [(item, item, "") for item in range(4)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_given_up(tmp_path):
    outcomes = list(LocalProcesses(1).run(partial(die_at, tmp_path, 99), range(3)))
    assert {o.item: o.error for o in outcomes} == {0: "", 1: DIED, 2: ""}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_an_error_nobody_foresaw_is_told_and_the_others_go_on():
    outcomes = taken(LocalProcesses(1).run(fail, [1, 2]))
    assert outcomes[0] == (1, None, "ValueError: 1 will not do")
    assert len(outcomes) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps such a bound")
def test_memory_of_a_worker_is_bounded():
    outcomes = taken(LocalProcesses(1, 1 << 30).run(allocate, [100, 2000]))
    assert outcomes == [(100, 100 << 20, ""), (2000, None, "MemoryError: ")]


@pytest.mark.slow
def test_memory_of_a_worker_is_watched_where_the_system_does_not_bound_it():
    outcomes = taken(LocalProcesses(1).run(allocate_watched, [100, 2000, 200]))
    assert outcomes == [
        (100, 100 << 20, ""),
        (200, 200 << 20, ""),
        (2000, None, TOO_LARGE),
    ]


@pytest.mark.slow
def test_one_and_two_workers_and_a_cluster_give_one_table(
    phantoms, demo_plan, tmp_path
):
    distributed = pytest.importorskip("distributed", reason="needs the extra: cluster")
    cases = pair_folders(*phantoms).cases
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        executors = {
            "one": LocalProcesses(1, 4 << 30),
            "two": LocalProcesses(2, 4 << 30),
            "cluster": DaskCluster(cluster.scheduler_address),
        }
        tables = {
            name: score_cells(
                run_cohort(demo_plan, cases, RunFolder(tmp_path / name), executor)
            )
            for name, executor in executors.items()
        }
    assert len(tables["one"]) > 4
    assert tables["one"] == tables["two"] == tables["cluster"]


@pytest.mark.slow
def test_an_item_whose_cluster_worker_is_killed_is_tried_again(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra: cluster")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        executor = DaskCluster(cluster.scheduler_address)
        outcomes = executor.run(partial(die_at, tmp_path, 1), range(4))
        assert taken(outcomes) == [(item, item, "") for item in range(4)]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_no_worker_and_goes_on(
    phantoms, demo_plan, tmp_path
):
    """The command is killed after its first case, and run again to the end."""
    images, labels = phantoms
    command = [
        sys.executable, "-c", "from napari_qmedsam.cli import main; main()",
        "evaluate", "--images", images, "--labels", labels, "--model", "demo",
        "--workers", "2", "--run", tmp_path / "run",
    ]  # fmt: skip
    cases = tmp_path / "run" / "cases"
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (cases.is_dir() and list(cases.glob("*.json"))):
        assert driver.poll() is None
        time.sleep(0.01)
    workers = _children(driver.pid)
    driver.kill()
    driver.wait()
    assert workers
    deadline = time.monotonic() + 20
    while any(_is_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_alive(pid) for pid in workers)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "run")
    model = demo_plan.models[0]
    runtime = Runtime(threads=1)
    assert model.variant.runtime.backend == runtime.backend
    whole = run_cohort(
        demo_plan, pair_folders(images, labels).cases, RunFolder(tmp_path / "whole"),
        LocalProcesses(1),
    )  # fmt: skip
    told = [row[-4:] for row in score_cells(run.results())]
    assert told == [row[-4:] for row in score_cells(whole)]


def _children(pid: int) -> list[int]:
    if sys.platform != "linux":
        pytest.skip("children of a process are looked up in /proc")
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False
