"""A recipe: how the layers of a model are quantized, with exceptions by name."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.quantization.methods import METHODS
from napari_qmedsam.quantization.settings import QuantizationSettings

COARSE_BITS = 3
"""Up to this bit-width weights move far from the float ones."""

DAMPING = {"coarse": 0.1, "fine": 0.01}
"""Defaults of :attr:`Recipe.damping`; benchmarks/calibration_choice.py says why."""


class Override(BaseModel):
    """An exception: layers whose name fits a pattern are treated otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: str = Field(
        title="Layers", description="Name pattern with * and ?, as in a shell."
    )
    skip: bool = Field(False, title="Leave in float32")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        title="Settings",
        description="Values that differ from the recipe's own.",
    )


class Recipe(BaseModel):
    """Settings for every layer, and exceptions; later exceptions win."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: QuantizationSettings = Field(
        default_factory=QuantizationSettings.of, title="For every layer"
    )
    overrides: tuple[Override, ...] = Field((), title="Exceptions")
    damping: float | None = Field(
        None,
        ge=0,
        title="Damping",
        description="Share of the mean energy of a layer's inputs that is added to "
        "each input, so that weights keep near the float ones where calibration "
        "says little. Left out: 0.1 up to 3 bits, 0.01 above.",
    )

    @property
    def sequential(self) -> bool:
        """Whether calibrating on the quantized prefix pays; it does at few bits."""
        return self.settings.bit_width <= COARSE_BITS

    @property
    def needs_inputs(self) -> bool:
        """Whether any layer's method looks at calibration inputs."""
        own = self.settings.method
        methods = [own, *(o.settings.get("method", own) for o in self.overrides)]
        return any(m in METHODS and METHODS[m].needs_inputs for m in methods)

    def damping_at(self, bit_width: int) -> float:
        """Return the damping of layers of this bit-width."""
        if self.damping is not None:
            return self.damping
        return DAMPING["coarse" if bit_width <= COARSE_BITS else "fine"]

    def for_layer(self, name: str) -> QuantizationSettings | None:
        """Return the settings of a layer, or None if it stays float.

        Raises
        ------
        UnsupportedQuantization
            If an exception does not go with the recipe's settings.
        """
        values: dict[str, Any] = {}
        skip = False
        for override in self.overrides:
            if fnmatch.fnmatchcase(name, override.layers):
                skip = override.skip
                values |= override.settings
        if skip:
            return None
        if not values:
            return self.settings
        base = self.settings.model_dump(mode="json")
        if "method" in values:
            # Units belong to a method; another method brings its own.
            base.pop("permutation")
            base.pop("granularity")
        return QuantizationSettings.of(**(base | values))

    def check(self, names: Sequence[str]) -> None:
        """Refuse exceptions that fit no layer, and values that do not go together.

        Raises
        ------
        UnsupportedQuantization
        """
        for override in self.overrides:
            if not fnmatch.filter(names, override.layers):
                raise UnsupportedQuantization(
                    f"The recipe's pattern '{override.layers}' fits no layer. A layer "
                    f"is called, for example, '{names[0]}'."
                )
        for name in names:
            self.for_layer(name)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML or JSON.

    Raises
    ------
    UnsupportedQuantization
        Naming the file, the place and what is wrong.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedQuantization(
            f"Cannot read recipe '{path}': {reason}."
        ) from error
    try:
        return Recipe.model_validate(content or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UnsupportedQuantization(
            f"Recipe '{path}', {where}: {first['msg'].lower()}."
        ) from error


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML, every default written out."""
    import yaml

    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
