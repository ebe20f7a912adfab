"""Rows ``zero_shot…`` and ``tuned…``: all stitches of a pair, measured and trained.

What bounds both is the passes of the activations behind every stitch layer through the rest of the
target. The images are in memory on all sides: how they get there is the loader's matter.
"""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.harness import Claim, Row, Sides, faster, seconds_of, within
from benchmarks.stitch_case import FIT, Case, open_case
from klas.measures.accuracy import stitch_outcomes
from klas.measures.normalisation import calibrate_stitches, has_statistics, normalising_by_batch
from klas.measures.schedule import one_cycle
from klas.measures.training import TINY, tune
from klas.networks.device import autocast
from klas.networks.stitch import Stitch
from klas.selection.space import Place

LEARNING_RATE = 1e-2
SUFFIXES = "the suffixes' forward passes alone"
WITH_SOURCE = "one pass of the source, the stitch layers and the suffixes"
FROM_THE_IMAGE = "every stitched network from the image"
THERE_AND_BACK = "the suffixes' forward and backward passes alone"
WITH_BOTH = "the same with the stitch layers and the passes of both anchors"
BY_ITSELF = "each stitch trained by itself"

# -- zero_shot ---------------------------------------------------------------------------------


def _measuring(device: torch.device, *, source: str, target: str, images: int) -> Iterator[Sides]:
    case = open_case(device, source, target, images=images, steps=1, batch=FIT)
    family, networks = case.family, {p: case.family.stitch(p) for p in case.family.places}
    if has_statistics(family.target):
        calibrate_stitches(family, case.trained, objective=case.objective)
    moved = case.moved(case.measured[0])

    def ours() -> None:
        stitch_outcomes(
            family,
            lambda: case.measured,
            lambda n: None,
            objective=case.objective,
            precision=case.precision,
        )

    @torch.inference_mode()
    def suffixes() -> None:
        with autocast(device, case.precision):
            for images, _ in case.measured:
                for (_, j), activation in moved.items():
                    family.target.resume(activation[: len(images)], j)

    @torch.inference_mode()
    def with_source() -> None:
        with autocast(device, case.precision):
            for images, _ in case.measured:
                activations = family.source.cut_activations(images)
                for i, j in family.places:
                    family.target.resume(family.layer((i, j))(activations[i]), j)

    @torch.inference_mode()
    def from_the_image() -> None:
        # Outcomes stay on the device, as ours do. Statistics are the same for all here: to change
        # them would only cost this side time.
        with autocast(device, case.precision):
            for network in networks.values():
                for images, labels in case.measured:
                    network(images).argmax(-1) == labels  # noqa: B015 - what is measured

    yield Sides(
        ours=seconds_of(ours, device),
        others={
            SUFFIXES: seconds_of(suffixes, device),
            WITH_SOURCE: seconds_of(with_source, device),
            FROM_THE_IMAGE: seconds_of(from_the_image, device),
        },
    )


# -- tuned -------------------------------------------------------------------------------------


def _training(
    device: torch.device, *, source: str, target: str, batch: int, steps: int, images: int
) -> Iterator[Sides]:
    case = open_case(device, source, target, images=images, steps=steps, batch=batch)
    family, objective = case.family, case.objective
    begun = deepcopy(family.layers.state_dict())
    moved = case.moved(case.trained[0])
    apart = deepcopy(family)  # with statistics of its own, so that the target's stay

    def ours() -> None:
        family.layers.load_state_dict(begun)
        tune(
            family,
            case.views,
            objective=objective,
            steps=steps,
            lr=LEARNING_RATE,
            tick=lambda n: None,
            precision=case.precision,
        )

    def there_and_back() -> None:
        for _, labels in case.trained:
            with normalising_by_batch(apart.target):
                for (_, j), activation in moved.items():
                    entering = activation.detach().requires_grad_(True)
                    with autocast(device, case.precision):
                        loss = objective.loss(apart.target.resume(entering, j), labels)
                    loss.backward()

    def with_both() -> None:
        for step, (images, labels) in enumerate(case.trained):
            with torch.no_grad(), autocast(device, case.precision):
                activations = family.source.cut_activations(images)
                if step < steps // 2:
                    family.target.run_blocks(family.target.stem(images), 0)
            with normalising_by_batch(apart.target):
                for i, j in family.places:
                    with autocast(device, case.precision):
                        entering = apart.layer((i, j))(activations[i])
                        loss = objective.loss(apart.target.resume(entering, j), labels)
                    loss.backward()

    def by_itself() -> None:
        apart.layers.load_state_dict(begun)
        family.use("target")  # what the features that are wanted come from
        for place in family.places:
            stitch = apart.stitch(place)
            assert isinstance(stitch, Stitch)
            _train_alone(case, stitch)

    def claims() -> list[Claim]:
        ours()
        together = _accuracies(case)
        by_itself()
        family.layers.load_state_dict(apart.layers.state_dict())
        alone = _accuracies(case)
        worst = max(abs(together[place] - alone[place]) for place in family.places)
        return [Claim("greatest difference in accuracy from each by itself", worst, 0.01)]

    yield Sides(
        ours=seconds_of(ours, device),
        others={
            THERE_AND_BACK: seconds_of(there_and_back, device),
            WITH_BOTH: seconds_of(with_both, device),
            BY_ITSELF: seconds_of(by_itself, device),
        },
        claims=claims,
    )


