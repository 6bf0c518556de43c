"""What the panels of one viewer share: the sessions of its images, the variants.

napari makes each panel on its own and gives it nothing but the viewer.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_qmedsam.evaluation.variants import Variants
from napari_qmedsam.gui.shared.layers import VOLUME, volume_of
from napari_qmedsam.segmentation.autosave import Autosave
from napari_qmedsam.session import Session

if TYPE_CHECKING:
    import napari


class ViewerState(QObject):
    """Sessions by image layer, and one list of variants for all of them."""

    variants_changed = Signal()
    """Emitted by whoever changes the list."""

    def __init__(self) -> None:
        super().__init__()
        self.variants = Variants()
        self._sessions: WeakKeyDictionary[Image, Session] = WeakKeyDictionary()
        self._folder: tempfile.TemporaryDirectory | None = None
        self._made = 0
        self._autosaves: WeakKeyDictionary[Session, Autosave] = WeakKeyDictionary()

    def session_of(self, image: Image) -> Session:
        """Return the session of an image layer; another volume, another session.

        Raises
        ------
        InvalidVolume
            If the layer is not one 2D or 3D image.
        """
        image = _itself(image)
        volume = volume_of(image)
        image.metadata[VOLUME] = volume
        session = self._sessions.get(image)
        if session is None or session.volume is not volume:
            session = Session(volume, variants=self.variants)
            self._sessions[image] = session
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
    return _SHARED.setdefault(_itself(viewer), ViewerState())


def _itself(thing: Any) -> Any:
    """Return what is behind napari's proxies, which come and go."""
    return getattr(thing, "__wrapped__", thing)
