"""Joint training of one pair's selection and its anchors: tier ``finetuned``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.errors import DivergedError, SelectionError
from klas.measures.normalisation import has_statistics, recalibrate
from klas.measures.training import finetune
from klas.networks.anchor import Anchor
from klas.networks.batch_size import enough_memory_for
from klas.networks.stitch import Stitch, StitchLayer
from klas.pipeline.context import Bench
from klas.pipeline.evaluation import anchor_hits, stitch_hits
from klas.pipeline.stages import Stages, layer_arrays
from klas.results import keys
from klas.results.comparison import budget_steps
from klas.results.pair import Pair, finetuned_pair_key
from klas.results.selections import method_choice
from klas.selection import space
from klas.storage.store import Arrays, Key
from klas.study import METRICS, FinetuningSpec, Metric, Study

CALIBRATION = 1_000  # training images that batch statistics are taken from
CALIBRATION_BATCH = 50  # not what memory takes: a batch's statistics depend on its size


def finetune_selection(
    stages: Stages, pair: Pair, chosen: NDArray[np.bool_], settings: FinetuningSpec
) -> dict[str, Any]:
    """Train a pair's chosen stitches and its anchors jointly; return their accuracies.

    The result is ``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}`` on the validation
    samples. Which images are classified right is stored too, also of the study's test split.

    Raises:
        SelectionError: nothing is chosen.
        DivergedError: the loss is no longer a number.
    """
    if not chosen.any():
        raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to train")
    key = training_key(pair, chosen, stages.study, settings)
    make = partial(_make, stages, pair, chosen, settings, key)
    found: dict[str, Any] = stages.store.compute(key, make)
    if stages.bench.test is not None:
        _hits(stages, pair, chosen, key, "test")
        for name in pair.names:
            stages.have(stages.outputs_task(name))
    return found


def finetune_methods(stages: Stages, pairs: Sequence[Pair]) -> list[str]:
    """Train what every method chooses, at every budget of the comparison.

    A method whose training diverges is left out; the others go on.

    Returns:
        A sentence for each that diverged.
    """
    study, diverged = stages.study, []
    for pair in pairs:
        trainings = method_trainings(pair, study)
        missing = {
            key.digest: settings.steps
            for _, chosen, settings in trainings
            if not stages.store.has(key := training_key(pair, chosen, study, settings))
        }
        stages.progress.start("finetuned", "steps", sum(missing.values()))
        for metric, chosen, settings in trainings:
            stages.progress.label(f"{pair.name}: {metric}, {settings.steps:,} steps")
            try:
                finetune_selection(stages, pair, chosen, settings)
            except DivergedError as error:
                diverged.append(f"{pair.name}, {metric}: {error}")
    return diverged


def method_trainings(
    pair: Pair, study: Study
) -> list[tuple[Metric, NDArray[np.bool_], FinetuningSpec]]:
    """What :func:`finetune_methods` trains of a pair: method, choice, settings of a budget."""
    sets = [(metric, method_choice(pair, study.selection, metric)) for metric in METRICS]
    return [
        (metric, chosen, study.finetuning.model_copy(update={"steps": steps}))
        for steps in budget_steps(study)
        for metric, chosen in sets
        if chosen.any()
    ]


def training_key(
    pair: Pair, chosen: NDArray[np.bool_], study: Study, settings: FinetuningSpec
) -> Key:
    """Where one of :func:`method_trainings` is stored."""
    return finetuned_pair_key(pair, chosen, study.model_copy(update={"finetuning": settings}))


def _make(
    stages: Stages,
    pair: Pair,
    chosen: NDArray[np.bool_],
    settings: FinetuningSpec,
    key: Key,
) -> dict[str, Any]:
    checkpoint = stages.store.root / "tmp" / f"{key.digest}.safetensors"
    train = partial(_train, stages, pair, chosen, settings, checkpoint)
    stages.store.compute(keys.finetuned_weights_key(key), train)
    hits = _hits(stages, pair, chosen, key, "val")
    samples = len(stages.bench.val_rows)
    accuracy = {
        name: float(np.unpackbits(bits, count=samples).mean()) for name, bits in hits.items()
    }
    with suppress(OSError):
        checkpoint.unlink()
    return {
        "accuracy": {name: value for name, value in accuracy.items() if name not in pair.names},
        "anchors": {name: value for name, value in accuracy.items() if name in pair.names},
        "steps": settings.steps,
    }


def _train(
    stages: Stages,
    pair: Pair,
    chosen: NDArray[np.bool_],
    settings: FinetuningSpec,
    checkpoint: Path,
) -> Arrays:
    bench, names = stages.bench, pair.names
    # Copies: the pretrained anchors stay what every other result was measured on.
    source, target = (deepcopy(bench.anchors[name]) for name in names)
    fitted = stages.fitted(*names)
    layers = bench.layers(*names, {place: fitted[place] for place in pair.places(chosen)})
    if settings.steps:
        # The whole split, or as much of it as the steps can see.
        rows = np.sort(bench.readable_training_rows(settings.steps * settings.batch))
        with enough_memory_for(f"a batch of {settings.batch} images; lower [finetuning] batch"):
            finetune(
                source,
                target,
                layers,
                bench.training_batches(*names, rows, settings),
                steps=settings.steps,
                lr=settings.lr,
                seed=stages.study.order_seed(settings),
                checkpoint=checkpoint,
                tick=stages.progress.advance,
                teach=_teacher(bench, pair) if settings.distillation else None,
                precision=bench.precision,
            )
    return bench.batch.retrying(
        lambda tick: _calibrated(bench, names, source, target, layers), lambda n: None
    )


def _calibrated(
    bench: Bench,
    names: tuple[str, str],
    source: Anchor,
    target: Anchor,
    layers: Mapping[space.Stitch, StitchLayer],
) -> Arrays:
    """What was trained, as arrays.

    Stitches share their normalisation layers, so each gets statistics of its own, and so do the
    anchors.
    """
    calibration = bench.readable_training_rows(CALIBRATION)
    batch = min(CALIBRATION_BATCH, len(calibration))
    calibration = calibration[: len(calibration) // batch * batch]  # every batch counts the same
    weights = layer_arrays(layers)

    def statistics(network: nn.Module, viewer: str) -> dict[str, Tensor]:
        training = bench.batches(bench.train, calibration, viewer, batch=batch)
        return recalibrate(network, training, precision=bench.precision)

    if has_statistics(source) or has_statistics(target):
        for (i, j), layer in layers.items():
            found = statistics(Stitch(source, i, target, j, layer), names[0])
            for name, value in found.items():
                weights[f"statistics/{i}-{j}/{name}"] = value.cpu().numpy()
    for role, name, anchor in zip(("source", "target"), names, (source, target)):
        if anchor.info.classes:
            statistics(anchor, name)
        for entry, tensor in anchor.state_dict().items():
            weights[f"{role}/{entry}"] = tensor.cpu().contiguous().numpy()
    return weights


def _hits(
    stages: Stages, pair: Pair, chosen: NDArray[np.bool_], key: Key, split: Literal["val", "test"]
) -> Arrays:
    """Which images of a split the trained stitches and anchors get right, packed to bits."""
    bench = stages.bench
    images, rows, data = bench.split(split)

    def make() -> Arrays:
        stored = stages.store.get(keys.finetuned_weights_key(key))
        places = pair.places(chosen)

        def measure(tick: Callable[[int], None]) -> Arrays:
            hits = stitch_hits(bench, pair.names, stored, places, images, rows, tick)
            hits |= anchor_hits(bench, pair.names, stored, images, rows)
            return {name: np.packbits(bits) for name, bits in hits.items()}

        return bench.batch.retrying(measure, lambda n: None)

    found: Arrays = stages.store.compute(keys.finetuned_hits_key(key, data), make)
    return found


def _teacher(bench: Bench, pair: Pair) -> Callable[[Tensor, Tensor], Tensor]:
    """The best pretrained anchor that has a head, on its own view of the images.

    Of equally good ones, the costlier.
    """
    best = max(pair.measured_anchors, key=lambda a: (a["accuracy"], a["macs"]))["name"]

    def teach(source_view: Tensor, target_view: Tensor) -> Tensor:
        view = source_view if best == pair.names[0] else target_view
        logits: Tensor = bench.anchors[best](view)
        return logits

    return teach