def _train_alone(case: Case, stitch: Stitch) -> None:
    """One stitch by the recipe of tier ``tuned``, as a loop of its own.

    What is frozen takes no gradients, and the target runs whole only while its features are wanted.
    """
    target, last = case.family.target, case.family.target.info.layouts[-1]
    layer = stitch.layer
    optimizer = torch.optim.AdamW(layer.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    behind = nn.ModuleList([stitch.back, stitch.head])
    for step, (images, labels) in enumerate(case.trained):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * one_cycle(step, len(case.trained))
        matching = step < len(case.trained) // 2
        with autocast(images.device, case.precision):
            with torch.no_grad():
                activation = stitch.front(stitch.stem(images))
                if matching:
                    read = case.objective.head_features(target.cut_activations(images)[-1], last)
                    wanted = read.float()
            with normalising_by_batch(behind):
                activation = stitch.back(layer(activation))
                if matching:
                    reached = case.objective.head_features(activation, last).float()
                    loss = mse_loss(reached, wanted) / wanted.var().clamp(min=TINY)
                else:
                    loss = cross_entropy(stitch.head(activation), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _accuracies(case: Case) -> dict[Place, float]:
    """Of every stitch with the layers that it has, and statistics of its own."""
    if has_statistics(case.family.target):
        calibrate_stitches(
            case.family, case.trained, objective=case.objective, precision=case.precision
        )
    outcomes = stitch_outcomes(
        case.family,
        lambda: case.measured,
        lambda n: None,
        objective=case.objective,
        precision=case.precision,
    )
    return {place: float(right.mean()) for place, right in outcomes.items()}


_BASE = {"source": "digits_vit_small", "target": "digits_vit_base"}
_CONVNET = {"source": "digits_vit_small", "target": "digits_convnet"}
_DEIT = {"source": "deit_tiny_patch16_224", "target": "deit_small_patch16_224"}
_MEASURED = {WITH_SOURCE: within(1.1), FROM_THE_IMAGE: faster(1)}
_TRAINED = {WITH_BOTH: within(1.15), BY_ITSELF: faster(1)}

ROWS = (
    Row(
        name="zero_shot",
        what="zero_shot of all candidates",
        reach={SUFFIXES: within(1.1), **_MEASURED},
        sides=_measuring,
        sizes={"cpu": {**_BASE, "images": 256}, "cuda": {**_DEIT, "images": 1024}},
    ),
    Row(
        # Anchors as narrow as these take time by their activations, not by their MACs: one pass of
        # the source is a fifth of all, and no bound that leaves it out can be reached. It is shown.
        name="zero_shot_batchnorm",
        what="zero_shot of all candidates, a target with BatchNorm",
        reach={SUFFIXES: within(), **_MEASURED},
        sides=_measuring,
        sizes={"cpu": {**_CONVNET, "images": 2048}},
    ),
    Row(
        name="tuned",
        what="tuned of all candidates",
        reach={THERE_AND_BACK: within(1.15), **_TRAINED},
        sides=_training,
        sizes={
            "cpu": {**_BASE, "batch": 128, "steps": 4, "images": 256},
            "cuda": {**_DEIT, "batch": 128, "steps": 6, "images": 1024},
        },
        rounds=3,
        warm_up=False,
    ),
    Row(
        name="tuned_batchnorm",
        what="tuned of all candidates, a target with BatchNorm",
        reach={THERE_AND_BACK: within(), **_TRAINED},
        sides=_training,
        sizes={"cpu": {**_CONVNET, "batch": 128, "steps": 20, "images": 2048}},
    ),
)
