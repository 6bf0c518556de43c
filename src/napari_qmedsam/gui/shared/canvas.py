"""What of a viewer's canvas moved from one version of napari to another."""

from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    import napari
    import napari.layers


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


def scale_bar_of(viewer: "napari.viewer.Viewer") -> Any:
    """Return the scale bar, which moved to the canvas in 0.9."""
    if hasattr(viewer, "canvas"):
        return viewer.canvas.overlays.scale_bar
    return viewer.scale_bar


def frame(viewer: Any, layer: "napari.layers.Layer") -> None:
    """Let a layer fill the canvas, whatever else there is.

    napari counts hidden layers too, and fits the view to chosen ones from 0.9 on, if
    they have as many axes as the viewer. Before, a slice is fitted here.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
    layer : Layer
    """
    can_choose = "layers" in signature(viewer.reset_view).parameters
    if can_choose and layer.ndim == viewer.dims.ndim:
        viewer.reset_view(layers=[layer])
        return
    viewer.reset_view()
    canvas, shown = native_canvas_of(viewer), list(viewer.dims.displayed)
    if canvas is not None and layer.ndim == viewer.dims.ndim and len(shown) == 2:
        low, high = layer.extent.world[:, shown]
        sizes = np.where(high > low, high - low, 1)  # one row has an extent of 0
        camera = camera_of(viewer)
        camera.center = (0.0, *((low + high) / 2))
        camera.zoom = 0.95 * float(min([canvas.height(), canvas.width()] / sizes))


def native_canvas_of(viewer: "napari.viewer.Viewer") -> QWidget | None:
    """Return the widget that the picture is drawn in; None without a window.

    napari's own texts have no place at the middle of an edge.
    """
    model = getattr(viewer, "__wrapped__", viewer)  # plugins are given a proxy
    for window in QApplication.topLevelWidgets():
        shown = getattr(window, "_qt_viewer", None)
        if shown is not None and shown.viewer is model:
            return shown.findChild(QOpenGLWidget)
    return None
