"""The studies of published networks, from a folder with their weights and images.

The folder holds ``nets.py``, ``weights/``, ``cifar10/{train,test}.tar`` and
``tinyimagenet/{train,val}.tar``. Anybody with a hub gets studies of the same kind from
``docs/studies/``.
"""

import sys
from pathlib import Path

from docs.real_networks.splits import halve
from klas.study import (
    AnchorSpec,
    DataSpec,
    FinetuningSpec,
    SelectionSpec,
    Study,
    TuningSpec,
    change,
)

CIFAR_NETWORKS = ("resnet20", "resnet32", "resnet56")
CIFAR_PAIRS = (("resnet20", "resnet32"), ("resnet20", "resnet56"))
ORACLE_PAIR = CIFAR_PAIRS[1]
TINY_PAIR = ("mobilenetv1_025", "lite0")
TINY_PIXELS = 128  # at 224 it would take three times as long

SEEDS = (0, 1)
STEPS = 400
"""Of joint training, 64 images each: half an epoch, a quarter of what adapting took."""

ALONE_STITCHES = 60
ALONE_STEPS = 100


class Zoos:
    """The studies, with everything that they need in two folders.

    Attributes:
        real: the folder with networks and images.
        work: where adapted weights and halved archives are kept.
    """

    def __init__(self, real: Path, work: Path) -> None:
        self.real, self.work = real.resolve(), work.resolve()
        if str(self.real) not in sys.path:
            sys.path.insert(0, str(self.real))  # for nets.py

    @property
    def cifar_train(self) -> str:
        """All 50,000 training images."""
        return str(self.real / "cifar10" / "train.tar")

    def published(self, name: str) -> AnchorSpec:
        """A CIFAR network with its published weights."""
        weights = self.real / "weights" / f"cifar10_{name}.safetensors"
        return AnchorSpec(name=name, model=f"nets:{name}", weights=str(weights))

    def adapted(self, name: str) -> Path:
        """Where its adapted weights are."""
        return self.work / f"cifar10_{name}.safetensors"

    def cifar(self, *, published: bool = False) -> Study:
        """CIFAR-10's residual networks, adapted to the copy at hand, or as published."""
        halves = halve(self.real / "cifar10" / "test.tar", self.work / "cifar10")
        anchors = tuple(
            self.published(name)
            if published
            else AnchorSpec(name=name, model=f"nets:{name}", weights=str(self.adapted(name)))
            for name in CIFAR_NETWORKS
        )
        return Study(
            name="cifar10 as published" if published else "cifar10",
            anchors=anchors,
            pairs=CIFAR_PAIRS,
            data=DataSpec(
                train=self.cifar_train,
                val=str(halves["val"]),
                test=str(halves["test"]),
                train_samples=20_000,
                val_samples=2_000,
                test_samples=3_000,
                crop=1.0,
            ),
            tuning=TuningSpec(steps=40, batch=64, lr=2e-3),
            finetuning=FinetuningSpec(steps=STEPS, batch=64, lr=1e-3),
            selection=SelectionSpec(buckets=10),
        )

    def tiny(self) -> Study:
        """ImageNet's small networks on 200 of its classes, as published."""
        halves = halve(self.real / "tinyimagenet" / "val.tar", self.work / "tinyimagenet")
        weights = self.real / "weights"
        models = {
            "mobilenetv1_025": ("nets:mobilenetv1_025", "mobilenetv1_025"),
            "lite0": ("tf_efficientnet_lite0", "tf_efficientnet_lite0"),
            "lite1": ("tf_efficientnet_lite1", "tf_efficientnet_lite1"),
        }
        return Study(
            name="tinyimagenet",
            anchors=tuple(
                AnchorSpec(
                    name=name,
                    model=model,
                    weights=str(weights / f"{file}.safetensors"),
                    image_size=TINY_PIXELS,
                )
                for name, (model, file) in models.items()
            ),
            pairs=(TINY_PAIR,),
            data=DataSpec(
                train=str(self.real / "tinyimagenet" / "train.tar"),
                val=str(halves["val"]),
                test=str(halves["test"]),
                train_samples=6_000,
                val_samples=600,
                test_samples=1_000,
                crop=1.0,
            ),
            tuning=TuningSpec(steps=20, batch=32, lr=2e-3),
            finetuning=FinetuningSpec(steps=STEPS // 4, batch=32, lr=2e-4),
            selection=SelectionSpec(buckets=10),
        )


def seeded(study: Study, seed: int) -> Study:
    """Another order of images and members in the joint training."""
    return change(study, "finetuning", seed=seed)
