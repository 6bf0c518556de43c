"""A report as files: one HTML that holds everything, Markdown, CSV, PNG and SVG."""

import base64
import html
from pathlib import Path

from napari_qmedsam.cohort.report import CohortReport, Section
from napari_qmedsam.disk import atomic_write
from napari_qmedsam.evaluation.tables import Cells, csv_text, markdown_text

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8884; text-align: left;
  vertical-align: top; min-width: 2.5rem; }
td.number, th.number { text-align: right; white-space: nowrap; }
figure { display: inline-block; margin: 0 1rem 1rem 0; max-width: 15rem; }
figure img { width: 15rem; display: block; }
figcaption { font-size: .8rem; }
img.plot { max-width: 100%; background: white; }
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Nothing is fetched from anywhere, and nothing runs."""

FILES = ("report.html", "report.md", "report.csv", "figure.png", "figure.svg")
"""What is written; the HTML needs none of the others."""


def write_report(report: CohortReport, folder: Path) -> Path:
    """Write a report in every form; each file whole or not at all.

    Parameters
    ----------
    report : CohortReport
    folder : Path
        Made if need be. Files of an earlier report are replaced.

    Returns
    -------
    Path
        The HTML.

    Raises
    ------
    OSError
        If the disk does not take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = (
        html_report(report).encode(),
        markdown_report(report).encode(),
        csv_text(report.summary).encode(),
        report.png,
        report.svg,
    )
    for name, content in zip(FILES, contents, strict=True):
        with atomic_write(folder / name) as part:
            part.write_bytes(content)
    return folder / FILES[0]


def html_report(report: CohortReport) -> str:
    """Return a report as one page that loads nothing."""
    title = html.escape(report.title)
    body = "".join(_html_section(section, report) for section in report.sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head>"
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )


def markdown_report(report: CohortReport) -> str:
    """Return a report as Markdown; pictures are in the HTML only, the figure beside."""
    parts = [f"# {report.title}\n"]
    for section in report.sections:
        if section.pictures:
            continue
        parts.append(f"## {section.title}\n")
        parts += [f"{text}\n" for text in section.text]
        if section.has_figure:
            parts.append("![Scores of every patient](figure.png)\n")
        if section.cells:
            parts.append(markdown_text(_escaped(section.cells)))
    return "\n".join(parts)


# Helpers ------------------------------------------------------------------


def _html_section(section: Section, report: CohortReport) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
    if section.has_figure:
        source = _data("image/svg+xml", report.svg)
        parts.append(f'<img class="plot" alt="Scores of every patient" src="{source}">')
    if section.cells:
        parts.append(_html_table(section.cells))
    for picture in section.pictures:
        caption = html.escape(picture.caption)
        parts.append(
            f'<figure><img alt="{caption}" src="{_data("image/png", picture.png)}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "".join(parts)


def _html_table(cells: Cells) -> str:
    head, *body = cells
    is_number = [
        any(texts[column] for texts in body)
        and all(_starts_a_number(texts[column]) for texts in body)
        for column in range(len(head))
    ]

    def row(tag: str, texts: list[str]) -> str:
        inner = "".join(
            # An interval stands below its number, so that all columns are in sight.
            f"<{tag} class=number>{html.escape(text).replace(' (', '<br>(')}</{tag}>"
            if number
            else f"<{tag}>{html.escape(text)}</{tag}>"
            for text, number in zip(texts, is_number, strict=True)
        )
        return f"<tr>{inner}</tr>"

    rows = "".join(row("td", list(texts)) for texts in body)
    return (
        f'<div class="table"><table><thead>{row("th", list(head))}</thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _starts_a_number(text: str) -> bool:
    """Tell whether a cell goes to the right: a number, its interval, or nothing."""
    return not text or text.lstrip("+-")[:1].isdigit()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _escaped(cells: Cells) -> Cells:
    return [[cell.replace("|", "\\|") for cell in row] for row in cells]
