"""The command that measures speed: bench."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_qmedsam.cli import options, shared
from napari_qmedsam.errors import InvalidSettings, UnsupportedBackend

LIST = "comma-separated"


def bench(
    models: Annotated[
        str, typer.Option(metavar="LIST", help=f"Models or files, {LIST}.")
    ] = "demo,lite_medsam",
    backends: Annotated[
        str, typer.Option(metavar="LIST", help=f"{LIST.capitalize()}.")
    ] = "torch,openvino",
    precisions: Annotated[
        str, typer.Option(metavar="LIST", help="As --precision of segment takes them.")
    ] = "fp32,bf16",
    devices: Annotated[
        str, typer.Option(metavar="LIST", help="As --device of segment takes them.")
    ] = "cpu",
    threads: Annotated[
        str, typer.Option(metavar="LIST", help="CPU threads; 0: the backend's own.")
    ] = "0",
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Medians of N.")] = 7,
    cases: Annotated[
        bool,
        typer.Option(
            help="Also the fourteen cases of QMedSAM's Table 8, generated: as the last "
            "setup runs them, and object by object in torch, as its authors began."
        ),
    ] = False,
    sample: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Slices of a case that are run; the time of others is reckoned, and "
            "marked *. 0 runs all, which takes hours.",
        ),
    ] = 4,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for bench.md, bench.json and bench.png.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure how fast models run here: encoder, decoder, start, memory.

    Every setup runs in processes of its own, the first with nothing in the cache.
    Let nothing else run meanwhile. ONEDNN_MAX_CPU_ISA=AVX512_CORE in the environment
    switches VNNI, bf16 and AMX off, AVX512_CORE_BF16 AMX alone.
    """
    from napari_qmedsam.benchmark import cases as all_cases
    from napari_qmedsam.benchmark import tables
    from napari_qmedsam.benchmark.machine import peak_gflops, this_machine
    from napari_qmedsam.benchmark.setups import Setup, measure_setup, setups_of
    from napari_qmedsam.checkpoints.arithmetic import Precision
    from napari_qmedsam.runtime.registry import BackendName, Device, Runtime

    counts = _numbers(threads)
    setups, left_out = setups_of(
        models.split(","),
        _choices(BackendName, backends, "--backends"),
        _choices(Precision, precisions, "--precisions"),
        _choices(Device, devices, "--devices"),
        counts,
    )
    if output is not None:
        shared.make_folder(output)
    machine = this_machine()
    floats = {"fp32": "float32", "bf16": "bfloat16"}
    wanted = {str(setup.runtime.precision) for setup in setups} & floats.keys()
    peaks = {
        (count, name): peak_gflops(count, floats[name])
        for count in counts
        for name in sorted(wanted)
    }
    measured, found = [], []
    rows = len(setups) + (len(all_cases.TABLE_8) if cases else 0)
    with shared.bar("Measuring") as advance, tempfile.TemporaryDirectory() as work:
        for i, setup in enumerate(setups):
            advance(i, rows, str(setup))
            place = Path(work) / str(i)
            try:
                measured.append((setup, measure_setup(setup, repeats, place)))
            except UnsupportedBackend as error:
                left_out.append(f"{setup}: {error}")
        if cases and measured:
            ours = measured[-1][0]
            first = Setup(
                ours.model, Runtime(BackendName.TORCH, threads=counts[-1]), ours.random
            )
            for i, case in enumerate(all_cases.TABLE_8):
                advance(len(setups) + i, rows, case.name)
                found.append(
                    (
                        case,
                        all_cases.measure_case(case, first, sample, True),
                        all_cases.measure_case(case, ours, sample, False),
                    )
                )
    rows_of_setups = tables.setup_rows(measured, peaks)
    parts = [str(machine), tables.markdown_of(tables.SETUP_HEADINGS, rows_of_setups)]
    if found:
        parts += [
            f"Cases by {measured[-1][0]}, against torch object by object.",
            tables.markdown_of(tables.CASE_HEADINGS, tables.case_rows(found)),
        ]
    text = "\n\n".join([*parts, *(f"Left out: {why}" for why in left_out)]) + "\n"
    if output is not None:
        tables.write_figures(output, machine, text, measured, found, peaks)
    if as_json:
        typer.echo(json.dumps(tables.as_json(machine, measured, found, peaks)))
        return
    typer.echo(text)


def _choices(kind: Any, text: str, option: str) -> list[Any]:
    return [shared.parse_choice(kind, part, option) for part in text.split(",")]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidSettings(
            f"--threads '{text}' must be whole numbers like 1,2."
        ) from None
