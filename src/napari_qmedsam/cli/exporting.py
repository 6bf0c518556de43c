"""Commands that write graphs for other programs: export."""

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_qmedsam.cli import options, shared


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model name or weights file.")
    ] = "auto",
    weights: options.WeightsOption = None,
    form: Annotated[
        str, typer.Option("--format", help="openvino, onnx or onnx-qcdq.")
    ] = "openvino",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for encoder and decoder; default MODEL-FORMAT.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write encoder and decoder as graphs, and tell how they run.

    Quantized models keep their integers: weights as int8, activations rounded
    by constant scales. The folder loads like a model: segment --model DIR.
    """
    from napari_qmedsam.checkpoints.default_model import resolve_auto
    from napari_qmedsam.checkpoints.resolve import resolve_model
    from napari_qmedsam.runtime.exporting import ExportFormat, export_model

    model, weights = resolve_auto(model, weights)
    chosen = shared.parse_choice(ExportFormat, form, "--format")
    folder = output or Path(f"{Path(model).name.split('.')[0]}-{chosen.value}")
    shared.check_folder_target(folder)
    source = resolve_model(model, weights)
    result = export_model(source, chosen, folder)
    report = {
        "output": str(folder),
        "files": [str(path) for path in result.files],
        "size_bytes": result.size_bytes,
        "encoder": {
            "int8": list(result.encoder.int8),
            "float": list(result.encoder.floating),
        },
        "decoder": {
            "int8": list(result.decoder.int8),
            "float": list(result.decoder.floating),
        },
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    console = shared.console()
    for part in ("encoder", "decoder"):
        console.print(f"{part}: {getattr(result, part)} on OpenVINO here")
    console.print(f"{result.size_bytes / 1e6:.2f} MB: {folder}", soft_wrap=True)
