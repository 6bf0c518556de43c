"""Kill what writes, again and again, and see that nothing is lost.

    scripts/faults.py [--kills N] [--only NAME ...] [--seed S]

Each trial runs one action in a process of its own, which ends where it stands at a
random moment of its writing: from the first file or folder that it makes or changes,
for as long as an undisturbed one took from there. Then what it was to write must be
the old file or the new one, whole, and at the end the same action, undisturbed, must
succeed. Models are of the smallest kind, and processes are forked from one that has
the libraries loaded and never computes: threads that a computation leaves behind, such
as OpenCV's, are missing in a fork, which waits for them for ever once it changes their
number, as training does. Linux and macOS.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import torch
from tiny_model import TINY

from napari_qmedsam import Session, cli, quantize, read_labels
from napari_qmedsam.checkpoints.catalogue import CheckpointEntry
from napari_qmedsam.checkpoints.download import fetch, weights_path
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.errors import QMedSAMError
from napari_qmedsam.models import build_model
from napari_qmedsam.models.configuration import CONFIGS
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.volumes import write_volume
from napari_qmedsam.volumes.volume import Volume

SHAPE = (24, 96, 96)

PATIENCE = 600
"""Seconds after which an action is taken to hang."""


@dataclass(frozen=True)
class Action:
    """What is killed, and how it is told that nothing was lost.

    Parameters
    ----------
    name : str
    run : callable
        Takes the folder it works in; is called for the old result and for the new.
    check : callable
        Takes the folder; raises where what is there is neither old nor new.
    prepare : callable
        Takes the folder; called before each trial, and never killed.
    """

    name: str
    run: Callable[[Path], None]
    check: Callable[[Path], None]
    prepare: Callable[[Path], None] = lambda folder: None


def labels(value: int) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint16)
    array[4:20, 20:70, 20:70] = value
    return array


def check_labels(path: Path) -> None:
    """Old and new labels differ in their type too: 1 is uint8, 700 is not."""
    found = read_labels(path).array
    for value in (1, 700):
        if np.array_equal(found, labels(value)):
            return
    raise AssertionError(f"{path.name} is neither the old nor the new labels")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def next_value(folder: Path) -> int:
    """Return 1 and 700 in turn, whichever was not asked for last."""
    mark = folder / "turn"
    mark.write_text("" if mark.exists() and mark.read_text() else "x")
    return 700 if mark.read_text() else 1


def saving(name: str) -> Action:
    def run(folder: Path) -> None:
        session = Session(Volume(np.zeros(SHAPE, np.int16)))
        session.labels[...] = labels(next_value(folder))
        session.save_labels(folder / name)

    return Action(f"save {name}", run, lambda folder: check_labels(folder / name))


def command(*arguments: object) -> None:
    """Run the command line as a user does."""
    sys.argv = ["qmedsam", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as stop:
        if stop.code:
            raise AssertionError(
                f"qmedsam {arguments[0]} ended with {stop.code}"
            ) from None


def quantizing() -> Action:
    target, known = "m.qmedsam.safetensors", {}

    def run(folder: Path, bits: int | None = None) -> None:
        bits = bits or (4 if next_value(folder) == 1 else 3)
        source = folder.parent / "tiny.safetensors"
        quantize(str(source), folder / target, bits=bits, slices=1, backend="torch")

    def check(folder: Path) -> None:
        if not known:
            # The same seed gives the same bytes, so two checksums are all there is.
            for bits in (4, 3):
                with tempfile.TemporaryDirectory(dir=folder.parent) as other:
                    finish(in_child(partial(run, bits=bits), Path(other)), "quantize")
                    known[sha256(Path(other) / target)] = bits
        assert sha256(folder / target) in known, "the model is neither old nor new"

    return Action("quantize", run, check)


def training() -> Action:
    few = {"warmup": 1, "slices_per_step": 1, "samples": 1, "validation_slices": 1}

    def run(folder: Path) -> None:
        config = folder / "few.yaml"
        config.write_text(json.dumps({"steps": 6, **few}))
        where = ("--out", folder / "run", "--model", "tiny", "--workers", 0)
        # The log of a run that has nothing left to do is no output of ours.
        command("train", "float", *where, "--config", config)

    def check(folder: Path) -> None:
        from napari_qmedsam.checkpoints.source import read_card

        for path in (folder / "run").glob("*"):
            if path.suffix == ".safetensors":
                read_card(path)
            elif path.suffix == ".pt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".json":
                json.loads(path.read_text())

    def prepare(folder: Path) -> None:
        # A run that is done would not write again.
        if (folder / "run" / "small.safetensors").exists():
            shutil.rmtree(folder / "run")

    return Action("train", run, check, prepare)


def evaluating() -> Action:
    def run(folder: Path) -> None:
        data = folder.parent
        inputs = ("--image", data / "image.nii", "--labels", data / "truth.nii")
        model = ("--model", data / "tiny.safetensors", "--backend", "torch")
        command("evaluate", *inputs, *model, "--json", folder / "report.json")

    def check(folder: Path) -> None:
        assert json.loads((folder / "report.json").read_text())["mean"]

    return Action("evaluate", run, check)


def fetching(address: str, content: bytes) -> Action:
    checksum = hashlib.sha256(content).hexdigest()
    entry = CheckpointEntry(
        "made-up", "Made-up weights", "demo", "made-up.pth", (address,), address,
        "none", len(content), checksum, "",
    )  # fmt: skip

    def run(folder: Path) -> None:
        os.environ["QMEDSAM_HOME"] = str(folder / "home")
        weights_path(entry).unlink(missing_ok=True)
        fetch(entry)

    def check(folder: Path) -> None:
        os.environ["QMEDSAM_HOME"] = str(folder / "home")
        path = weights_path(entry)
        if path.exists():
            assert sha256(path) == checksum, "a fetched file is not whole"

    return Action("fetch", run, check)


def autosaving() -> Action:
    def run(folder: Path) -> None:
        session = Session(Volume(np.zeros(SHAPE, np.int16)))
        session.add_object(Box3D(20, 20, 4, 70, 70, 20), object_id=1)
        session.labels[...] = labels(next_value(folder))
        saver = Autosave(session.volume, folder / "state")
        saver.path = folder / "state" / f"{saver.path.name.split('-')[0]}-0-0.npz"
        saver.write(session.objects, session.labels, is_closed=True)

    def check(folder: Path) -> None:
        saver = Autosave(Volume(np.zeros(SHAPE, np.int16)), folder / "state")
        left = saver.left_behind()
        assert left is not None, "the unsaved work is gone"
        same = [np.array_equal(left.labels, labels(value)) for value in (1, 700)]
        assert any(same), "the unsaved work is neither old nor new"
        assert left.objects[0].box.z_max == 20

    return Action("autosave", run, check)


class Writing:
    """Notices when this process first makes or changes a file in a folder.

    Parameters
    ----------
    folder : Path
    kill_after : float or None
        Seconds from then on after which the process ends, without a chance to do
        anything about it.
    """

    EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.truncate")

    def __init__(self, folder: Path, kill_after: float | None) -> None:
        self.folder, self.kill_after = str(folder), kill_after
        self.began: float | None = None
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.began is not None or event not in self.EVENTS:
            return
        path = arguments[0]
        if not isinstance(path, (str, os.PathLike)):
            return
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        # The mark of whose turn it is belongs to this script.
        if not str(path).startswith(self.folder) or str(path).endswith("turn"):
            return
        self.began = time.perf_counter()
        if self.kill_after is not None:
            # The default of this signal is to end the process where it stands.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(self.kill_after, 1e-6))


def in_child(
    run: Callable[[Path], None], folder: Path, kill_after: float | None = None
) -> int:
    """Start `run` on a folder in a forked process; its output goes nowhere."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        writing = Writing(folder, kill_after)
        run(folder)
        took = time.perf_counter() - (writing.began or time.perf_counter())
        if kill_after is None:
            note_of(os.getpid()).write_text(str(took))
        status = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        note_of(os.getpid()).write_text(repr(error))
    finally:
        os._exit(status)


