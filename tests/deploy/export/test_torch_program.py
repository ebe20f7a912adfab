"""``torch.export``, of stitches across families."""

import json

import pytest
import torch

from klas.deploy.export.export import export
from klas.deploy.export.notes import notes
from klas.deploy.export.torch_program import NOTES
from tests.deploy.export.stitches import STITCHES, images, stitched

FIRST, *REST = STITCHES


@pytest.mark.parametrize(
    "stitch", [FIRST, *(pytest.param(s, marks=pytest.mark.slow) for s in REST)], ids=str
)
def test_a_loaded_program_gives_the_networks_outputs_at_any_batch(stitch, tmp_path):
    network, path = stitched(*stitch), tmp_path / "n.pt2"
    with torch.inference_mode():  # some networks keep tables of it, which can't be exported as is
        network(images(network, 3))
    made = export(network, "torch", path)
    assert made.difference <= 1e-5
    kept = {NOTES: ""}
    program = torch.export.load(path, extra_files=kept).module()
    for batch in (1, 5):
        x = images(network, batch)
        assert (program(x) - network(x)).abs().max() <= 1e-5
    assert json.loads(kept[NOTES]) == notes(network)
    assert [entry.name for entry in tmp_path.iterdir()] == ["n.pt2"]
