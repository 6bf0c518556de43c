"""Commands that train: train demo."""

from pathlib import Path
from typing import Annotated

import typer

from napari_qmedsam.cli import shared
from napari_qmedsam.errors import InvalidSettings

app = typer.Typer(no_args_is_help=True, help="Train models of the family.")


@app.command("demo")
def train_demo(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of the run; resumed if it exists."),
    ],
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings as YAML; options below win."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Optimizer steps in all.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of weights and phantoms.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Processes that make phantoms."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Of torch; 0 leaves it to torch."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the weights go; default DIR/demo.safetensors.",
        ),
    ] = None,
) -> None:
    """Train the demo model on phantoms.

    Ctrl-C saves the run; the same command goes on with it.
    """
    from napari_qmedsam.training.demo_model import train_demo_model
    from napari_qmedsam.training.settings import load_settings

    given = {"steps": steps, "seed": seed, "workers": workers, "threads": threads}
    settings = load_settings(config, given)
    target = export or out / "demo.safetensors"
    if target.suffix != ".safetensors":
        raise InvalidSettings(f"The weights file '{target}' must end in .safetensors.")
    if export is not None:
        shared.check_file_target(export)
    shared.make_folder(out)
    try:
        with shared.bar("Training") as advance:
            path = train_demo_model(
                out,
                settings,
                target,
                lambda step, losses: advance(
                    step, settings.steps, f"Training, Dice loss {losses['dice']:.3f}"
                ),
            )
    except KeyboardInterrupt:
        if (out / "last.pt").exists():
            typer.echo(
                f"The run is kept in '{out}'; the same command goes on.", err=True
            )
        raise
    shared.console().print(f"Weights: {path}", soft_wrap=True)
