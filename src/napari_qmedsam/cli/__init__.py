"""The command line: thin commands over the functions of the package.

Everything heavy is imported inside the commands, so that ``qmedsam --help``
answers at once. Bad input ends with exit code 2 and one line.
"""

import logging
import os
import sys
from typing import Annotated

import typer

import napari_qmedsam
from napari_qmedsam.cli import (
    benchmarking,
    evaluating,
    exporting,
    measuring,
    models,
    options,
    quantizing,
    replaying,
    segmenting,
    training,
)
from napari_qmedsam.errors import QMedSAMError

app = typer.Typer(
    name="qmedsam",
    help="Segment CT and MR volumes from boxes with MedSAM-family models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: options.SPELLINGS.get(name, name),
    },
)

app.command()(segmenting.demo)
app.command(epilog=options.COORDINATES)(segmenting.segment)
app.command()(replaying.replay)
app.command()(evaluating.evaluate)
app.command()(evaluating.evaluate_modalities)
app.command()(measuring.score)
app.command()(measuring.report)
app.command()(quantizing.quantize)
app.command()(exporting.export)
app.command()(benchmarking.bench)
app.command()(models.models)
app.command()(models.fetch)
app.command()(models.info)
app.command()(models.devices)
app.add_typer(training.app, name="train")

NEEDS_TORCH = (
    "This needs torch, which is not installed: pip install torch. Without it run "
    "exported graphs (`qmedsam export MODEL --format openvino` where torch is), or "
    "models that were converted on this machine before."
)

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of the errors typer raises for wrong options: click's, or typer's own
copy of click, by version."""


def main() -> None:
    """Run the command line; errors of the user's making become one line."""
    # The commands print notices and errors themselves; without a handler,
    # Python would print warnings of the log a second time.
    logging.getLogger("napari_qmedsam").addHandler(logging.NullHandler())
    try:
        status = app(standalone_mode=False)
    except QMedSAMError as error:
        _fail(str(error))
    except UsageProblem as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        # `qmedsam ... | head` has read enough. What is still buffered goes
        # nowhere, or Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        _fail(NEEDS_TORCH)
    except OSError as error:
        # A full disk, a missing right: no fault of ours to trace.
        where = f" '{error.filename}'" if error.filename else ""
        _fail(f"{error.strerror or error}{where}.")
    if status == INTERRUPTED:
        typer.echo("Stopped.", err=True)
    sys.exit(status if isinstance(status, int) else 0)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show version.")] = False,
) -> None:
    if version:
        typer.echo(napari_qmedsam.__version__)
        raise typer.Exit()


def _fail(message: str) -> None:
    typer.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
