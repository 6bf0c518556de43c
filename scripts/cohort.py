"""Run one cohort in several ways, with kills, and see that it ends with one table.

    scripts/cohort.py [--volumes N] [--images DIR --labels DIR] [--kills N]
                      [--only NAME ...] [--out DIR]

Volumes are generated, CT and MR in turn, and those of two folders are added. They are
scored by the demo model and its 4-bit form with one worker, with two, and on the two
workers of a Dask scheduler on loopback. Then two workers, and those of the cluster,
again: once with a worker that is killed (SIGKILL) now and then, once with the driver
that is and is started again. Each way must end with the same `scores.csv` and
`summary.csv`, byte by byte, and without a case that failed. Needs the extra `cluster`.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from distributed import LocalCluster

from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.volumes import write_labels, write_volume
from napari_qmedsam.volumes.volume import Modality

COMMAND = [sys.executable, "-c", "from napari_qmedsam.cli import main; main()"]
WORKERS, LOOK_SECONDS = 2, 0.05
SHAPE, SPACING_MM = (3, 96, 96), (24.0, 3.6, 3.6)


@dataclass(frozen=True)
class Cohort:
    """What is scored, and the smaller one of the models that do."""

    images: Path
    labels: Path
    small: Path

    @property
    def total(self) -> int:
        """How many cases there are."""
        return len(list(self.images.iterdir()))


@dataclass(frozen=True)
class Way:
    """A way to run it; `victim` is what is killed: nothing, worker or driver."""

    name: str
    workers: int | None
    victim: str = ""


WAYS = (
    Way("one worker", 1),
    Way("two workers", 2),
    Way("two workers, killed", 2, "worker"),
    Way("two workers, driver killed", 2, "driver"),
    Way("cluster of two", None),
    Way("cluster, worker killed", None, "worker"),
    Way("cluster, driver killed", None, "driver"),
)


def make_cohort(folder: Path, volumes: int, own: Sequence[Path]) -> Cohort:
    """Write phantoms, copy what else there is, and quantize the model."""
    images, labels = folder / "images", folder / "labels"
    for made, source in zip((images, labels), own or (None, None), strict=True):
        made.mkdir(parents=True)
        for path in sorted(source.iterdir()) if source else ():
            shutil.copy(path, made)
    for seed in range(volumes):
        modality = Modality.CT if seed % 2 else Modality.MR
        case = abdomen_case(modality, seed, SHAPE, SPACING_MM)
        name = f"{modality.value}_{seed:03d}"
        write_volume(case.volume, images / f"{name}_0000.nii.gz")
        write_labels(case.labels.array, case.volume, labels / f"{name}.nii.gz")
    small = folder / "small.qmedsam.safetensors"
    quantize = ["quantize", "--model", "demo", "--bits", "4", "--slices", "2"]
    subprocess.run([*COMMAND, *quantize, "-o", small], check=True)
    return Cohort(images, labels, small)


@contextmanager
def machines(way: Way) -> Iterator[tuple[list[object], Callable[[int], list[int]]]]:
    """Yield the options of a way, and what tells the processes that do its work.

    The second takes the driver's process id.
    """
    if way.workers is not None:
        yield ["--workers", way.workers], spawned_by
        return
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        nannies = cluster.workers.values()
        yield (
            ["--scheduler", cluster.scheduler_address],
            lambda _: [nanny.pid for nanny in nannies if nanny.pid],
        )


def spawned_by(driver: int) -> list[int]:
    """Return the workers of a driver: not what Python tracks its resources with."""
    children = psutil.Process(driver).children()
    return [c.pid for c in children if "spawn_main" in " ".join(c.cmdline())]


def run(
    way: Way, cohort: Cohort, folder: Path, kills: int, chance: random.Random
) -> int:
    """Run a way to its end; return how often something was killed before that."""
    command = [
        *COMMAND, "evaluate", "--images", cohort.images, "--labels", cohort.labels,
        "--mode", "volume", "--run", folder,
        "--model", "float:=demo", "--model", f"small:={cohort.small}",
    ]  # fmt: skip
    # A kill each time that so many cases are done.
    due = sorted(chance.sample(range(1, cohort.total), kills)) if way.victim else []
    done = 0
    with (
        machines(way) as (options, workers),
        (folder.with_suffix(".log")).open("w") as log,
    ):
        driver = None
        while driver is None or driver.poll() is None:
            if driver is None:
                driver = subprocess.Popen([*map(str, [*command, *options])], stderr=log)
            time.sleep(chance.uniform(0, 2 * LOOK_SECONDS))
            if not due or len(list(folder.glob("cases/*.json"))) < due[0]:
                continue
            if way.victim == "driver":
                driver.kill()
                driver.wait()
                driver = None
            else:
                victims = workers(driver.pid)
                if not victims:
                    continue
                os.kill(chance.choice(victims), signal.SIGKILL)
            due.pop(0)
            done += 1
    if driver.returncode:
        raise SystemExit(f"{way.name} ended with {driver.returncode}: {log.name}")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=60)
    parser.add_argument("--images", type=Path, help="more images, with --labels")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--kills", type=int, default=3, help="in each way with kills")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of ways")
    parser.add_argument("--out", type=Path, help="a new folder, to be kept")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    own = [given.images, given.labels] if given.images else []
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="cohort-") as scratch:
        out = given.out or Path(scratch)
        cohort = make_cohort(out / "data", given.volumes, own)
        tables = set()
        for number, way in enumerate(WAYS):
            if not way.name.startswith(tuple(given.only)):
                continue
            folder = out / f"run-{number}"
            start = time.monotonic()
            done = run(way, cohort, folder, given.kills, chance)
            seconds = round(time.monotonic() - start)
            sums = [
                hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]
                for name in ("scores.csv", "summary.csv")
            ]
            tables.add(tuple(sums))
            print(
                f"{way.name}: {cohort.total} cases, {done} kills, {seconds} s, tables "
                f"{' '.join(sums)}",
                flush=True,
            )
    if len(tables) > 1:
        raise SystemExit("The tables differ.")
    print("All tables are the same.")


if __name__ == "__main__":
    main()
