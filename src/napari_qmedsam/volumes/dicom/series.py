"""DICOM series: which ones a folder holds, and which one is meant."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_qmedsam.contents import is_placeholder
from napari_qmedsam.errors import AmbiguousSeries
from napari_qmedsam.volumes.dicom.frames import Frame, frames_of
from napari_qmedsam.volumes.dicom.headers import (
    STRUCTURES,
    Header,
    ObjectKind,
    is_dicom,
    quiet_pydicom,
    read_header,
    text,
)
from napari_qmedsam.volumes.dicom.pixels import damaged_slice
from napari_qmedsam.volumes.dicom.stack import sorted_frames
from napari_qmedsam.volumes.files import unreadable

HEAD_BYTES = 1 << 16
"""The part of a file in which its series is named."""


@dataclass(frozen=True)
class Series:
    """One DICOM series of a folder.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID.
    description : str
        SeriesDescription; empty if the files have none.
    count : int
        Number of slices.
    files : tuple of str
        Paths in slice order.
    headers : tuple of Header
        One per file.
    notices : tuple of str
        What was left out of it.
    """

    uid: str
    description: str
    count: int
    files: tuple[str, ...]
    headers: tuple[Header, ...] = field(default=(), repr=False, compare=False)
    notices: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def frames(self, path: Path) -> list[Frame]:
        """Return the frames of all files; see :func:`frames_of`."""
        with quiet_pydicom():
            return [
                frame for header in self.headers for frame in frames_of(path, header)
            ]


@dataclass(frozen=True)
class _Folder:
    """What the files of a folder are."""

    headers: tuple[Header, ...]
    damaged: tuple[Path, ...]
    """Files that look like DICOM and cannot be read."""

    lost: tuple[Path, ...]
    """Names without a file behind them: empty, zeros, a pointer, a broken link."""

    def series(self, kind: ObjectKind) -> list[Series]:
        by_uid = defaultdict(list)
        for header in self.headers:
            if header.kind is kind:
                by_uid[text(header.dataset, "SeriesInstanceUID")].append(header)
        return [_series(uid, by_uid[uid]) for uid in sorted(by_uid)]


def list_series(path: str | Path, kind: ObjectKind = ObjectKind.IMAGE) -> list[Series]:
    """Return the image series in the folder `path`, or in the folder of a file.

    Subfolders are not searched. Series without images (reports, structure
    sets, segmentations) are left out unless `kind` asks for them. The order is
    that of the UIDs.
    """
    path = Path(path)
    with quiet_pydicom():
        folder = _look_into(path if path.is_dir() else path.parent)
        return folder.series(kind)


def holds_dicom(folder: Path, look_at: int = 20) -> bool:
    """Tell whether one of the first files of a folder is DICOM.

    Hidden files do not count, as macOS leaves one beside each file.
    """
    files = (child for child in sorted(folder.iterdir()) if _is_candidate(child))
    for _, file in zip(range(look_at), files, strict=False):
        with file.open("rb") as stream:
            if is_dicom(stream.read(256)):
                return True
    return False


def choose_series(
    path: Path, wanted: str | None, kind: ObjectKind = ObjectKind.IMAGE
) -> Series:
    """Return the one series that `path` and `wanted` stand for, with all its slices.

    Parameters
    ----------
    path : Path
        A folder, or a file that stands for its series.
    wanted : str or None
        UID or exact description; it goes before the file.
    kind : ObjectKind
        What the series must hold.

    Raises
    ------
    AmbiguousSeries
        If several fit; the message lists them.
    UnreadableVolume
        If none fits, or a slice of the chosen one is damaged.
    """
    with quiet_pydicom():
        folder = _look_into(path if path.is_dir() else path.parent)
        found = folder.series(kind)
        if wanted is None and not path.is_dir():
            chosen = _series_of_file(path, found, kind)
        else:
            if not found:
                raise _nothing_found(path, folder, kind)
            chosen = _named_series(path, found, wanted)
        chosen = _of_one_class(path, chosen)
        _check_complete(path, folder, chosen)
        chosen = _of_one_patient(path, chosen)
        if kind is not ObjectKind.IMAGE:
            return chosen
        is_alone = len({series.uid for series in found}) == 1
        return _with_lost_told(path, folder, chosen, is_alone)


# Helpers ------------------------------------------------------------------


def _is_candidate(child: Path) -> bool:
    return child.is_file() and not child.name.startswith(".")


def _look_into(folder: Path) -> _Folder:
    headers, damaged, lost = [], [], []
    for file in sorted(folder.iterdir()):
        if file.is_symlink() and not file.exists() and file.name[0] != ".":
            lost.append(file)
        if not _is_candidate(file):
            continue
        header = read_header(file)
        if header is not None:
            headers.append(header)
            continue
        with file.open("rb") as stream:
            head = stream.read(256)
        if is_dicom(head):
            damaged.append(file)
        elif is_placeholder(head):
            lost.append(file)
    return _Folder(tuple(headers), tuple(damaged), tuple(lost))


def _series(uid: str, headers: list[Header]) -> Series:
    """Sort the files of a series by the place of their first frame."""
    by_file = {header.file: header for header in headers}
    try:
        firsts = [frames_of(header.file, header)[0] for header in headers]
    except ValueError:  # said when the series is read
        ordered = headers
    else:
        ordered = [by_file[frame.file] for frame in sorted_frames(firsts)]
    return Series(
        uid,
        text(headers[0].dataset, "SeriesDescription"),
        sum(header.frame_count for header in headers),
        tuple(str(header.file) for header in ordered),
        tuple(ordered),
    )


def _series_of_file(path: Path, found: list[Series], kind: ObjectKind) -> Series:
    header = read_header(path)
    if header is None:
        raise unreadable(
            path,
            "the file is not part of a readable DICOM image series",
            "Choose a folder with DICOM slices, and copy it again if damaged.",
        )
    uid = text(header.dataset, "SeriesInstanceUID")
    chosen = next((series for series in found if series.uid == uid), None)
    if chosen is None or header.kind is not kind:
        advice = ADVICE[kind]
        if header.sop_class == STRUCTURES:
            advice = "Give it as the labels of the image that it was drawn on."
        raise unreadable(
            path, f"it is a {header.class_name}, {_lack(header, kind)}", advice
        )
    return chosen


ADVICE = {
    ObjectKind.IMAGE: "Choose a slice, or the folder of a series.",
    ObjectKind.SEGMENTATION: "Choose a segmentation, or labels in another format.",
    ObjectKind.OTHER: "",
}
"""What to choose instead."""


def _lack(header: Header, kind: ObjectKind) -> str:
    if header.kind is ObjectKind.SEGMENTATION:
        return "which holds labels and no image"
    if kind is ObjectKind.SEGMENTATION:
        return "and no segmentation"
    return "which holds no image"


def _nothing_found(path: Path, folder: _Folder, kind: ObjectKind) -> Exception:
    classes = Counter(header.class_name for header in folder.headers)
    held = ", ".join(f"{count} x {name}" for name, count in classes.items())
    nested = any(child.is_dir() for child in path.iterdir())
    what = "image" if kind is ObjectKind.IMAGE else "segmentation"
    return unreadable(
        path,
        f"the folder holds no readable DICOM {what} series"
        + (f", but {held}" if held else ""),
        "Choose one of its subfolders."
        if nested
        else "Choose a folder with DICOM slices, and copy it again if damaged.",
    )


def _named_series(path: Path, found: list[Series], wanted: str | None) -> Series:
    fitting = found
    if wanted is not None:
        fitting = [s for s in found if wanted in (s.uid, s.description)]
        if not fitting:
            raise unreadable(
                path, f"it has no series '{wanted}'", f"It holds:{_listing(found)}"
            )
    if len(fitting) > 1:
        raise AmbiguousSeries(
            f"Cannot read '{path.name}': it holds {len(fitting)} DICOM series. "
            "Choose one with series= and its UID or its exact description, or "
            f"open one file of it.{_listing(fitting)}"
        )
    return fitting[0]


def _of_one_class(path: Path, chosen: Series) -> Series:
    """Leave out objects of another class, such as screenshots of a report.

    A file stands for its own class, a folder for the one with most frames.
    """
    counts: Counter[str] = Counter()
    for header in chosen.headers:
        counts[header.sop_class] += header.frame_count
    if len(counts) == 1:
        return chosen
    own = {h.sop_class for h in chosen.headers if h.file.name == path.name}
    kind = own.pop() if own and not path.is_dir() else counts.most_common(1)[0][0]
    kept = tuple(h for h in chosen.headers if h.sop_class == kind)
    others = Counter(h.class_name for h in chosen.headers if h.sop_class != kind)
    listed = ", ".join(f"{count} x {name}" for name, count in others.items())
    notice = (
        f"The series holds objects of several classes; {kept[0].class_name} was read "
        f"and {listed} left out."
    )
    return replace(
        chosen,
        headers=kept,
        files=tuple(str(header.file) for header in kept),
        count=counts[kind],
        notices=(notice,),
    )


def _of_one_patient(path: Path, chosen: Series) -> Series:
    """Refuse slices of several patients or studies; tell frames of reference.

    Tools that make names and numbers up give one series UID to scans of two patients,
    whose slices would lie between each other's. A number of its own for every file
    says nothing: SimpleITK writes such studies.
    """
    patients, studies, frames = (
        {text(h.dataset, keyword) for h in chosen.headers} - {""}
        for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
    )
    for values, what in ((patients, "patients"), (studies, "studies")):
        if 1 < len(values) < len(chosen.headers):
            raise unreadable(
                path,
                f"its slices are of {len(values)} {what}, under one SeriesInstanceUID",
                "Put each into a folder of its own.",
            )
    if not 1 < len(frames) < len(chosen.headers):
        return chosen
    notice = (
        f"Its slices name {len(frames)} frames of reference, so their positions may "
        "not belong together."
    )
    return replace(chosen, notices=(*chosen.notices, notice))


def _with_lost_told(
    path: Path, folder: _Folder, chosen: Series, is_alone: bool
) -> Series:
    """Refuse a series that may lack a slice whose file is there by name only.

    Where a folder holds several series it is told, as it may belong to any of them.
    """
    kinds = {_kind_of_name(Path(file)) for file in chosen.files}
    lost = [file.name for file in folder.lost if _kind_of_name(file) in kinds]
    if not lost:
        return chosen
    what = f"'{lost[0]}'" + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")
    if is_alone:
        raise unreadable(
            path,
            f"nothing is in {what}: empty, or only a pointer or link to a slice",
            "Fetch, copy or export it again, or remove it if it is no slice.",
        )
    notice = (
        f"Nothing is in {what} of this folder: if that was a slice of the series, it "
        "is missing."
    )
    return replace(chosen, notices=(*chosen.notices, notice))


def _kind_of_name(file: Path) -> str:
    """Return the suffix of a name; none of a UID, whose last number looks like one."""
    suffix = file.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def _listing(found: list[Series]) -> str:
    return "".join(
        f"\n  {s.uid}  '{s.description}'  {s.count} slice{'s' * (s.count != 1)}"
        for s in found
    )


def _check_complete(path: Path, folder: _Folder, chosen: Series) -> None:
    """Refuse a series with a damaged slice: at an end it would not show as a gap.

    A file belongs to the series if it names it and the same kind of object;
    reports and structure sets of a series name another kind.
    """
    kind = text(chosen.headers[0].dataset, "SOPClassUID")
    listed = set(chosen.files)
    for header in folder.headers:
        data = header.dataset
        if (
            str(header.file) not in listed
            and text(data, "SeriesInstanceUID") == chosen.uid
            and text(data, "SOPClassUID") == kind
        ):
            raise damaged_slice(path, header.file)
    for file in folder.damaged:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if kind.encode() in head[:1024] and _names_uid(head, chosen.uid):
            raise damaged_slice(path, file)


def _names_uid(head: bytes, uid: str) -> bool:
    """Tell whether a UID occurs whole, not as the start of a longer one."""
    whole = rb"(?<![0-9.])%b(?![0-9.])" % re.escape(uid.encode())
    return re.search(whole, head) is not None
