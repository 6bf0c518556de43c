"""The cases of a cohort: images with their labels or boxes, found or listed."""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.datasets.files import LABEL_ENDINGS, entries, stem_of
from napari_qmedsam.errors import InvalidSettings, QMedSAMError, UnusableData
from napari_qmedsam.prompts import Box3D, parse_box
from napari_qmedsam.volumes.volume import Modality

Key = Callable[[str], str | None]
"""What image and labels have in common in a name; None where a name does not fit."""

PLACE = "{case}"
"""What stands in a pattern for the part that image and labels have in common."""

CASE_COLUMNS = ("image", "label", "modality", "patient")
"""Columns of a list of cases; the last two may be left out."""

BOX_COLUMNS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
"""Columns of a list of boxes, besides `image` and, if wanted, `name` and `modality`."""


@dataclass(frozen=True)
class NamedBox:
    """A box of an object, with the object's name, which may be empty."""

    box: Box3D
    name: str = ""


@dataclass(frozen=True)
class Case:
    """One image of a cohort with what belongs to it.

    Parameters
    ----------
    name : str
        Unique in the cohort; file names are made of it.
    image : Path
        File, or folder of a DICOM series.
    labels : Path, optional
        The reference, for cases to be scored.
    boxes : tuple of NamedBox
        For cases to be segmented.
    modality : Modality, optional
        None leaves it to the file.
    patient : str
        Cases of one patient count as one in statistics. Default: the name.
    """

    name: str
    image: Path
    labels: Path | None = None
    boxes: tuple[NamedBox, ...] = ()
    modality: Modality | None = None
    patient: str = ""

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.name)

    @property
    def inputs(self) -> dict[str, Path]:
        """What is read of the case, by what it is."""
        found = {"image": self.image}
        return found if self.labels is None else {**found, "labels": self.labels}


@dataclass(frozen=True)
class Cohort:
    """Cases in the order of their names, and what was left out of them.

    Parameters
    ----------
    cases : tuple of Case
        Never empty.
    notices : tuple of str
        Sentences on files that belong to no case.
    """

    cases: tuple[Case, ...]
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen: dict[str, Case] = {}
        for case in self.cases:
            if case.name in seen:
                raise InvalidSettings(
                    f"Two images make one case '{case.name}': "
                    f"'{seen[case.name].image}' and '{case.image}'. Rename one of them."
                )
            seen[case.name] = case


def pair_folders(images: Path, labels: Path, pattern: str | None = None) -> Cohort:
    """Pair images with labels by the names of their files.

    Parameters
    ----------
    images, labels : Path
        Two folders, or twice the same; folders in them are looked through. A MedSAM
        ``.npz`` holds its own labels.
    pattern : str, optional
        Names of image and labels without their suffixes, parted by a colon:
        ``{case}_0000:{case}``. Default: equal names, but for ``_0000`` of the image
        and ``_labels``, ``_label``, ``_seg``, ``_mask`` or ``_gt`` of the labels.

    Raises
    ------
    UnusableData
        If a folder is not there, or nothing pairs.
    InvalidSettings
        If the pattern is none, or two files are one case.
    """
    of_image, of_labels = _patterns(pattern)
    references: dict[str, Path] = {}
    for path in _readable(labels):
        name = _relative(path, labels)
        key = of_labels(name)
        is_image = images == labels and key == name and path.suffix != ".npz"
        if key is None or is_image:
            continue
        if key in references:
            raise InvalidSettings(
                f"'{references[key]}' and '{path}' are both labels of '{key}'. Give a "
                "--pattern that tells them apart."
            )
        references[key] = path
    cases, bare = [], []
    used = set(references.values())
    for path in _readable(images):
        key = of_image(_relative(path, images))
        if path in used and path.suffix != ".npz":
            continue
        if key is None or key not in references:
            bare.append(path.name)
        else:
            cases.append(Case(_file_name(key), path, references[key]))
    if not cases:
        raise UnusableData(
            f"No image in '{images}' has labels in '{labels}'. Names pair if they are "
            f"equal, or say how: --pattern '{PLACE}_0000:{PLACE}'."
        )
    paired = {case.labels for case in cases}
    lone = [p.name for p in references.values() if p not in paired]
    notices = (
        *_left_out(bare, "without labels"),
        *_left_out(lone, "labels without an image"),
    )
    return Cohort(tuple(sorted(cases, key=lambda c: c.name)), notices)


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
                _case_name(image, path.parent),
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
    there = {p.relative_to(images).as_posix() for p in _readable(images)}
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
            _case_name(images / image, images),
            images / image,
            boxes=tuple(found),
            modality=modalities[image],
        )
        for image, found in sorted(boxes.items())
    )
    return Cohort(cases, _left_out(sorted(there - boxes.keys()), "without a box"))


# Helpers ------------------------------------------------------------------


def _readable(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UnusableData(f"There is no folder '{folder}'.")
    return entries(folder)


def _relative(path: Path, root: Path) -> str:
    """Return a path below a folder without its suffix, with slashes."""
    return path.relative_to(root).with_name(stem_of(path)).as_posix()


def _file_name(key: str) -> str:
    return key.strip("/.").replace("/", "__") or "case"


def _case_name(image: Path, root: Path) -> str:
    """Return the name of a case by that of its image, which need not be there."""
    is_below = image.is_relative_to(root)
    return _file_name(_relative(image, root) if is_below else stem_of(image))


def _patterns(pattern: str | None) -> tuple[Key, Key]:
    """Return how the names of images and of labels are brought together."""
    if pattern is None:
        return (
            lambda name: name.removesuffix("_0000"),
            lambda name: _without(name, LABEL_ENDINGS),
        )
    parts = pattern.split(":")
    if len(parts) != 2 or any(part.count(PLACE) != 1 for part in parts):
        raise InvalidSettings(
            f"--pattern '{pattern}' must name image and labels, each with {PLACE} "
            f"once: {PLACE}_0000:{PLACE}"
        )
    return _matcher(parts[0]), _matcher(parts[1])


def _matcher(part: str) -> Key:
    before, after = map(re.escape, part.split(PLACE))
    form = re.compile(f"((?:.*/)?){before}(.+){after}")

    def key(name: str) -> str | None:
        found = form.fullmatch(name)
        return None if found is None else found[1] + found[2]

    return key


def _without(name: str, endings: Sequence[str]) -> str:
    for ending in endings:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _left_out(names: Iterable[str], what: str) -> tuple[str, ...]:
    names = list(names)
    if not names:
        return ()
    few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (f"Left out, {what}: {len(names)} ({few}).",)


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