def note_of(child: int) -> Path:
    """Where a child leaves the seconds of its writing, or what went wrong."""
    return Path(tempfile.gettempdir(), f"faults-{child}")


def wait(child: int, what: str) -> int:
    """Return the status of a process once it has ended, as it must."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"{what} did not end within {PATIENCE} s")


def finish(child: int, what: str) -> float:
    """Wait for an undisturbed process, which must succeed; return its writing time."""
    status = wait(child, what)
    note = note_of(child)
    said = note.read_text() if note.exists() else f"status {status}"
    note.unlink(missing_ok=True)
    if status:
        raise AssertionError(f"{what} failed: {said}")
    return float(said)


def trial(action: Action, folder: Path, kills: int, chance: random.Random) -> int:
    """Kill an action `kills` times; return how often it was really ended by it."""
    seconds = []
    for _ in range(3):
        action.prepare(folder)
        seconds.append(finish(in_child(action.run, folder), action.name))
        action.check(folder)
    ended = 0
    for _ in range(kills):
        action.prepare(folder)
        child = in_child(action.run, folder, chance.uniform(0, min(seconds)))
        status = wait(child, action.name)
        ended += os.WIFSIGNALED(status)
        note = note_of(child)
        if note.exists():
            said = note.read_text()
            note.unlink()
            raise AssertionError(f"{action.name} after a kill failed: {said}")
        action.check(folder)
    action.prepare(folder)
    finish(in_child(action.run, folder), f"{action.name} after the kills")
    action.check(folder)
    return ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of names")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    CONFIGS["tiny"] = TINY
    lost = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        base = Path(scratch)
        content = random.Random(1).randbytes(8 << 20)
        (base / "made-up.pth").write_bytes(content)
        server, address = serve(base)
        finish(in_child(save_tiny, base), "saving a model")
        write_volume(Volume(labels(200).astype(np.int16)), base / "image.nii")
        write_volume(Volume(labels(1).astype(np.uint8)), base / "truth.nii")
        actions = [
            *map(saving, ("l.nii.gz", "l.mhd", "l.nhdr", "l.nrrd", "l.npz")),
            autosaving(),
            fetching(f"{address}/made-up.pth", content),
            quantizing(),
            evaluating(),
            training(),
        ]
        for number, action in enumerate(actions):
            if options.only and not action.name.startswith(tuple(options.only)):
                continue
            folder = base / str(number)
            folder.mkdir()
            chance = random.Random(options.seed)
            try:
                ended = trial(action, folder, options.kills, chance)
            except (AssertionError, QMedSAMError, OSError, ValueError) as error:
                lost += 1
                print(f"{action.name}: LOST: {error}", flush=True)
                continue
            print(
                f"{action.name}: {options.kills} kills in its writing, {ended} before "
                "its end; every file old or new and whole; goes on afterwards",
                flush=True,
            )
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)
    return 1 if lost else 0


def save_tiny(folder: Path) -> None:
    torch.manual_seed(0)
    save_model(build_model("tiny"), folder / "tiny.safetensors")


def serve(folder: Path) -> tuple[int, str]:
    """Serve a folder from a process of its own; return that and its address."""
    handler = partial(QuietHandler, directory=str(folder))
    with QuietServer(("127.0.0.1", 0), handler) as server:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            server.serve_forever()
        return child, f"http://127.0.0.1:{server.server_port}"


class QuietServer(HTTPServer):
    """Takes it that those it serves are killed."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves the folder and says nothing of it."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
