"""Joint training of one pair's selection and its anchors: tier ``finetuned``."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from klas import keys
from klas.bench import Bench
from klas.choice import space
from klas.device import enough_memory_for
from klas.errors import SelectionError
from klas.measures.accuracy import network_hits, stitched_hits
from klas.measures.normalisation import has_statistics, recalibrate
from klas.measures.training import finetune
from klas.networks.anchor import Anchor
from klas.networks.stitch import Stitch, StitchLayer
from klas.results import Pair, finetuned_pair_key
from klas.stages import Stages, layer_arrays
from klas.store import Arrays, Key

CALIBRATION = 1_000  # training images that batch statistics are taken from
CALIBRATION_BATCH = 50  # not what memory takes: a batch's statistics depend on its size


def finetune_selection(stages: Stages, pair: Pair, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Train a pair's chosen stitches and its anchors jointly; return their accuracies.

    The result is ``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}``.

    Raises:
        SelectionError: nothing is chosen.
    """
    if not chosen.any():
        raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to train")
    key = finetuned_pair_key(pair, chosen, stages.study)
    steps = stages.study.finetuning.steps
    stages.progress.start("finetuned", "steps", 0 if stages.store.has(key) else steps)
    stages.progress.label(pair.name)
    found: dict[str, Any] = stages.store.compute(key, lambda: _train(stages, pair, chosen, key))
    return found


def _train(stages: Stages, pair: Pair, chosen: NDArray[np.bool_], key: Key) -> dict[str, Any]:
    bench = stages.bench
    names = (pair.source["name"], pair.target["name"])
    stitches = [(int(i), int(j)) for i, j in pair.stitches[chosen]]
    settings = stages.study.finetuning
    # Copies: the pretrained anchors stay what every other result was measured on.
    source, target = (deepcopy(bench.anchors[name]) for name in names)
    fitted = bench.batch.retrying(lambda tick: stages.fit(*names, stitches), lambda n: None)
    layers = bench.layers(*names, fitted)
    checkpoint = stages.store.root / "tmp" / f"{key.digest}.safetensors"
    # The whole split, or as much of it as the steps can see.
    rows = np.sort(bench.readable_training_rows(settings.steps * settings.batch))
    with enough_memory_for(f"a batch of {settings.batch} images; lower [finetuning] batch"):
        finetune(
            source,
            target,
            layers,
            bench.training_batches(*names, rows, settings.steps, settings.batch),
            steps=settings.steps,
            lr=settings.lr,
            seed=stages.study.seed,
            checkpoint=checkpoint,
            tick=stages.progress.advance,
            teach=_teacher(bench, names) if settings.distillation else None,
            precision=bench.precision,
        )
    weights, accuracy = bench.batch.retrying(
        lambda tick: _measured(bench, names, source, target, layers), lambda n: None
    )
    stages.store.put(keys.finetuned_weights_key(key), weights)
    with suppress(OSError):
        checkpoint.unlink()
    return {**accuracy, "steps": settings.steps}


def _measured(
    bench: Bench,
    names: tuple[str, str],
    source: Anchor,
    target: Anchor,
    layers: Mapping[space.Stitch, StitchLayer],
) -> tuple[Arrays, dict[str, dict[str, float]]]:
    """What was trained, as arrays, and its accuracy on the validation samples.

    Stitches share their normalisation layers, so each is measured with statistics of its own.
    """
    calibration = bench.readable_training_rows(CALIBRATION)
    batch = min(CALIBRATION_BATCH, len(calibration))
    calibration = calibration[: len(calibration) // batch * batch]  # every batch counts the same
    weights, stitched, whole = layer_arrays(layers), dict[str, float](), dict[str, float]()

    def accuracy_of(network: nn.Module, viewer: str) -> tuple[float, dict[str, Tensor]]:
        training = bench.batches(bench.train, calibration, viewer, batch=batch)
        statistics = recalibrate(network, training, precision=bench.precision)
        validation = bench.batches(bench.val, bench.val_rows, viewer)
        hits = network_hits(network, validation, precision=bench.precision)
        return float(hits.mean()), statistics

    if has_statistics(source) or has_statistics(target):
        for (i, j), layer in layers.items():
            network = Stitch(source, i, target, j, layer)
            stitched[f"{i}-{j}"], statistics = accuracy_of(network, names[0])
            for name, value in statistics.items():
                weights[f"statistics/{i}-{j}/{name}"] = value.cpu().numpy()
    else:  # one pass of the source serves all
        loader = bench.batches(bench.val, bench.val_rows, names[0])
        samples = len(bench.val_rows)
        hits = stitched_hits(
            source, target, layers, loader, samples, lambda n: None, precision=bench.precision
        )
        stitched = {f"{i}-{j}": float(h.mean()) for (i, j), h in hits.items()}
    for role, name, anchor in zip(("source", "target"), names, (source, target)):
        if anchor.info.classes:
            whole[name], _ = accuracy_of(anchor, name)
        for key, tensor in anchor.state_dict().items():
            weights[f"{role}/{key}"] = tensor.cpu().contiguous().numpy()
    return weights, {"accuracy": stitched, "anchors": whole}


def _teacher(bench: Bench, names: tuple[str, str]) -> Callable[[Tensor, Tensor], Tensor]:
    """The pretrained costly anchor (with a head), on its own view of the images."""
    able = [name for name in names if bench.anchors[name].info.classes]
    costly = max(able, key=lambda name: bench.costs[name].total_macs)

    def teach(source_view: Tensor, target_view: Tensor) -> Tensor:
        logits: Tensor = bench.anchors[costly](source_view if costly == names[0] else target_view)
        return logits

    return teach
