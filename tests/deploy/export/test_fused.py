"""Networks whose blocks are folded before they are exported."""

import pytest
import timm
import torch

from klas.deploy.export.export import export
from klas.deploy.export.fused import fused
from klas.deploy.export.notes import notes
from klas.errors import ExportError
from klas.networks.cost import count_macs
from tests.deploy.export import stitches
from tests.deploy.export.stitches import images, stitched

FUSABLE = {
    "repvgg": ("repvgg_a0", 4),
    "mobileone": ("mobileone_s0", 6),
    "fastvit": ("fastvit_t8", 2),
    "repvit": ("repvit_m0_9", 5),
}


@pytest.fixture(autouse=True)
def families(monkeypatch):
    for family, (model, _) in FUSABLE.items():
        monkeypatch.setitem(stitches.MODELS, family, (model, {}))
        monkeypatch.setitem(stitches.SIDES, family, 64)


@pytest.mark.parametrize(
    "family", ["repvgg", *(pytest.param(f, marks=pytest.mark.slow) for f in list(FUSABLE)[1:])]
)
def test_what_is_folded_gives_the_same_at_its_stated_cost(family, tmp_path):
    network = stitched(family, FUSABLE[family][1], "resnet", 1)
    folded = fused(network)
    x = images(network, 3)
    with torch.no_grad():
        want, have = network(x), folded(x)
    assert (want - have).abs().max() <= 1e-4 * want.abs().max().clamp(min=1)
    assert folded.member.macs < network.member.macs or folded.member.params < network.member.params
    image = torch.empty(1, 3, 64, 64, device="meta")
    assert folded.member.macs == count_macs(folded, image).macs
    assert folded.member.params == sum(p.numel() for p in folded.parameters())
    assert [bool(entry.get("fused")) for entry in folded.anchors] == [True, False]
    assert notes(folded)["fused"]
    export(folded, "timm", tmp_path / "n")
    again = timm.create_model(f"local-dir:{tmp_path / 'n'}", pretrained=True)
    with torch.no_grad():
        assert torch.equal(again(x), have)
    assert export(folded, "torch", tmp_path / "n.pt2").difference <= 1e-5


def test_a_target_is_folded_too():
    folded = fused(stitched("resnet", 3, "repvgg", 18))
    assert [bool(entry.get("fused")) for entry in folded.anchors] == [False, True]


def test_where_nothing_can_be_folded():
    with pytest.raises(ExportError, match="has nothing that timm can fuse; leave --fuse out"):
        fused(stitched("resnet", 2, "vit", 1))
    folded = fused(stitched("resnet", 3, "repvgg", 18))
    with pytest.raises(ExportError, match="has nothing that timm can fuse"):
        fused(folded)
