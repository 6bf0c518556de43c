"""The cases of a cohort: images with their labels or boxes, found or listed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_qmedsam.datasets.files import entries, stem_of
from napari_qmedsam.errors import InvalidSettings, UnusableData
from napari_qmedsam.prompts import Box3D
from napari_qmedsam.volumes.volume import Modality


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


# Helpers ------------------------------------------------------------------


def readable_entries(folder: Path) -> list[Path]:
    """Return what can be read in a folder, which must be there."""
    if not folder.is_dir():
        raise UnusableData(f"There is no folder '{folder}'.")
    return entries(folder)


def relative_stem(path: Path, root: Path) -> str:
    """Return a path below a folder without its suffix, with slashes."""
    return path.relative_to(root).with_name(stem_of(path)).as_posix()


def file_name(key: str) -> str:
    """Return a name that files can be made of."""
    return key.strip("/.").replace("/", "__") or "case"


def case_name(image: Path, root: Path) -> str:
    """Return the name of a case by that of its image, which need not be there."""
    is_below = image.is_relative_to(root)
    return file_name(relative_stem(image, root) if is_below else stem_of(image))


def left_out(names: Iterable[str], what: str) -> tuple[str, ...]:
    """Return a sentence on files that belong to no case; none for no files."""
    names = list(names)
    if not names:
        return ()
    few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (f"Left out, {what}: {len(names)} ({few}).",)
