import pytest
import torch

from napari_qmedsam.checkpoints.packed.granularity import CHANNEL, LAYER, group
from napari_qmedsam.checkpoints.packed.units import stored_unit_map, unit_map
from napari_qmedsam.errors import UnsupportedQuantization
from napari_qmedsam.quantization import Granularity, Permutation
from napari_qmedsam.quantization.row_orders import row_groups

NONE, ROWS, ELEMENTS = Permutation.NONE, Permutation.ROWS, Permutation.ELEMENTS
WEIGHT = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)  # (groups, m, n)


def unit_of_each(units):
    return units.expand(torch.arange(units.count).reshape(units.shape))


@pytest.mark.parametrize(
    ("granularity", "count"), [(LAYER, 1), (CHANNEL, 6), (group(2), 18), (group(9), 6)]
)
def test_units_by_position(granularity, count):
    units = unit_map(WEIGHT, granularity, NONE)
    assert units.count == count
    assert unit_of_each(units).unique().numel() == count
    assert units.stored_index is None


def test_groups_follow_the_inputs_and_the_last_may_be_smaller():
    units = unit_map(WEIGHT, group(2), NONE)
    assert units.sum(torch.ones_like(WEIGHT))[0, :, 0].tolist() == [2, 2, 1]
    assert unit_of_each(units)[0, :, 1].tolist() == [1, 1, 4, 4, 7]


@pytest.mark.parametrize("granularity", [LAYER, CHANNEL, group(2)])
@pytest.mark.parametrize("permutation", [NONE, ELEMENTS])
def test_reductions_agree_with_a_plain_loop(granularity, permutation):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 5, 3, generator=generator)
    units = unit_map(weight, granularity, permutation)
    where = unit_of_each(units)
    for u in range(units.count):
        chosen = weight[where == u]
        for reduce in ("sum", "minimum", "maximum"):
            value = getattr(units, reduce)(weight).reshape(-1)[u]
            expected = {"minimum": chosen.min, "maximum": chosen.max}.get(
                reduce, chosen.sum
            )()
            assert value == pytest.approx(float(expected), abs=1e-5)


def test_elements_are_cut_in_ascending_order_into_equal_units():
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(1, 8, 4, generator=generator)
    units = unit_map(weight, CHANNEL, ELEMENTS)
    assert units.sum(torch.ones_like(weight)).tolist() == [8, 8, 8, 8]
    largest, smallest = units.maximum(weight), units.minimum(weight)
    assert (largest[:-1] <= smallest[1:]).all()


def test_rows_of_like_magnitude_are_put_together():
    # Rows of weight 1 and 100 alternate, and matter alike to the outputs; as
    # they are, every group mixes them.
    generator = torch.Generator().manual_seed(3)
    size = torch.tensor([1.0, 100.0] * 4)[None, :, None]
    weight = size * torch.randn(1, 8, 16, generator=generator)
    units = row_groups(weight, size[..., 0] ** -2, group(4), 4)
    assert units.index[0].tolist() == [0, 1] * 4


@pytest.mark.parametrize(
    ("granularity", "permutation"),
    [(LAYER, NONE), (CHANNEL, NONE), (group(2), NONE), (CHANNEL, ELEMENTS)],
)
def test_stored_values_and_index_come_back(granularity, permutation):
    units = unit_map(WEIGHT, granularity, permutation)
    values = torch.arange(float(units.count)).reshape(units.shape)
    assert torch.equal(units.from_stored(units.to_stored(values)), values)
    index = units.stored_index
    again = stored_unit_map(granularity, permutation, (2, 5, 3), index)
    assert torch.equal(again.expand(values), units.expand(values))


@pytest.mark.parametrize("text", ["layer", "channel", "group:64"])
def test_granularity_reads_what_it_writes(text):
    assert str(Granularity.parse(text)) == text


@pytest.mark.parametrize("text", ["group", "group:0", "group:x", "layer:4", "tensor"])
def test_unknown_granularity_is_refused(text):
    with pytest.raises(UnsupportedQuantization, match="roup|ranularity"):
        Granularity.parse(text)
