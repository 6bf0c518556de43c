"""A repair of napari-orthogonal-views 0.5: worlds that do not begin at 0.

Its cross hairs, its camera and its key T take a step of a slider times its size for a
place in the world. Scans lie where the patient lay, so that is a hand's breadth off
and the other planes show nothing.
"""

from functools import cache
from typing import Any

import numpy as np


@cache
def place_in_world() -> None:
    """Repair the plugin, once for the process.

    Raises
    ------
    ImportError
        If the plugin is not installed.
    """
    from napari._vispy.utils.visual import overlay_to_visual
    from napari_orthogonal_views import ortho_view_manager, ortho_view_widget
    from napari_orthogonal_views.cross_hair_overlay import (
        CrosshairOverlay,
        VispyCrosshairOverlay,
    )
    from napari_orthogonal_views.viewer_utils import viewer_model_under_mouse

    class PlacedCrosshairs(VispyCrosshairOverlay):
        """Cross hairs at the point that the sliders stand at."""

        def _move_crosshairs(self) -> None:
            dims = self.viewer.dims
            axes = [*dims.displayed[::-1], *dims.not_displayed[::-1], 0][:3]
            self.node.set_position(np.array(dims.point)[axes])

    check_center = ortho_view_widget.check_center

    def check_placed(model: Any, coords: Any) -> Any:
        dims = model.dims
        steps = [r.step or 1.0 for r in dims.range]
        return check_center(
            model, [p / s for p, s in zip(dims.point, steps, strict=True)]
        )

    def go_to_mouse(_: Any) -> None:
        target = viewer_model_under_mouse()
        if target is not None:
            ends = zip(target.cursor.position, target.dims.range, strict=False)
            target.dims.point = [min(max(p, r.start), r.stop) for p, r in ends]

    overlay_to_visual[CrosshairOverlay] = PlacedCrosshairs
    ortho_view_widget.check_center = check_placed
    ortho_view_manager.center_cross_on_mouse = go_to_mouse
