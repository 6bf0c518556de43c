"""What the panels of one viewer share: the sessions of its images, the variants.

napari makes each panel on its own and gives it nothing but the viewer.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_qmedsam.evaluation.variants import Variants
from napari_qmedsam.gui.shared.layer_placement import scan_under
from napari_qmedsam.gui.shared.layers import VOLUME, volume_of
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.session import Session

if TYPE_CHECKING:
    import napari


class ViewerState(QObject):
    """Sessions by image layer, and one list of variants for all of them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    variants_changed = Signal()
    """Emitted by whoever changes the list."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self._viewer = ref(viewer)
        self.variants = Variants()
        self._sessions: WeakKeyDictionary[Image, tuple[Session, Any]] = (
            WeakKeyDictionary()
        )
        self._folder: tempfile.TemporaryDirectory | None = None
        self._made = 0
        self._autosaves: WeakKeyDictionary[Session, Autosave] = WeakKeyDictionary()

    def session_of(self, image: Image) -> Session:
        """Return the session of an image layer; another volume, another session.

        Raises
        ------
        InvalidVolume
            If the layer is not one 2D or 3D image, or nobody can tell where in the
            patient it lies.
        """
        image, viewer = _itself(image), self._viewer()
        session, data = self._sessions.get(image, (None, None))
        known = image.metadata.get(VOLUME)
        if session is not None and data is image.data and known is session.volume:
            return session
        is_bare = VOLUME not in image.metadata and image.ndim in (2, 3)
        # A scan that another plugin has filtered lies where the scan does.
        scan = scan_under(image, viewer.layers) if is_bare and viewer else None
        volume = volume_of(image, scan)
        image.metadata[VOLUME] = volume
        session = Session(volume, variants=self.variants)
        self._sessions[image] = session, image.data
        return session

    def autosave_of(self, session: Session) -> Autosave:
        """Return the one autosave of a session, whichever panel works on it."""
        autosave = self._autosaves.get(session)
        if autosave is None:
            autosave = self._autosaves[session] = Autosave(session.volume)
        return autosave

    def new_model(self) -> Path:
        """Return a path in `folder` that no model has been given yet."""
        self._made += 1
        return self.folder / f"{self._made}"

    @property
    def folder(self) -> Path:
        """Where models are kept until they are saved; gone with the viewer."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="qmedsam-")
        return Path(self._folder.name)


_SHARED: "WeakKeyDictionary[Any, ViewerState]" = WeakKeyDictionary()


def state_of(viewer: "napari.viewer.Viewer") -> ViewerState:
    """Return what the panels of a viewer share."""
    viewer = _itself(viewer)
    if viewer not in _SHARED:
        _SHARED[viewer] = ViewerState(viewer)
    return _SHARED[viewer]


def _itself(thing: Any) -> Any:
    """Return what is behind napari's proxies, which come and go."""
    return getattr(thing, "__wrapped__", thing)
