"""Weights files as scripts, servers and version control leave them."""

import argparse
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_qmedsam.checkpoints.exported import read_graph
from napari_qmedsam.checkpoints.source import ModelSource
from napari_qmedsam.checkpoints.state_dicts import read_state, tensor_names
from napari_qmedsam.errors import BadCheckpoint
from napari_qmedsam.models import CONFIGS, build_model

DEMO = CONFIGS["demo"]


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return build_model("demo").state_dict()


class Custom:
    """Stands for the classes that training scripts save with their weights."""


@pytest.mark.parametrize(
    "extra",
    [
        np.float64(0.93),
        np.int64(7),
        np.bool_(True),
        np.float32(1e-4),
        np.arange(4.0),
        argparse.Namespace(learning_rate=1e-4, out="runs"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_things_beside_the_weights_do_not_matter(
    tmp_path, state, extra, zipped
):
    path = tmp_path / "a.pth"
    content = {"model": state, "best": extra, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = read_state(path)
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert set(tensor_names(path)) == set(state)


def test_scalars_under_the_names_of_numpy_1(tmp_path, state):
    path = tmp_path / "a.pth"
    torch.save(
        {"model": state, "best": np.float64(0.5)},
        path,
        _use_new_zipfile_serialization=False,
    )
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(
        content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    )
    assert read_state(path).keys() == state.keys()


@pytest.mark.parametrize("held", [Custom(), print], ids=["class", "function"])
def test_what_could_run_code_is_named_and_not_loaded(tmp_path, state, held):
    torch.save({"model": state, "args": held}, tmp_path / "a.pth")
    name = "Custom" if isinstance(held, Custom) else "print"
    with pytest.raises(BadCheckpoint, match=f"it holds '.*{name}' beside its tensors"):
        read_state(tmp_path / "a.pth")


def test_a_pickle_that_runs_a_command_does_not_run_it(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (tmp_path / "a.pth").write_bytes(pickle.dumps({"model": Harm()}, protocol=2))
    with pytest.raises(BadCheckpoint):
        read_state(tmp_path / "a.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.onnx", "a.xml"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "an HTML page"),
        (b"", "is empty"),
    ],
)
def test_what_stands_in_for_weights_is_named(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    read = read_graph if name in ("a.onnx", "a.xml") else read_state
    with pytest.raises(BadCheckpoint, match=f"'{name}' is .*{said}|{said}"):
        read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_not_finite_are_refused(tmp_path, state, suffix, value):
    name = next(key for key, tensor in state.items() if tensor.is_floating_point())
    broken = {key: tensor.clone() for key, tensor in state.items()}
    broken[name].view(-1)[1] = value
    path = tmp_path / f"a{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(broken, path)
    count = broken[name].numel()
    with pytest.raises(BadCheckpoint, match=f"1 of {count} values.*tensor '{name}'"):
        ModelSource(DEMO, path).build()


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.model."]
)
def test_prefixes_of_training_go(tmp_path, state, prefix):
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "a.pt")
    assert list(read_state(tmp_path / "a.pt")) == list(state)


@pytest.mark.parametrize("key", ["model_state_dict", "weights", "student"])
def test_a_wrapped_state_dict_is_found_under_any_name(tmp_path, state, key):
    torch.save({key: state, "epoch": 3, "log": {"loss": 0.1}}, tmp_path / "a.pth")
    assert list(read_state(tmp_path / "a.pth")) == list(state)


def test_several_state_dicts_are_named(tmp_path, state):
    torch.save({"student": state, "teacher": state}, tmp_path / "a.pth")
    with pytest.raises(BadCheckpoint, match="several state dicts: student, teacher"):
        read_state(tmp_path / "a.pth")


def test_weights_as_numpy_arrays_are_read(tmp_path, state):
    torch.save({key: value.numpy() for key, value in state.items()}, tmp_path / "a.pth")
    found = read_state(tmp_path / "a.pth")
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_codes_without_scales_are_no_weights(tmp_path, state):
    codes = {key: value.to(torch.int8) for key, value in state.items()}
    torch.save(codes, tmp_path / "a.pth")
    with pytest.raises(BadCheckpoint, match="mistyped.*of int8"):
        ModelSource(DEMO, tmp_path / "a.pth").build()


def test_files_under_the_suffix_of_another_kind_are_called_so(tmp_path, state):
    save_file(state, tmp_path / "a.pth")
    with pytest.raises(BadCheckpoint, match=r"Rename it to 'a\.safetensors'"):
        read_state(tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.safetensors")
    with pytest.raises(BadCheckpoint, match=r"Rename it to 'b\.pth'"):
        read_state(tmp_path / "b.safetensors")


def test_a_zip_archive_is_told_from_a_cut_file(tmp_path, state):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("inner.pth", "x")
    with pytest.raises(BadCheckpoint, match="zip archive, which holds 'inner.pth'"):
        read_state(tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.pth")
    content = (tmp_path / "b.pth").read_bytes()
    (tmp_path / "b.pth").write_bytes(content[:-500])
    with pytest.raises(BadCheckpoint, match="the file is damaged or cut short"):
        read_state(tmp_path / "b.pth")


def test_a_header_as_long_as_two_letters_say_is_no_picture(tmp_path):
    length = int.from_bytes(b"BM", "little")
    text = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text + b"x")
    assert tensor_names(path) == ["a"]
