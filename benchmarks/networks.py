"""Networks and images that several rows measure with."""

from collections.abc import Iterator

import timm
import torch
from torch import Tensor

import klas.digits  # noqa: F401 - registers the built-in networks
from klas.networks.anchor import Anchor, Transform, freeze


def anchor(model: str, device: torch.device) -> Anchor:
    """A timm model with random weights: how fast it is does not depend on them."""
    torch.manual_seed(0)
    network = timm.create_model(model)
    config = network.pretrained_cfg
    transform = Transform(
        input_size=config["input_size"],
        mean=config["mean"],
        std=config["std"],
        crop=0.9,
        interpolation="bicubic",
    )
    return freeze(Anchor.from_module(network, model, transform=transform), device)


def images(
    count: int,
    batch: int,
    device: torch.device,
    *,
    size: tuple[int, int, int] = (3, 224, 224),
    views: int = 1,
) -> Iterator[tuple[Tensor, ...]]:
    """Batches of synthetic images (n, C, H, W), ``views`` times each, and labels (n,)."""
    torch.manual_seed(1)
    made = torch.randn(batch, *size, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    for start in range(0, count, batch):
        n = min(batch, count - start)
        yield (*[made[:n]] * views, labels[:n])
