"""Open napari with the panel docked: ``python -m napari_qmedsam.gui.launch``."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_qmedsam.errors import QMedSAMError

if TYPE_CHECKING:
    import napari

    from napari_qmedsam.gui.segment.segment_panel import SegmentPanel

PLUGIN = "napari-qmedsam"

FIRST_SIZE = (1440, 900)
"""Pixels of the window, where the screen has them and napari remembers no other."""


def open_viewer(
    file: str | None = None, **options: bool
) -> tuple["napari.Viewer", "SegmentPanel"]:
    """Open a viewer with a volume and the panel.

    Parameters
    ----------
    file : str or None
        An image file or DICOM folder; without one the CT phantom is shown.
    **options
        For ``napari.Viewer``.

    Raises
    ------
    UnreadableVolume
        If the file cannot be read; no window has been opened then.
    """
    import napari
    from napari.layers import Layer

    from napari_qmedsam.gui.files import read_layers
    from napari_qmedsam.gui.samples import ct_phantom

    layers = ct_phantom() if file is None else read_layers(file)
    viewer = napari.Viewer(**options)
    _enlarge(viewer)
    for layer in layers:
        viewer.add_layer(Layer.create(*layer))
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment")
    return viewer, panel


def _enlarge(viewer: "napari.Viewer") -> None:
    """Make a window large enough for picture, layers and panel, if it is not."""
    from napari.settings import get_settings

    application = get_settings().application
    window = viewer.window._qt_window
    if application.save_window_geometry and application.window_size is not None:
        return
    room = window.screen().availableSize()
    width, height = FIRST_SIZE
    window.resize(min(width, room.width()), min(height, room.height()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run napari until its window is closed."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_qmedsam.gui.launch", description=__doc__
    )
    parser.add_argument("file", nargs="?", help="image file or DICOM folder")
    chosen = parser.parse_args(arguments)
    try:
        open_viewer(chosen.file)
    except QMedSAMError as error:
        parser.exit(2, f"{error}\n")
    import napari

    napari.run()


if __name__ == "__main__":
    main()
