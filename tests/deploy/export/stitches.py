"""Stitches across families, with random weights and made-up layers, as networks to export."""

from functools import cache

import torch

from klas.deploy.architecture import describe
from klas.deploy.member import Member, stitch_name
from klas.deploy.network import Network
from klas.networks.anchor import Anchor
from klas.networks.cost import count_macs
from klas.networks.stitch import Stitch, StitchLayer
from tests.networks import nets

SIDES = {
    "vit": 32, "swin": 32, "resnet": 32, "convnext": 32,
    "efficientnet": 32, "levit": 224, "mobilenetv3": 64, "repvgg": 64,
}  # fmt: skip
MODELS = {
    "vit": ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 24, "depth": 3}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": (1, 2), "num_heads": (1, 2)},
    ),
    "resnet": ("test_resnet", {}),
    "convnext": ("test_convnext", {}),
    "efficientnet": ("test_efficientnet", {}),
    "levit": ("levit_128s", {}),
    "mobilenetv3": ("mobilenetv3_small_050", {}),
    "repvgg": ("repvgg_a0", {}),
}
STITCHES = [
    ("resnet", 2, "vit", 1),
    ("vit", 1, "swin", 2),
    ("swin", 2, "vit", 1),
    ("convnext", 4, "levit", 4),
    ("levit", 4, "convnext", 4),
    ("efficientnet", 2, "swin", 1),
    ("mobilenetv3", 4, "vit", 1),
    ("repvgg", 8, "mobilenetv3", 8),
    ("resnet", 3, "repvgg", 18),
    ("swin", 3, "efficientnet", 2),
]
CLASSES = tuple("abcdefghij")


@cache
def anchor(family):
    """One of a family with small images and ten classes, batch normalisation not at its start."""
    model, options = MODELS[family]
    if family in ("vit", "swin"):
        options = options | {"img_size": SIDES[family]}
    network = nets.network(model, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    size = (3, SIDES[family], SIDES[family])
    made = Anchor.from_module(network, family, transform=nets.transform(size), model=model)
    return made.eval()


def stitched(source, i, target, j):
    """A stitch of two families as a network."""
    f, g = anchor(source), anchor(target)
    torch.manual_seed(0)
    layer = StitchLayer(f.info.layouts[i], g.info.layouts[j])
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    stitch = Stitch(f, i, g, j, layer).eval()
    image = torch.empty(1, *f.info.transform.input_size, device="meta")
    member = Member(
        name=stitch_name(source, i, target, j),
        source=source,
        source_block=i,
        target=target,
        target_block=j,
        macs=count_macs(stitch, image).macs,
        params=sum(p.numel() for p in stitch.parameters()),
        accuracy={"tuned": 0.5},
    )
    return Network(
        stitch,
        member=member,
        anchors=[describe(f), describe(g)],
        class_names=CLASSES,
        tier="tuned",
        task="classification",
    )


def images(network, batch):
    return torch.randn(batch, *network.transform.input_size)
