"""The training of a list: the recipe as it is edited, and the curves of a log. Pure functions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from dashboard.model.list_entries import Entry
from klas.jobs.kinds import TrainJob
from klas.recipe import TrainingSpec
from klas.results.documents.stitches import StitchList
from klas.results.pair import Document
from klas.study import Study, change

Floats = NDArray[np.float64]

SMOOTHED = 40  # pieces of a curve that are apart from each other


class Edits(TypedDict, total=False):
    """What was set otherwise than the study's ``[training]`` has it.

    mixes: whether images are mixed at all, by mixup and cutmix; the others are the recipe's own.
    """

    steps: int
    batch: int
    lr: float
    distillation: str
    mixes: bool
    precision: str
    validate_every: int
    seed: int


def edited(study: Study, edits: Edits) -> TrainingSpec:
    """The study's recipe with these edits.

    Raises:
        StudyError: a value makes no sense.
    """
    values: dict[str, Any] = {**edits}
    mixes = values.pop("mixes", study.training.mixes)
    if mixes != study.training.mixes:
        usual = TrainingSpec()
        values["mixup"] = usual.mixup if mixes else 0.0
        values["cutmix"] = usual.cutmix if mixes else 0.0
        values["mixup_prob"] = usual.mixup_prob if mixes else study.training.mixup_prob
    return change(study, "training", **values).training


def differing(study: Study, recipe: TrainingSpec) -> dict[str, Any]:
    """The settings that a recipe has otherwise than the study."""
    own, other = study.training.model_dump(), recipe.model_dump()
    return {name: value for name, value in other.items() if own[name] != value}


def train_job(stitches: Iterable[Entry], recipe: TrainingSpec) -> TrainJob:
    """What trains them; the order in which they were picked is no other training."""
    return TrainJob(stitches=tuple(sorted(set(stitches))), recipe=recipe)


def network_bytes(document: Document, stitches: Collection[Entry]) -> int:
    """About how large the network is: its anchors' weights and its layers', in float32."""
    names = {name for source, target, *_ in stitches for name in (source, target)}
    anchors = {a["name"]: a for a in document["anchors"] if a["name"] in names}
    layers = sum(
        (anchors[f]["layouts"][i]["channels"] + 1) * anchors[g]["layouts"][j]["channels"]
        for f, g, i, j in stitches
    )
    return 4 * (sum(a["params"] for a in anchors.values()) + layers)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training in the cache folder.

    Attributes:
        name: its job's.
        folder: where its files are.
        finished: whether the network is there.
        listed: the stitches.
        recipe: how they are trained.
    """

    name: str
    folder: Path
    finished: bool
    listed: StitchList
    recipe: TrainingSpec

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of its stitches, in order."""
        every = [(s["source"], s["target"]) for s in self.listed["stitches"]]
        return list(dict.fromkeys(every))

    def is_of(self, document: Document) -> bool:
        """Whether its anchors are this study's, with the same weights."""
        known = {(a["name"], a["digest"]) for a in document["anchors"]}
        return all((a["name"], a["digest"]) in known for a in self.listed["anchors"])


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A log.

    Attributes:
        steps: (N,) at which a loss was noted.
        loss, lr: (N,) of one member each.
        members: (N,) which one it was.
        accuracy: by member, the steps at which it was measured and its accuracies.
        seconds: how long it has been trained.
    """

    steps: Floats
    loss: Floats
    lr: Floats
    members: Sequence[str]
    accuracy: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    seconds: float

    @property
    def step(self) -> int:
        """The last one that is in it."""
        return int(self.steps[-1]) if self.steps.size else 0

    @property
    def on_the_way(self) -> bool:
        """Whether members were measured more than once."""
        return any(len(steps) > 1 for steps, _ in self.accuracy.values())

    @property
    def smoothed(self) -> Floats:
        """(N,) the loss as a mean over a stretch around each step: members differ much."""
        half = max(1, len(self.loss) // SMOOTHED)
        sums = np.concatenate([[0.0], np.cumsum(self.loss)])
        at = np.arange(len(self.loss))
        low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(self.loss))
        means: Floats = (sums[high] - sums[low]) / (high - low)
        return means


def curves_of(rows: Sequence[Mapping[str, str]]) -> Curves:
    """What the rows of ``log.csv`` say."""
    stepped = [row for row in rows if row["loss"]]
    accuracy: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        if row["accuracy"]:
            steps, values = accuracy.setdefault(row["member"], ([], []))
            if steps and steps[-1] == int(row["step"]):  # again, after the last step
                del steps[-1], values[-1]
            steps.append(int(row["step"]))
            values.append(float(row["accuracy"]))
    return Curves(
        steps=np.array([int(row["step"]) for row in stepped], dtype=float),
        loss=np.array([float(row["loss"]) for row in stepped]),
        lr=np.array([float(row["lr"]) for row in stepped]),
        members=[row["member"] for row in stepped],
        accuracy=accuracy,
        seconds=max((float(row["seconds"]) for row in rows), default=0.0),
    )
