"""What the commands share: progress bar, loading a model, options that are refused."""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from napari_qmedsam import disk
from napari_qmedsam.disk import nearest_folder, why_not_writable
from napari_qmedsam.errors import InvalidSettings

if TYPE_CHECKING:
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter
    from napari_qmedsam.volumes.volume import Modality

FRAME = 3
"""Characters around a column of a table: a line and two blanks."""

OVERFLOWS = (
    "8-bit weights overflow in this processor's 8-bit kernels, so the integers are "
    "computed with in float32: right, but not faster."
)
"""What is said where int8 was asked for and cannot be had."""


def segmenter(
    model: str,
    weights: Path | None,
    backend: str,
    max_boxes: int,
    precision: str = "fp32",
    device: str = "auto",
) -> "SliceSegmenter":
    """Load a model, downloading it with a progress bar if needed."""
    from napari_qmedsam.runtime import Precision, Runtime, find_model, load, settle
    from napari_qmedsam.segmentation.segmenter import SliceSegmenter

    runtime = Runtime.parse(backend, precision, device)

    def notify(sentence: str) -> None:
        notices((sentence,))

    with bar("Downloading weights") as advance:

        def progress(done: int, total: int | None) -> None:
            advance(done, total or done)

        runtime = settle(model, runtime, weights, progress=progress, notify=notify)
        source = find_model(model, runtime, weights, progress=progress, notify=notify)
        loaded = load(source, runtime)
    is_int8 = loaded.info.precision == Precision.INT8
    if runtime.precision is Precision.INT8 and not is_int8:
        notices((OVERFLOWS,))
    return SliceSegmenter(loaded, max_boxes=max_boxes)


