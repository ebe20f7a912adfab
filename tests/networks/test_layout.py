import json

import pytest
import torch

from klas.networks.layout import Layout, maps_and_prefix, pooled, resized
from tests.networks.layouts import LAYOUTS, activation

SEQUENCE = Layout(channels=6, grid=(), prefix=0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_pooling_is_the_mean_over_every_position(layout):
    x = activation(layout)
    maps, prefix = maps_and_prefix(x, layout)
    positions = [*prefix.unbind(1), *maps.flatten(1, 2).unbind(1)]
    assert torch.allclose(pooled(x, layout, "mean"), torch.stack(positions).mean(0), atol=1e-6)


def test_the_json_of_a_layout():
    tokens = Layout(channels=6, grid=(4, 4), prefix=1)
    assert json.dumps(tokens.to_json()) == (
        '{"channels": 6, "grid": [4, 4], "prefix": 1, "form": "NLC"}'
    )
    assert json.dumps(SEQUENCE.to_json()) == (
        '{"channels": 6, "grid": [], "prefix": 0, "form": "NLC"}'
    )


def test_positions_are_counted_for_an_image_and_for_one_position_of_a_sequence():
    assert Layout(channels=6, grid=(3, 5), prefix=2).positions == 17
    assert SEQUENCE.positions == 1


def test_a_sequence_is_a_map_of_one_row_whatever_its_length():
    for length in (1, 5):
        x = torch.randn(2, length, 6)
        maps, prefix = maps_and_prefix(x, SEQUENCE)
        assert torch.equal(maps, x.unsqueeze(1))
        assert prefix.shape == (2, 0, 6)
        assert torch.equal(resized(maps, SEQUENCE.grid), maps)
        assert torch.equal(pooled(x, SEQUENCE, "mean"), x.mean(1))
