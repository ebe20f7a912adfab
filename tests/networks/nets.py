"""Networks for tests: any architecture of timm or a plain one; small images, random weights."""

import timm
import torch
import torchvision
from torch import nn

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
    return with_head(timm.create_model(name, num_classes=10, **options).eval())


def of_torchvision(name, **options):
    """The same of torchvision."""
    torch.manual_seed(0)
    return with_head(torchvision.models.get_model(name, num_classes=10, **options).eval())


def with_head(model):
    """A network of ten classes whose classifier is not zero."""
    # Some start with a classifier of zeros, which passes no gradient on.
    for parameter in model.parameters():
        if parameter.shape[:1] == (10,) and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def anchor(model, side, name="net"):
    """An anchor of ``side`` × ``side`` RGB images."""
    return Anchor.from_module(model, name, transform=transform((3, side, side))).eval()


class Block(nn.Module):
    """A residual block whose first act is to change its input in place."""

    def __init__(self, width):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(self.act(x))


class Plain(nn.Module):
    """A network that knows nothing of timm."""

    def __init__(self, width=8, depth=3):
        super().__init__()
        self.first = nn.Conv2d(3, width, 4, stride=4)
        self.layers = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        batch, _, height, _ = x.shape
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).reshape(batch, -1, height // 4 * (height // 4))
        return self.fc(x.mean(2))