@contextmanager
def bar(title: str, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Progress bar on standard error; it appears with the first step."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    progress = Progress(*columns, console=console, transient=True, disable=hidden)
    task: Any = None

    def advance(done: int, total: int, description: str = title) -> None:
        nonlocal task
        if task is None:
            progress.start()
            task = progress.add_task(title)
        progress.update(task, completed=done, total=total, description=description)

    try:
        yield advance
    finally:
        if task is not None:
            progress.stop()


def given(context: typer.Context) -> set[str]:
    """Return the names of the parameters that stand on the command line."""
    return {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def command_line(
    context: typer.Context,
    leave_out: Collection[str] = (),
    settled: Mapping[str, Any] | None = None,
) -> str:
    """Write the command that is running, so that it can be typed again.

    Every parameter with a value is in it, given or by default, so that one that is
    new cannot be forgotten. Of paths only the name is told.

    Parameters
    ----------
    context : typer.Context
    leave_out : collection of str
        Names of parameters that do not change the result.
    settled : mapping, optional
        Values of parameters that were not given and are settled elsewhere.
    """
    words: list[str] = []
    group: Any = context
    while group.parent is not None:
        words.insert(0, group.info_name or "")
        group = group.parent
    words.insert(0, "qmedsam")  # the root has the name of whatever started it
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if value is None:
            value = (settled or {}).get(name)
        if name in leave_out or value is None or value is False:
            continue
        words.append(parameter.opts[0])
        if value is not True:
            words.append(value.name if isinstance(value, Path) else str(value))
    return shlex.join(words)


def refuse_idle(context: typer.Context, idle: set[str], why: str) -> None:
    """Refuse options that were given and would have no effect.

    Parameters
    ----------
    context : typer.Context
    idle : set of str
        Names of the parameters without effect; those not given are passed over.
    why : str
        The reason, as a sentence.

    Raises
    ------
    InvalidSettings
        Naming them as they are written.
    """
    named = idle & given(context)
    written = [p.opts[0] for p in context.command.params if p.name in named]
    if written:
        raise InvalidSettings(f"{', '.join(written)} would have no effect: {why}")


def parse_choice(kind: Any, text: str, option: str) -> Any:
    """Return the member of an enumeration that an option names."""
    known = [member.value for member in kind]
    if text not in known:
        raise InvalidSettings(f"{option} '{text}' must be {' or '.join(known)}.")
    return kind(text)


def class_ids(text: str | None) -> list[int] | None:
    """Read ``1,2,3``."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidSettings(
            f"--classes '{text}' must be whole numbers like 1,2,3."
        ) from None


def check_file_target(path: Path, *inputs: Path) -> None:
    """Refuse a place no file can be written to, before long work for it starts."""
    if path.is_dir():
        raise InvalidSettings(f"Cannot write '{path}': a folder has that name.")
    why = why_not_writable(path.parent)
    if why is not None:
        raise InvalidSettings(f"Cannot write '{path}': {why}.")
    keep_inputs(path, *inputs)


def keep_inputs(target: Path, *inputs: Path) -> None:
    """Refuse to write over what is read."""
    for path in inputs:
        if target.exists() and path.exists() and target.samefile(path):
            raise InvalidSettings(
                f"The output '{target}' is the input itself. Choose another name."
            )


def check_folder_target(path: Path) -> None:
    """Refuse a folder that cannot be made or written to, before work for it starts."""
    there = nearest_folder(path)
    why = why_not_writable(there) if there.is_dir() else "a file has that name"
    if why is not None:
        raise InvalidSettings(f"Cannot write to the folder '{path}': {why}.")


def make_folder(path: Path) -> None:
    """Make a folder for results, unless it exists."""
    check_folder_target(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettings(
            f"Cannot make the folder '{path}': {error.strerror}."
        ) from error


def write_report(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    try:
        disk.write_text(path, text)
    except OSError as error:
        raise InvalidSettings(f"Cannot write '{path}': {error.strerror}.") from error


def notices(notices: tuple[str, ...]) -> None:
    """Print what a reader had to say, on standard error."""
    for notice in notices:
        typer.echo(f"Note: {notice}", err=True)


def console() -> Any:
    """Return a console that prints text as it is: brackets in paths are no markup."""
    from rich.console import Console

    return Console(highlight=False, markup=False)


def heading(text: str) -> tuple[str | None, str]:
    """Part ``NAME:=MODEL``; a Windows path has a colon, but not this sign."""
    name, sign, model = text.partition(":=")
    return (name, model) if sign else (None, text)


def modality(text: str | None) -> "Modality | None":
    """Return the modality that an option names, in any case."""
    from napari_qmedsam.volumes.volume import Modality

    if text is None:
        return None
    known = {member.value.lower(): member for member in Modality}
    if text.lower() not in known:
        names = ", ".join(member.value for member in Modality)
        raise InvalidSettings(f"--modality '{text}' must be one of {names}.")
    return known[text.lower()]


def print_table(cells: Sequence[Sequence[str]], has_mean: bool = False) -> None:
    """Print rows of text, headings first; names to the left, numbers to the right.

    `has_mean` draws a line above the last row. Where a terminal is too narrow for all
    columns, several tables have a part of them each, below the same names.
    """
    from rich.table import Table

    screen = console()
    widths = [
        max(map(len, [*heading.split(), *(row[column] for row in cells[1:])]))
        for column, heading in enumerate(cells[0])
    ]
    for columns in _columns_that_fit(widths, screen.width):
        table = Table()
        full = sum(max(len(cells[0][c]), widths[c]) + FRAME for c in columns) + 1
        for column in columns:
            side: Literal["left", "right"] = "right" if column else "left"
            width = None if full <= screen.width else widths[column]
            table.add_column(cells[0][column], justify=side, width=width)
        for number, row in enumerate(cells[1:], 2):
            if has_mean and number == len(cells):
                table.add_section()
            table.add_row(*(row[column] for column in columns))
        screen.print(table)


def _columns_that_fit(widths: Sequence[int], limit: int) -> list[list[int]]:
    """Part the columns into tables; the first column comes in each of them."""
    first = widths[0] + FRAME + 1
    parts: list[list[int]] = [[0]]
    used = first
    for column, width in enumerate(widths[1:], 1):
        if used + width + FRAME > limit and len(parts[-1]) > 1:
            parts.append([0])
            used = first
        parts[-1].append(column)
        used += width + FRAME
    return parts
