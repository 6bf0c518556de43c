"""Models in plain torch, their configurations, catalogue and checkpoints.

Importing this package does not load torch; :func:`build_model` does.
"""

from typing import TYPE_CHECKING

from napari_qmedsam.models.configuration import (
    CONFIGS,
    ModelConfig,
    PreprocessingKind,
    config_of,
)

if TYPE_CHECKING:
    from napari_qmedsam.models.medsam import MedSAM

__all__ = ["CONFIGS", "ModelConfig", "PreprocessingKind", "build_model", "config_of"]


def build_model(name: "str | ModelConfig") -> "MedSAM":
    """Return the model called `name`, randomly initialised, in eval mode.

    Parameters
    ----------
    name : str or ModelConfig
        ``demo``, ``lite_medsam``, ``medsam_vit_b``, or a configuration.

    Raises
    ------
    UnknownModel
        If no configuration has that name.
    """
    from napari_qmedsam.models.medsam import MedSAM

    config = name if isinstance(name, ModelConfig) else config_of(name)
    return MedSAM(config).eval()
