"""Networks for tests: any architecture of timm, small images, random weights."""

import timm
import torch

from klas.networks.anchor import Anchor, Transform


def transform(size):
    return Transform(
        input_size=size,
        mean=(0.5,) * size[0],
        std=(0.25,) * size[0],
        crop=1.0,
        interpolation="bilinear",
    )


def network(name, **options):
    """A network of timm with ten classes and random weights, in eval mode."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **options).eval()
    # Some start with a classifier of zeros, which passes no gradient on.
    for parameter in model.parameters():
        if parameter.shape[:1] == (10,) and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def anchor(model, side, name="net"):
    """An anchor of ``side`` × ``side`` RGB images."""
    return Anchor.from_module(model, name, transform=transform((3, side, side))).eval()
