"""Tables as text: CSV for programs, Markdown, HTML and plain text for people."""

import csv
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from napari_qmedsam.disk import write_text
from napari_qmedsam.errors import InvalidSettings

Cells = Sequence[Sequence[str]]
"""Rows of text, headings first."""


def csv_text(cells: Cells) -> str:
    """Return a table as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def markdown_text(cells: Cells) -> str:
    """Return a table as Markdown."""
    head, *body = cells
    lines = [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in body),
    ]
    return "\n".join(lines) + "\n"


def plain_text(cells: Cells) -> str:
    """Return a table in columns of a fixed width, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if _is_number(cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def html_text(cells: Cells, note: str = "") -> str:
    """Return a table as HTML; names that hold ``<`` or ``&`` are shown as they are.

    Parameters
    ----------
    cells : sequence of sequence of str
    note : str
        A sentence below the table.
    """

    def row(tag: str, texts: Sequence[str]) -> str:
        inner = "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
        return f"<tr>{inner}</tr>"

    head, *body = cells
    rows = "".join(row("td", texts) for texts in body)
    return (
        f"<table><thead>{row('th', head)}</thead><tbody>{rows}</tbody></table>"
        f"<p>{html.escape(note)}</p>"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMATS = {".csv": csv_text, ".md": markdown_text}
"""How a table is written, by the end of the file's name."""


def save_table(cells: Cells, path: Path, note: str = "") -> Path:
    """Write a table in the form that the file's name asks for.

    Parameters
    ----------
    cells : sequence of sequence of str
    path : Path
    note : str
        A sentence above the table; Markdown only, CSV has no place for it.

    Raises
    ------
    InvalidSettings
        If the name ends otherwise, or the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        known = " or ".join(FORMATS)
        raise InvalidSettings(f"The table '{path.name}' must end in {known}.")
    text = FORMATS[path.suffix.lower()](cells)
    if note and path.suffix.lower() == ".md":
        text = f"{note}\n\n{text}"
    try:
        write_text(path, text)
    except OSError as error:
        raise InvalidSettings(f"Cannot write the table '{path}': {error}.") from error
    return path


class PrintedTable(ABC):
    """A result that prints itself as a table; notebooks show it as one."""

    @property
    @abstractmethod
    def cells(self) -> Cells:
        """Rows of text, headings first."""

    @property
    def note(self) -> str:
        """What the table does not show, in a sentence or two; may be empty."""
        return ""

    def save(self, path: str | Path) -> Path:
        """Write the table; the name ends in ``.csv`` or ``.md``.

        Raises
        ------
        InvalidSettings
            If it ends otherwise, or cannot be written.
        """
        return save_table(self.cells, Path(path), self.note)

    def __str__(self) -> str:
        return f"{plain_text(self.cells)}\n{self.note}".rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_text(self.cells, self.note)

    def _repr_markdown_(self) -> str:
        return f"{markdown_text(self.cells)}\n{self.note}".rstrip() + "\n"
