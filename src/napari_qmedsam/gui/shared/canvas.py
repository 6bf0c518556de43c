"""What of a viewer's canvas moved from one version of napari to another."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari


def camera_of(viewer: "napari.viewer.Viewer") -> Any:
    """Return the camera, which moved to the scene in 0.9."""
    return getattr(viewer, "scene", viewer).camera


def grid_of(viewer: "napari.viewer.Viewer") -> Any:
    """Return the grid, which moved to the canvas in 0.9."""
    return getattr(viewer, "canvas", viewer).grid


def text_of(viewer: "napari.viewer.Viewer") -> Any:
    """Return the text on the canvas, which moved in 0.9 too."""
    if hasattr(viewer, "canvas"):
        return viewer.canvas.overlays.text
    return viewer.text_overlay
