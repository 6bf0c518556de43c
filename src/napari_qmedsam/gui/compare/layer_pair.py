"""The image and the labels layer that variants are compared on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.gui.compare.compare_controls import CompareControls
from napari_qmedsam.gui.shared.layer_chooser import LayerChooser
from napari_qmedsam.gui.shared.layers import COMPARED, is_result, is_scan

if TYPE_CHECKING:
    import napari


class LayerPair:
    """The choosers of an image and of labels, and what is chosen in them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    controls : CompareControls
    parent : QObject
    """

    def __init__(
        self, viewer: "napari.viewer.Viewer", controls: CompareControls, parent: QObject
    ) -> None:
        self.images: LayerChooser[Image] = LayerChooser(
            viewer, controls.image, lambda x: [i for i in x if is_scan(i)], parent
        )
        # What the panel Segment painted is nobody's truth by itself: a model that
        # is compared with its own masks would seem right.
        self.labels: LayerChooser[Labels] = LayerChooser(
            viewer, controls.labels, _offered, parent, lambda x: not is_result(x)
        )

    def start(self) -> None:
        """Listen to the viewer and list its layers."""
        self.images.start()
        self.labels.start()

    def close(self) -> None:
        """Let go of viewer and layers."""
        self.images.close()
        self.labels.close()

    def image(self) -> Image:
        """Return the image layer that is chosen.

        Raises
        ------
        InvalidSettings
            If there is none.
        """
        image = self.images.chosen
        if image is None:
            raise InvalidSettings(
                "There is no image to compare on. Open one, or File > Open Sample > "
                "QMedSAM."
            )
        return image

    def reference(self) -> Labels:
        """Return the labels layer that is chosen.

        Raises
        ------
        InvalidSettings
            If there is none.
        """
        labels = self.labels.chosen
        if labels is None:
            raise InvalidSettings(
                "There are no labels to compare with. Open a labels layer of this "
                "image, or choose masks that you have corrected."
            )
        return labels


def _offered(layers: Iterable[Layer]) -> list[Labels]:
    """Return labels that no comparison made; those of the panel Segment last."""
    found = [x for x in layers if isinstance(x, Labels) and COMPARED not in x.metadata]
    return sorted(found, key=is_result)
