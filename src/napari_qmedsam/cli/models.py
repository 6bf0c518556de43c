"""Commands about model files and what they run on: models, fetch, info, devices."""

import json
from typing import Annotated

import typer

from napari_qmedsam.cli import options, shared


def models(
    as_json: options.JsonOption = False,
) -> None:
    """List the models, where they come from and whether they are here."""
    from napari_qmedsam.checkpoints.catalogue import CATALOGUE
    from napari_qmedsam.checkpoints.default_model import AUTO, DEFAULT
    from napari_qmedsam.checkpoints.download import is_fetched, weights_path

    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "licence": entry.licence,
            "size_bytes": entry.size_bytes,
            "installed": is_fetched(entry),
            "is_default": entry is DEFAULT,
            "path": str(weights_path(entry)),
            "page": entry.page,
        }
        for entry in CATALOGUE.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.table import Table

    table = Table()
    for heading in ("name", "what", "licence", "on this machine"):
        table.add_column(heading)
    for row in rows:
        here = "yes" if row["installed"] else "fetched when first used"
        table.add_row(*(str(row[key]) for key in ("name", "title", "licence")), here)
    console = shared.console()
    console.print(table)
    console.print(f"Here the default, {AUTO}, is {DEFAULT.name}.")


def fetch(
    model: Annotated[str, typer.Argument(metavar="NAME", help="See qmedsam models.")],
) -> None:
    """Get the weights of a model now, in place of when it is first used."""
    from napari_qmedsam.checkpoints.catalogue import entry_of
    from napari_qmedsam.checkpoints.download import fetch as fetch_weights

    entry = entry_of(model)
    with shared.bar(f"Downloading {entry.name}") as advance:
        path = fetch_weights(
            entry, progress=lambda done, total: advance(done, total or done)
        )
    console = shared.console()
    console.print(f"{entry.title}: {path}", soft_wrap=True)
    if entry.citation:
        console.print(f"Licence {entry.licence}. Cite: {entry.citation}")


def info(
    model: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A model name or weights file.")
    ],
    as_json: options.JsonOption = False,
) -> None:
    """Show a model's card: architecture, size, origin, limits."""
    from rich.text import Text

    from napari_qmedsam.checkpoints.card import describe

    card = describe(model)
    if as_json:
        typer.echo(json.dumps(card, indent=2))
        return
    console = shared.console()
    for key, value in card.items():
        # Lists of layers and the like are for --json; what is short is shown.
        if isinstance(value, dict):
            value = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items())
        title = Text(f"{key.replace('_', ' ')}:", style="bold")
        console.print(title, str(value), soft_wrap=True)


def devices(
    as_json: options.JsonOption = False,
) -> None:
    """List the devices of this machine, by backend, and the floats they multiply.

    A device is trusted with a model once its masks of three phantom slices are those
    of the CPU; that is looked at when it is first asked for.
    """
    from napari_qmedsam.errors import MissingDependency
    from napari_qmedsam.runtime.registry import BackendName

    found = []
    for backend in BackendName:
        try:
            found += [
                (
                    str(backend),
                    str(device),
                    [str(p) for p in backend.entry.floats(device)],
                )
                for device in backend.entry.devices_here()
            ]
        except (ImportError, MissingDependency):  # not installed
            continue
    if as_json:
        headings = ("backend", "device", "floats")
        rows = [dict(zip(headings, line, strict=True)) for line in found]
        typer.echo(json.dumps(rows, indent=2))
        return
    cells = [[backend, device, ", ".join(floats)] for backend, device, floats in found]
    shared.print_table([["backend", "device", "floats"], *cells])
