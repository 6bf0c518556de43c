"""The recipes that come with the repository."""

from pathlib import Path

import pytest

from napari_qmedsam.models import build_model
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.quantization.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "configs" / "quantization"


@pytest.mark.parametrize(
    ("name", "low", "high", "first"),
    [
        ("lite-medsam-4.7bit", 4.2, 4.35, 8),
        ("qmedsam-lite-4.7bit", 4.2, 4.4, 8),
        ("qmedsam-lite-2.6bit", 2.2, 2.4, 5),
    ],
)
def test_a_recipe_fits_the_layers_of_its_model(name, low, high, first):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    layers = quantizable_layers(build_model("lite_medsam"))
    names = [layer.name for layer in layers]
    recipe.check(names)
    assert {override.layers for override in recipe.overrides} <= set(names)
    bits = {name: recipe.for_layer(name).bit_width for name in names}
    count = {layer.name: layer.weight().numel() for layer in layers}
    codes = sum(bits[name] * count[name] for name in names) / sum(count.values())
    assert low < codes < high  # scales and indices of groups of 64 add 0.4
    # What every slice passes first is what errors add up from.
    assert bits["image_encoder.patch_embed.seq.0.c"] == first > codes


def test_every_recipe_here_is_tested():
    assert {path.stem for path in RECIPES.iterdir()} == {
        "lite-medsam-4.7bit",
        "qmedsam-lite-4.7bit",
        "qmedsam-lite-2.6bit",
    }
