"""Cases that a CSV lists: images with their labels, or with boxes."""

import csv
from collections.abc import Sequence
from pathlib import Path

from napari_qmedsam.cohort.cases import (
    Case,
    Cohort,
    NamedBox,
    case_name,
    left_out,
    readable_entries,
)
from napari_qmedsam.errors import InvalidSettings, QMedSAMError
from napari_qmedsam.prompts import parse_box
from napari_qmedsam.volumes.volume import Modality

CASE_COLUMNS = ("image", "label", "modality", "patient")
"""Columns of a list of cases; the last two may be left out."""


BOX_COLUMNS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
"""Columns of a list of boxes, besides `image` and, if wanted, `name` and `modality`."""


def read_case_list(path: Path) -> Cohort:
    """Read cases from a CSV of image, label, modality and patient.

    Paths count from the folder of the list. Whether they are there is found when
    the case's turn comes: one that is missing does not stop the others.

    Raises
    ------
    InvalidSettings
        If the file is not such a list; the line is named.
    """
    cases = []
    for line, row in _rows(path, CASE_COLUMNS[:2], CASE_COLUMNS[2:]):
        image = path.parent / row["image"]
        cases.append(
            Case(
                case_name(image, path.parent),
                image,
                path.parent / row["label"] if row["label"] else image,
                modality=_modality(row.get("modality", ""), path, line),
                patient=row.get("patient", ""),
            )
        )
    return Cohort(tuple(sorted(cases, key=lambda c: c.name)))


def read_boxes(images: Path, path: Path) -> Cohort:
    """Read the boxes of a folder's images from a CSV, a line for each box.

    Columns are ``image`` (a name in the folder), ``x_min``, ``y_min``, ``z_min``,
    ``x_max``, ``y_max``, ``z_max`` in voxels, maxima excluded, and if wanted
    ``name`` and ``modality``. A box on one slice ends one further than it begins.
    Objects of an image are numbered in the order of the lines.

    Raises
    ------
    InvalidSettings, InvalidBox
        If the file is not such a list, or a box is none; the line is named.
    UnusableData
        If the folder is not there.
    """
    there = {p.relative_to(images).as_posix() for p in readable_entries(images)}
    boxes: dict[str, list[NamedBox]] = {}
    modalities: dict[str, Modality | None] = {}
    for line, row in _rows(path, ("image", *BOX_COLUMNS), ("name", "modality")):
        try:
            box = parse_box(",".join(row[c] for c in BOX_COLUMNS))
        except QMedSAMError as error:
            raise type(error)(f"Line {line} of '{path.name}': {error}") from error
        boxes.setdefault(row["image"], []).append(NamedBox(box, row.get("name", "")))
        named = _modality(row.get("modality", ""), path, line)
        modalities[row["image"]] = named or modalities.get(row["image"])
    cases = tuple(
        Case(
            case_name(images / image, images),
            images / image,
            boxes=tuple(found),
            modality=modalities[image],
        )
        for image, found in sorted(boxes.items())
    )
    return Cohort(cases, left_out(sorted(there - boxes.keys()), "without a box"))


def _modality(text: str, path: Path, line: int) -> Modality | None:
    if not text:
        return None
    known = {member.value.lower(): member for member in Modality}
    if text.lower() not in known:
        raise InvalidSettings(
            f"Line {line} of '{path.name}': the modality '{text}' must be one of "
            f"{', '.join(m.value for m in Modality)}."
        )
    return known[text.lower()]


def _rows(
    path: Path, needed: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a CSV with their numbers, cells without blanks around."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSettings(f"Cannot read '{path}': {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(
            f"Cannot read '{path}': it is no text in UTF-8."
        ) from error
    reader = csv.reader(text.splitlines())
    head = [cell.strip().lower() for cell in next(reader, [])]
    if not set(needed) <= set(head) or not set(head) <= {*needed, *optional}:
        raise InvalidSettings(
            f"The first line of '{path.name}' must name the columns "
            f"{', '.join(needed)} (and may name {', '.join(optional)}); it is "
            f"'{','.join(head)}'."
        )
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            raise InvalidSettings(
                f"Line {reader.line_num} of '{path.name}' has {len(cells)} cells, "
                f"but there are {len(head)} columns."
            )
        values = dict(zip(head, (c.strip() for c in cells), strict=True))
        if not Path(values["image"]).name:
            raise InvalidSettings(
                f"Line {reader.line_num} of '{path.name}' names no image."
            )
        rows.append((reader.line_num, values))
    if not rows:
        raise InvalidSettings(f"'{path.name}' lists nothing.")
    return rows
