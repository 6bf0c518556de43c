"""Work in another process: converted there, stopped there, told from there."""

import subprocess

import pytest
import torch

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.checkpoints.resolve import resolve_model
from napari_qmedsam.checkpoints.saving import save_model
from napari_qmedsam.errors import Cancelled
from napari_qmedsam.models import build_model
from napari_qmedsam.runtime import subprocess_worker
from napari_qmedsam.runtime.conversion import is_converted

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def source(tiny_config, tmp_path):
    torch.manual_seed(0)
    weights = save_model(build_model("tiny"), tmp_path / "tiny.safetensors")
    return resolve_model(str(weights))


def test_model_is_converted_once(source, monkeypatch, tmp_path):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    assert not is_converted(source)
    subprocess_worker.convert_in_subprocess(source)
    assert is_converted(source)

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(subprocess_worker, "run_in_subprocess", refuse)
    subprocess_worker.convert_in_subprocess(source)


def test_failure_is_left_to_the_loading(source, monkeypatch, tmp_path):
    monkeypatch.setenv("QMEDSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subprocess_worker, "CONVERT", "raise SystemExit(3)")
    subprocess_worker.convert_in_subprocess(source)
    assert not is_converted(source)


def test_program_tells_why_it_failed():
    program = "import pickle, sys; sys.exit(pickle.load(sys.stdin.buffer))"
    assert subprocess_worker.run_in_subprocess(program, "no room") == (1, "no room")
    assert subprocess_worker.run_in_subprocess("pass", None) == (0, "")
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    code, complaint = subprocess_worker.run_in_subprocess(killed, None)
    assert code
    assert complaint
    silent = subprocess_worker.run_in_subprocess("raise SystemExit(3)", None)
    assert silent == (3, "its process ended with code 3 and said nothing.")


def test_cancelling_ends_the_program(monkeypatch):
    asked, started = [], []

    class Started(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    def second_time():
        asked.append(True)
        return len(asked) > 1

    monkeypatch.setattr(subprocess, "Popen", Started)
    with cancellable(second_time), pytest.raises(Cancelled):
        subprocess_worker.run_in_subprocess("import time; time.sleep(600)", None)
    (program,) = started
    assert program.returncode not in (None, 0)  # ended, and not by itself
