"""Joint training of one pair's selection and its anchors: tier ``finetuned``."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from klas import keys
from klas.bench import Bench
from klas.errors import SelectionError
from klas.measures.accuracy import network_hits, stitched_hits
from klas.measures.training import finetune
from klas.results import Pair, finetuned_pair_key
from klas.stages import Stages
from klas.store import Arrays, Key


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
    layers = bench.layers(*names, stages.fit(*names, stitches))
    checkpoint = stages.store.root / "tmp" / f"{key.digest}.safetensors"
    rows = np.arange(len(bench.train.labels))  # joint training sees the whole split
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
    )
    loader = bench.batches(bench.val, bench.val_rows, names[0])
    hits = stitched_hits(source, target, layers, loader, len(bench.val_rows), lambda n: None)
    trained = {names[0]: source, names[1]: target}
    weights: Arrays = {}
    for role, anchor in (("source", source), ("target", target)):
        for name, tensor in anchor.state_dict().items():
            weights[f"{role}/{name}"] = tensor.cpu().contiguous().numpy()
    for (i, j), layer in layers.items():
        weights[f"{i}-{j}.weight"] = layer.weight.detach().cpu().numpy()
        weights[f"{i}-{j}.bias"] = layer.bias.detach().cpu().numpy()
    stages.store.put(keys.finetuned_weights_key(key), weights)
    accuracy = {
        name: float(network_hits(anchor, bench.batches(bench.val, bench.val_rows, name)).mean())
        for name, anchor in trained.items()
    }
    with suppress(OSError):
        checkpoint.unlink()
    return {
        "accuracy": {f"{i}-{j}": float(h.mean()) for (i, j), h in hits.items()},
        "anchors": accuracy,
        "steps": settings.steps,
    }


def _teacher(bench: Bench, names: tuple[str, str]) -> Callable[[Tensor, Tensor], Tensor]:
    """The pretrained costly anchor, on its own view of the images."""
    costly = max(names, key=lambda name: bench.costs[name].total_macs)

    def teach(source_view: Tensor, target_view: Tensor) -> Tensor:
        logits: Tensor = bench.anchors[costly](source_view if costly == names[0] else target_view)
        return logits

    return teach
