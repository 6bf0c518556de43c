"""Commands that train: train demo."""

from pathlib import Path
from typing import Annotated

import typer

from napari_qmedsam.cli import shared

app = typer.Typer(no_args_is_help=True, help="Train models of the family.")


@app.command("demo")
def train_demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; resumed if it exists.")],
    config: Annotated[
        Path | None, typer.Option(help="Settings as YAML; options below win.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    workers: Annotated[int | None, typer.Option(min=0)] = None,
    threads: Annotated[int | None, typer.Option(min=0)] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Where the weights go; default OUT/demo.safetensors."),
    ] = None,
) -> None:
    """Train the demo model on phantoms.

    Ctrl-C saves the run; the same command goes on with it.
    """
    from napari_qmedsam.training.demo_model import train_demo_model
    from napari_qmedsam.training.settings import load_settings

    given = {"steps": steps, "seed": seed, "workers": workers, "threads": threads}
    settings = load_settings(config, given)
    with shared.bar("Training") as advance:
        path = train_demo_model(
            out,
            settings,
            export or out / "demo.safetensors",
            lambda step, losses: advance(
                step, settings.steps, f"Training, Dice loss {losses['dice']:.3f}"
            ),
        )
    shared.console().print(f"Weights: {path}", soft_wrap=True)
