"""Images paired with labels by the names of their files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_qmedsam.cohort.cases import (
    Case,
    Cohort,
    file_name,
    left_out,
    readable_entries,
    relative_stem,
)
from napari_qmedsam.datasets.files import LABEL_ENDINGS
from napari_qmedsam.errors import InvalidSettings, UnusableData

Key = Callable[[str], str | None]
"""What image and labels have in common in a name; None where a name does not fit."""


PLACE = "{case}"
"""What stands in a pattern for the part that image and labels have in common."""


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
    for path in readable_entries(labels):
        name = relative_stem(path, labels)
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
    for path in readable_entries(images):
        key = of_image(relative_stem(path, images))
        if path in used and path.suffix != ".npz":
            continue
        if key is None or key not in references:
            bare.append(path.name)
        else:
            cases.append(Case(file_name(key), path, references[key]))
    if not cases:
        raise UnusableData(
            f"No image in '{images}' has labels in '{labels}'. Names pair if they are "
            f"equal, or say how: --pattern '{PLACE}_0000:{PLACE}'."
        )
    paired = {case.labels for case in cases}
    lone = [p.name for p in references.values() if p not in paired]
    notices = (
        *left_out(bare, "without labels"),
        *left_out(lone, "labels without an image"),
    )
    return Cohort(tuple(sorted(cases, key=lambda c: c.name)), notices)


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
