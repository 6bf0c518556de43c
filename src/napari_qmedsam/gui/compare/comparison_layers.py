"""Results of a comparison as layers: stacked, in a grid, in turn, side by side."""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_qmedsam.evaluation.comparison import Comparison
from napari_qmedsam.gui.compare.swipe import Swipe, swipe_colours
from napari_qmedsam.gui.shared.canvas import frame, grid_of, text_of
from napari_qmedsam.gui.shared.colours import label_colours
from napari_qmedsam.gui.shared.layers import COMPARED, VOLUME, placement_of

if TYPE_CHECKING:
    import napari

FLICKER_MILLISECONDS = 700
"""How long each variant is shown in turn."""

NAME_POINTS = 8
"""Font size of names in the grid, whose cells are narrow beside three docks."""

TRUTH = "labels"
"""Name of the labels that count as the truth, beside those of the variants."""

DIVERGING = Colormap(
    [[0.10, 0.35, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 0.25, 0.10, 1.0]],
    name="qmedsam distance",
    display_name="inside (blue) to outside (red)",
)
"""Blue inside the reference, white on its surface, red outside."""


class MaskView(str, Enum):
    """How results are shown."""

    HIDDEN = "Not shown"
    LAYERS = "Layers"
    GRID = "Grid"
    FLICKER = "Flicker"
    SWIPE = "Swipe"


