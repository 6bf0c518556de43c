"""Lists of classes: what a tool or a project numbers how, and in which colour.

Shipped are the classes of TotalSegmentator v2, tasks ``total`` (CT, 117) and
``total_mr`` (MR, 50), as its repository lists them (Apache-2.0).
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.volumes.label_bounds import label_bounds
from napari_qmedsam.volumes.segments import Segment, colour_from_hex

SHIPPED = {
    "total": "TotalSegmentator, CT",
    "total_mr": "TotalSegmentator, MR",
}
"""Names of the lists in the package, and how they are shown."""

LIMIT = 1 << 20
"""Bytes of a list; more is no list."""


@dataclass(frozen=True)
class ClassList:
    """Classes with their numbers, each number once.

    Parameters
    ----------
    title : str
    segments : tuple of Segment
        By number.

    Raises
    ------
    InvalidSettings
        If there is none, or two have a number in common.
    """

    title: str
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        numbers = [segment.number for segment in self.segments]
        if not numbers:
            raise InvalidSettings(f"The class list '{self.title}' names no class.")
        twice = sorted({n for n in numbers if numbers.count(n) > 1})
        if twice:
            raise InvalidSettings(
                f"The class list '{self.title}' has the number {twice[0]} twice."
            )
        ordered = sorted(self.segments, key=lambda segment: segment.number)
        object.__setattr__(self, "segments", tuple(ordered))

    @property
    def names(self) -> dict[int, str]:
        """Names by number."""
        return {segment.number: segment.name for segment in self.segments}

    def present_in(self, labels: NDArray[np.integer]) -> tuple[Segment, ...]:
        """Return the classes that have a voxel in a label volume."""
        there = label_bounds(labels)
        return tuple(s for s in self.segments if s.number in there)


def class_list(name: str | Path) -> ClassList:
    """Return a list by its name in the package, or from a file.

    Parameters
    ----------
    name : str or Path
        ``total``, ``total_mr``, or a ``.csv``, ``.json`` or ``.yaml`` file with id,
        name and, if wanted, colour (``#ff5a5f``, or three values from 0 to 255)
        of each class. JSON and YAML may also map ids to names.

    Raises
    ------
    InvalidSettings
        If there is no such list, or the file is none.
    """
    if str(name) in SHIPPED:
        text = (files("napari_qmedsam.volumes") / f"lists/{name}.csv").read_text()
        return ClassList(SHIPPED[str(name)], tuple(_rows(io.StringIO(text))))
    path = Path(name)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise InvalidSettings(
            f"'{path.name}' is no class list: give {', '.join(SHIPPED)}, or a file "
            f"that ends in {', '.join(_PARSERS)}."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read(LIMIT)
        return ClassList(path.stem, tuple(parse(io.StringIO(text))))
    except OSError as error:
        raise InvalidSettings(
            f"Cannot read the class list '{path}': {error.strerror}."
        ) from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        csv.Error,
        yaml.YAMLError,
    ) as error:
        if isinstance(error, InvalidSettings):
            raise
        raise InvalidSettings(
            f"The class list '{path.name}' needs an id and a name for each class, and "
            f"may give a colour ({' '.join(str(error).split())[:120]})."
        ) from error


# Helpers ------------------------------------------------------------------


def _rows(stream: io.StringIO) -> Iterator[Segment]:
    for row in csv.DictReader(stream, skipinitialspace=True):
        yield _segment({(key or "").strip().lower(): v for key, v in row.items()})


def _tree(tree: Any) -> Iterator[Segment]:
    if isinstance(tree, Mapping):
        for number, name in tree.items():
            yield Segment(int(number), str(name))
    else:
        for entry in tree:
            yield _segment(entry)


def _segment(entry: Mapping[str, Any]) -> Segment:
    name = str(entry["name"]).strip()
    if not name:
        raise ValueError(f"the class {entry['id']} has no name")
    colour = entry.get("colour") or entry.get("color")
    if isinstance(colour, Iterable) and not isinstance(colour, str):
        red, green, blue = (int(value) for value in colour)
        return Segment(int(entry["id"]), name, colour=(red, green, blue))
    return Segment(
        int(entry["id"]), name, colour=colour_from_hex(str(colour)) if colour else None
    )


_PARSERS = {
    ".csv": _rows,
    ".json": lambda stream: _tree(json.load(stream)),
    ".yaml": lambda stream: _tree(yaml.safe_load(stream)),
    ".yml": lambda stream: _tree(yaml.safe_load(stream)),
}
"""How a list is read, by the end of the file's name."""
