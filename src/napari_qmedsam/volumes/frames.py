"""Files with several frames: which one to read."""

from pathlib import Path

from napari_qmedsam.volumes.files import unreadable


def choose_frame(
    path: Path, frame: int | None, count: int
) -> tuple[int, tuple[str, ...]]:
    """Return the frame to read, and a notice if nobody chose it.

    Parameters
    ----------
    path : Path
        Named in the error.
    frame : int or None
        The caller's choice, from 0.
    count : int
        Frames in the file; a plain volume has one.

    Raises
    ------
    UnreadableVolume
        If there is no such frame.
    """
    if frame is None:
        if count == 1:
            return 0, ()
        return 0, (f"The file holds {count} frames; frame 0 was read.",)
    if not 0 <= frame < count:
        last = "only frame 0" if count == 1 else f"frames 0 to {count - 1}"
        raise unreadable(path, f"there is no frame {frame}", f"It holds {last}.")
    return int(frame), ()