class ComparisonLayers:
    """The layers that show one comparison over one image.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : Image
    comparison : Comparison
    on_swipe : callable
        Called with the divider's place, 0 to 1, when the user drags it.
    """

    def __init__(
        self,
        viewer: "napari.viewer.Viewer",
        image: Image,
        comparison: Comparison,
        on_swipe: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.viewer, self.image, self.comparison = viewer, image, comparison
        self.view = MaskView.HIDDEN
        self.copies: list[Layer] = []
        """Images that stand in the cells of the grid, and the truth in the last."""
        self.swipe: Swipe | None = None
        names = self.names
        self.sides = names[0], names[-2] if len(names) > 2 else names[-1]
        """What is left and right of the swipe's divider."""
        self._on_swipe = on_swipe
        self._hidden: list[Layer] = []
        self._shown = 0
        self._timer = QTimer()
        self._timer.setInterval(FLICKER_MILLISECONDS)
        self._timer.timeout.connect(self.next_variant)

    @property
    def names(self) -> list[str]:
        """What can be looked at side by side: the variants, and the truth."""
        return [*self.comparison.results, TRUTH]

    @property
    def results(self) -> list[Labels]:
        """The labels layers of the variants that are there, in table order."""
        found = {x.metadata.get(COMPARED): x for x in self._own(Labels)}
        return [found[name] for name in self.comparison.results if name in found]

    def show(self, view: MaskView) -> None:
        """Show the results in another way."""
        self._leave()
        self.view = view
        if view in (MaskView.HIDDEN, MaskView.SWIPE):
            for layer in self.results:
                layer.visible = False
            if view is MaskView.SWIPE:
                self._enter_swipe()
            return
        for name, result in self.comparison.results.items():
            self._labels(name, result.labels).visible = True
        if view is MaskView.GRID:
            self._enter_grid()
        elif view is MaskView.FLICKER:
            self._hide_others()
            self._shown = -1
            self.next_variant()
            self._timer.start()

    def next_variant(self) -> None:
        """Show the next variant and hide the others."""
        layers = self.results
        if not layers:
            self._timer.stop()
            return
        self._shown = (self._shown + 1) % len(layers)
        for index, layer in enumerate(layers):
            layer.visible = index == self._shown
        text = text_of(self.viewer)
        text.text = layers[self._shown].metadata[COMPARED]
        text.visible = True

    def choose_sides(self, left: str, right: str) -> None:
        """Show these variants left and right of the divider, where it is."""
        self.sides = left, right
        if self.swipe is not None:
            share = self.swipe.share
            self.show(MaskView.SWIPE)
            self.swipe.move(share)

    def show_disagreement(self, differs: NDArray[np.uint8]) -> Labels:
        """Show where variants differ."""
        colours = DirectLabelColormap(color_dict={0: "transparent", None: "#ff2fd0"})
        return self._replace(
            Labels(
                self._shaped(differs),
                name=f"{self.image.name}: variants differ",
                colormap=colours,
                opacity=0.8,
                **self._common(""),
            )
        )

    def show_distance(self, name: str, distance: NDArray[np.float32]) -> Image:
        """Show the signed distance of a variant's surfaces to the reference."""
        largest = max(1.0, float(np.nanmax(np.abs(distance), initial=0.0)))
        return self._replace(
            Image(
                self._shaped(distance),
                name=f"{name}: distance in mm",
                colormap=DIVERGING,
                contrast_limits=(-largest, largest),
                blending="translucent",
                interpolation2d="nearest",
                **self._common(name),
            )
        )

    def close(self) -> None:
        """Leave grid, flicker and swipe; plain layers stay."""
        self._leave()

    # Helpers --------------------------------------------------------------

    def _array(self, name: str) -> NDArray[np.uint16]:
        """Return the labels of a variant, or the truth as they are."""
        result = self.comparison.results.get(name)
        return self.comparison.truth() if result is None else result.labels

    def _own(self, kind: type[Layer]) -> list[Any]:
        volume = self.comparison.volume
        return [
            x
            for x in self.viewer.layers
            if isinstance(x, kind)
            and COMPARED in x.metadata
            and x.metadata.get(VOLUME) is volume
        ]

    def _labels(self, name: str, labels: NDArray) -> Labels:
        for layer in self._own(Labels):
            if layer.metadata[COMPARED] == name:
                if layer.data is not self._shaped(labels):
                    layer.data = self._shaped(labels)
                return layer
        return self.viewer.add_layer(self._new_labels(name, labels))

    def _new_labels(self, name: str, labels: NDArray) -> Labels:
        return Labels(
            self._shaped(labels),
            name=f"{self.image.name}: {name}",
            colormap=label_colours(),
            opacity=0.5,
            **self._common(name),
        )

    def _common(self, name: str) -> dict[str, Any]:
        metadata = {VOLUME: self.comparison.volume, COMPARED: name}
        return {"metadata": metadata, **placement_of(self.image)}

    def _shaped(self, array: NDArray) -> NDArray:
        return array if self.image.ndim == 3 else array[0]

    def _replace(self, layer: Layer) -> Any:
        """Add a layer in place of the one of its name that was there."""
        for old in self._own(type(layer)):
            if old.name == layer.name:
                self.viewer.layers.remove(old)
        return self.viewer.add_layer(layer)

    def _hide_others(self) -> None:
        """Hide what lies over the image, and remember it."""
        kept = [self.image, *self.results]
        self._hidden = [x for x in self.viewer.layers if x.visible and x not in kept]
        for layer in self._hidden:
            layer.visible = False

    def _enter_grid(self) -> None:
        """Put pairs of image and labels at the bottom, two to each cell."""
        layers = self.viewer.layers
        self._hide_others()
        self._hidden.append(self.image)
        self.image.visible = False
        truth = self._new_labels(TRUTH, self.comparison.truth())
        self.viewer.add_layer(truth)
        for index, labels in enumerate([*self.results, truth]):
            copy = Image(
                self.image.data,
                name=labels.metadata[COMPARED],
                rgb=self.image.rgb,
                metadata={**self.image.metadata, COMPARED: labels.metadata[COMPARED]},
                **placement_of(self.image),
            )
            if not self.image.rgb:
                copy.colormap = self.image.colormap
                copy.contrast_limits = self.image.contrast_limits
            overlay = getattr(copy, "name_overlay", None)
            if overlay is not None:
                overlay.font_size = NAME_POINTS
                overlay.visible = True
            self.copies.append(copy)
            layers.insert(2 * index, copy)
            layers.move(layers.index(labels), 2 * index + 1)
        self.copies.append(truth)
        grid = grid_of(self.viewer)
        grid.stride, grid.shape = 2, (-1, -1)
        grid.enabled = True
        frame(self.viewer, self.image)

    def _enter_swipe(self) -> None:
        self._hide_others()
        left, right = (self._shaped(self._array(name)) for name in self.sides)
        layer = self._replace(
            Labels(
                np.zeros_like(left),
                name=f"{self.image.name}: swipe",
                colormap=swipe_colours(o.object_id for o in self.comparison.objects),
                opacity=0.5,
                **self._common(""),
            )
        )
        # The divider is dragged on the active layer.
        self.viewer.layers.selection.active = layer
        self.swipe = Swipe(self.viewer, layer, left, right, self._on_swipe)
        text = text_of(self.viewer)
        text.text = " | ".join(self.sides)
        text.visible = True

    def _leave(self) -> None:
        self._timer.stop()
        text_of(self.viewer).visible = False
        layers = self.viewer.layers
        if self.copies:
            grid = grid_of(self.viewer)
            grid.enabled, grid.stride = False, 1
            for copy in self.copies:
                if copy in layers:
                    layers.remove(copy)
            for labels in self.results:
                layers.move(layers.index(labels), len(layers))
            self.copies = []
            if self.image in layers:
                frame(self.viewer, self.image)
        if self.swipe is not None:
            self.swipe.close()
            if self.swipe.layer in layers:
                layers.remove(self.swipe.layer)
            self.swipe = None
        for layer in self._hidden:
            if layer in layers:
                layer.visible = True
        self._hidden = []
