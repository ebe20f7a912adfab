"""What is computed for the page: parts, each in a process of its own, in stages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from docs.alone import train_alone
from docs.pages import pair_named
from docs.real_networks.adapt import adapt
from docs.real_networks.studies import (
    ALONE_STEPS,
    ALONE_STITCHES,
    CIFAR_NETWORKS,
    CIFAR_PAIRS,
    ORACLE_PAIR,
    SEEDS,
    TINY_PAIR,
    Zoos,
    seeded,
)
from docs.real_networks.task_alone import task_alone_key, tune_by_task_alone
from klas.errors import DivergedError
from klas.results.pair import Pair
from klas.results.result import Fit
from klas.results.trainings import method_trainings
from klas.storage.key import Key
from klas.storage.store import Store
from klas.study import EngineSpec, Study
from klas.study import Stage as KlasStage

if TYPE_CHECKING:
    from klas.pipeline.context import Context

Part = Callable[[Store], None]


class Stage(NamedTuple):
    """Parts that don't need each other, but what earlier stages made."""

    name: str
    at_once: int
    parts: tuple[str, ...]


STAGES = (
    Stage("adapt", 2, tuple(f"adapt {name}" for name in reversed(CIFAR_NETWORKS))),
    Stage("cifar10", 1, ("cifar10 as published", "cifar10 scores")),
    Stage("cifar10 tuned", 2, tuple(f"cifar10 tuned {' → '.join(names)}" for names in CIFAR_PAIRS)),
    Stage("alone", 2, ("alone 1 of 2", "alone 2 of 2", "tuned by the task alone")),
    Stage(
        "joint",
        2,
        tuple(f"joint {' → '.join(names)}, seed {seed}" for seed in SEEDS for names in CIFAR_PAIRS),
    ),
    Stage("tinyimagenet", 1, ("tinyimagenet",)),
    Stage("tinyimagenet joint", 2, ("tinyimagenet joint",)),
)


def parts_of(zoos: Zoos) -> dict[str, Part]:
    """Every part by its name."""
    return {
        **{f"adapt {name}": partial(_adapt, zoos, name) for name in CIFAR_NETWORKS},
        "cifar10 as published": lambda store: _run(zoos.cifar(published=True), store, "anchors"),
        "cifar10 scores": lambda store: _run(zoos.cifar(), store, "zero_shot"),
        **{
            f"cifar10 tuned {' → '.join(names)}": partial(_tuned, zoos, names)
            for names in CIFAR_PAIRS
        },
        **{f"alone {half + 1} of 2": partial(_alone, zoos, half) for half in range(2)},
        "tuned by the task alone": partial(_task_alone, zoos),
        **{
            f"joint {' → '.join(names)}, seed {seed}": partial(
                lambda names, seed, store: _joint(seeded(zoos.cifar(), seed), names, store),
                names,
                seed,
            )
            for seed in SEEDS
            for names in CIFAR_PAIRS
        },
        "tinyimagenet": lambda store: _run(zoos.tiny(), store, "tuned"),
        "tinyimagenet joint": lambda store: _joint(zoos.tiny(), TINY_PAIR, store),
    }


def _adapt(zoos: Zoos, name: str, store: Store) -> None:
    out = zoos.adapted(name)
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        adapt(zoos.published(name), zoos.cifar_train, out, lambda steps: None)


def _run(study: Study, store: Store, until: KlasStage) -> None:
    from klas.pipeline.run import Pipeline

    Pipeline(study, store, allow_code=True).run(until)


def _tuned(zoos: Zoos, names: tuple[str, str], store: Store) -> None:
    """One pair's oracle: results are a pair's own, so a study of one pair shares them."""
    from klas.pipeline.run import Pipeline

    study = zoos.cifar().model_copy(update={"pairs": (names,)})
    Pipeline(study, store, allow_code=True, engine=EngineSpec(name="here")).run("tuned")


def _joint(study: Study, names: tuple[str, str], store: Store) -> None:
    """Every method of a pair, with all steps; on CIFAR-10 with a quarter too, of the first seed."""
    from klas.pipeline.run import Pipeline

    # Two such parts run beside each other: each is one process.
    pipeline = Pipeline(study, store, allow_code=True, engine=EngineSpec(name="here"))
    pair = pair_named(pipeline.run("scores"), names)
    wanted = {study.finetuning.steps}
    if names in CIFAR_PAIRS and study.finetuning.seed == SEEDS[0]:
        wanted.add(study.finetuning.steps // 4)
    for training in method_trainings(pair, study):
        if training.steps in wanted:
            try:
                pipeline.train(training.result)
            except DivergedError as error:
                print(f"{pair.name}, {training.metric}: {error}", file=sys.stderr)


def alone_stitches(pair: Pair) -> list[tuple[int, int]]:
    """Candidates between the anchors' costs, drawn evenly over cost and, there, over Γ."""
    low, high = (anchor["macs"] for anchor in pair.cheap_and_costly)
    inside = np.flatnonzero(pair.in_space & (pair.macs >= low) & (pair.macs <= high))
    count = min(ALONE_STITCHES, len(inside))
    by_cost = inside[np.argsort(pair.macs[inside], kind="stable")]
    taken = []
    for number, part in enumerate(np.array_split(by_cost, count)):
        # Of the candidates of one narrow range of cost: the best by Γ, the middle, the worst, …
        order = part[np.argsort(pair.scores("kl")[part], kind="stable")]
        taken.append(order[(number % 3) * (len(order) - 1) // 2])
    return [(int(i), int(j)) for i, j in pair.stitches[taken]]


def alone_key(fit: str, stitch: tuple[int, int], lr: float) -> Key:
    """A stitch fine-tuned on its own; ``fit`` is the digest of the layers that it starts from."""
    return Key(
        stage="finetuned",
        version=2,
        inputs={"alone": fit, "stitch": list(stitch), "steps": ALONE_STEPS, "lr": lr},
        label=f"{' → '.join(ORACLE_PAIR)}: {stitch[0]} → {stitch[1]} alone",
    )


def _oracle_pair(zoos: Zoos, store: Store) -> tuple[Pair, Context, str]:
    """The pair of the stronger oracle, its study's context, and the digest of its fitted layers."""
    from klas.pipeline.run import Pipeline

    pipeline = Pipeline(zoos.cifar(), store, allow_code=True)
    pair, context = pair_named(pipeline.run("scores"), ORACLE_PAIR), pipeline.context
    return pair, context, context.keys.of(Fit(source=pair.names[0], target=pair.names[1])).digest


def _alone(zoos: Zoos, half: int, store: Store) -> None:
    pair, context, fit = _oracle_pair(zoos, store)
    settings = context.study.finetuning.model_copy(update={"steps": ALONE_STEPS})
    for stitch in alone_stitches(pair)[half::2]:
        key = alone_key(fit, stitch, settings.lr)
        store.compute(key, lambda s=stitch, k=key: train_alone(context, pair, s, settings, k))


def _task_alone(zoos: Zoos, store: Store) -> None:
    pair, context, fit = _oracle_pair(zoos, store)
    places = alone_stitches(pair)
    key = task_alone_key(fit, places, context.study.tuning)
    store.compute(key, lambda: tune_by_task_alone(context, pair, places))
