"""Small trainings of the built-in anchors on random pictures: seconds, nothing to conclude."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from klas.deploy.training.augmentation import Augmentation, largest_grid
from klas.deploy.training.loading import StepImages
from klas.deploy.training.loop import Training, train
from klas.deploy.training.mixing import Mixing
from klas.deploy.training.plan import Plan
from klas.deploy.training.ranks import Ranks, joined
from klas.recipe import TrainingSpec
from klas.study import DIGITS
from klas.tasks.classification import Classification
from tests.deploy.elastics import BASE, CONVNET, SMALL, TINY, elastic, pretrained

VITS = {(TINY, SMALL): [(1, 1), (2, 3)], (TINY, BASE): [(3, 4)]}
WITH_CONVNET = {(TINY, CONVNET): [(1, 1)], (TINY, SMALL): [(2, 3)]}

PLAIN = DIGITS.training.model_copy(
    update={"steps": 6, "batch": 8, "lr": 1e-3, "warmup": 0.2, "log_every": 1}
)
RICH = PLAIN.model_copy(
    update={
        "mixup": 0.8,
        "cutmix": 1.0,
        "smoothing": 0.1,
        "aa": "rand-m9-mstd0.5-inc1",
        "scale": (0.3, 1.0),
        "hflip": 0.5,
        "reprob": 0.5,
        "distillation": "soft",
        "ema_decay": 0.9,
    }
)


class Pictures:
    """Noise of 24 × 24 pixels, and classes at random."""

    stored = False

    def __init__(self, count=40, seed=0):
        generator = np.random.default_rng(seed)
        self.pixels = generator.integers(0, 256, (count, 24, 24), dtype=np.uint8)
        self.labels = generator.integers(0, 10, count)

    def image(self, index):
        return Image.fromarray(self.pixels[index])

    def where(self, index):
        return f"picture {index}"


def prepared(network, recipe, folder, ranks=None, images=None):
    """A training of a network, as one of some processes."""
    ranks = ranks or Ranks(device=torch.device("cpu"))
    images = images or Pictures()
    transforms = {name: anchor.info.transform for name, anchor in network.anchors.items()}
    parts = ranks.count * recipe.accumulate
    teacher = None if recipe.distillation == "none" else SMALL
    plan = Plan(
        recipe=recipe,
        viewers={member.name: network.viewer(member.name) for member in network.members},
        rows=np.arange(len(images.labels)),
        teacher=teacher,
        parts=parts,
    )
    return Training(
        images=StepImages(
            images=images,
            plan=plan,
            augmentation=Augmentation(transforms, recipe),
            parts=range(ranks.rank, parts, ranks.count),
        ),
        mixing=Mixing(recipe, 10, largest_grid(transforms)),
        teacher=None if teacher is None else pretrained(teacher),
        objective=Classification(),
        ranks=ranks,
        precision="float32",
        folder=folder,
    )


class KilledError(Exception):
    """What ends a training in the middle."""


def trained(recipe, folder, stitches=VITS, *, until=None, ranks=None, images=None):
    """The parameters after a training; ``until`` kills it after so many steps."""
    network = elastic(stitches)
    done = 0

    def tick(amount):
        nonlocal done
        done += amount
        if done == until:
            raise KilledError

    kept = train(
        network,
        prepared(network, recipe, folder, ranks, images),
        validate=lambda kept: {},
        tick=tick,
    )
    return {name: value.detach().clone() for name, value in kept.named_parameters()}


def differ(first, second):
    """The greatest difference between two networks' parameters."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def without_key_biases(parameters):
    """What outputs depend on: attention is the same whatever is added to all keys.

    The gradient of that is rounding alone, which AdamW makes as large as any other.
    """
    kept = {}
    for name, value in parameters.items():
        query, _, values = value.chunk(3) if name.endswith("qkv.bias") else (value,) * 3
        kept[name] = torch.cat([query, values]) if name.endswith("qkv.bias") else value
    return kept


def of_processes(orders):
    """What a process of several does, by ``python -m tests.deploy.training.trainings``."""
    torch.set_num_threads(1)
    recipe = TrainingSpec.model_validate_json(json.dumps(orders["recipe"]))
    folder, stitches = Path(orders["folder"]), globals()[orders["stitches"]]
    with joined("cpu") as ranks:
        if orders.get("facts"):
            ranks.agree({"training images": orders["facts"][ranks.rank]})
        try:
            weights = trained(recipe, folder, stitches, until=orders.get("until"), ranks=ranks)
        except KilledError:
            os._exit(9)
        torch.save(weights, folder / f"rank{ranks.rank}.pt")


if __name__ == "__main__":
    of_processes(json.loads(sys.argv[1]))
