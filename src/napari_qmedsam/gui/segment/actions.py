"""What a key and its button do, and those of them that set what refines a box."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from napari_qmedsam.gui.shared.session_layer import LayerType, PromptLayer


@dataclass(frozen=True)
class KeyAction:
    """One action of the panel with its key.

    Parameters
    ----------
    name : str
        What the panel calls it.
    key : str
        As napari writes it.
    button : str
        Text or purpose of the button that does the same.
    help : str
        One sentence.
    """

    name: str
    key: str
    button: str
    help: str


@dataclass(frozen=True)
class RefinementTool(KeyAction):
    """A way to set a kind of refinement.

    Parameters
    ----------
    text, icon : str
        Of its button.
    aim : Any
        What its layer is told.
    """

    text: str = ""
    icon: str = ""
    aim: Any = None


class RefinementLayer(PromptLayer[LayerType]):
    """A layer of what refines boxes; named with its tools in `refinement_layers`."""

    tools: ClassVar[tuple[RefinementTool, ...]]

    @abstractmethod
    def aim(self, object_id: int, how: Any) -> None:
        """Let what is set from now on be of this object, as a tool says."""

    @abstractmethod
    def retarget(self, object_id: int) -> None:
        """Let what is set from now on be of another object."""
