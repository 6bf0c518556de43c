"""The recipes that come with the repository."""

from pathlib import Path

from napari_qmedsam.models import build_model
from napari_qmedsam.quantization.model_layers import quantizable_layers
from napari_qmedsam.quantization.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "configs" / "quantization"


def test_the_recipe_of_lite_medsam_fits_its_layers():
    recipe = load_recipe(RECIPES / "lite-medsam-4.7bit.yaml")
    layers = quantizable_layers(build_model("lite_medsam"))
    names = [layer.name for layer in layers]
    recipe.check(names)
    assert {override.layers for override in recipe.overrides} <= set(names)
    bits = {name: recipe.for_layer(name).bit_width for name in names}
    count = {layer.name: layer.weight().numel() for layer in layers}
    codes = sum(bits[name] * count[name] for name in names) / sum(count.values())
    assert 4.2 < codes < 4.35  # scales and indices of groups of 64 add 0.4
    # What every slice passes first is what errors add up from.
    assert bits["image_encoder.patch_embed.seq.0.c"] == 8
