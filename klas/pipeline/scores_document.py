"""Put the scores document together from whatever is computed."""

import importlib.metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.measures.divergence import chunk_rows
from klas.networks.splitting.split import SPLITTER
from klas.pipeline.stages import Stages
from klas.results.documents.numbers import optional_score
from klas.results.score_sums import read_score_sums
from klas.selection.scores import SCORES, candidate_scores
from klas.storage.arrays import chunks
from klas.storage.store import Arrays


def scores_document(stages: Stages) -> dict[str, Any]:
    """The scores document from whatever is computed; null where something is not."""
    return {
        "format": "klas-scores",
        "version": 1,
        "study": stages.study.model_dump(mode="json"),
        "made_with": {
            "klas": importlib.metadata.version("klas"),
            "torch": importlib.metadata.version("torch"),
            "timm": importlib.metadata.version("timm"),
            "splitter": SPLITTER,
        },
        "task": "classification",
        "accuracy_metric": "top1",
        "anchors": [_anchor_entry(stages, name) for name in stages.bench.anchors],
        "data": {
            "train": stages.bench.train_data,
            "val": stages.bench.val_data,
            "test": stages.bench.test_data,
        },
        "fit": stages.study.fit.model_dump(mode="json"),
        "precision": stages.bench.precision,
        "pairs": [_pair_entry(stages, a, b) for a, b in stages.bench.pairs],
    }


def _anchor_entry(stages: Stages, name: str) -> dict[str, Any]:
    info, cost = stages.bench.anchors[name].info, stages.bench.costs[name]
    outputs = stages.store.get(stages.val_task(name).key)
    probes = stages.store.get(stages.probes_task(name).key)
    accuracy = None
    if outputs is not None and "logits" in outputs:
        accuracy = _top1(outputs["logits"], outputs["labels"])
    ready = outputs is not None and probes is not None
    return {
        **stages.bench.described[name],
        "weights": info.weights,
        "blocks": info.depth,
        "cuts": list(info.cuts),
        "layouts": [layout.to_json() for layout in info.layouts],
        "macs": cost.total_macs,
        "params": cost.total_params,
        "accuracy": accuracy,
        "probe_accuracy": stages.probe_accuracy(name) if ready else None,
        "probe_converged": [bool(c) for c in probes["converged"]] if ready else None,
    }


def _pair_entry(stages: Stages, source: str, target: str) -> dict[str, Any]:
    bench = stages.bench
    outputs = all(stages.store.has(stages.val_task(n).key) for n in (source, target))
    candidates = bench.candidates(source, target)
    stitches = np.array([stitch for stitch, _, _ in candidates], dtype=np.int64).reshape(-1, 2)
    sums = read_score_sums(
        stages.store,
        stages.study,
        {"train": bench.train_data, "val": bench.val_data},
        bench.precision,
        (bench.described[source], bench.described[target]),
        [stitch for stitch, _, _ in candidates],
    )
    scores = None if sums is None else candidate_scores(sums, stitches)
    tiers = {
        "zero_shot": stages.store.get(stages.zero_shot_task(source, target).key),
        "tuned": stages.store.get(stages.tuned_task(source, target).key),
    }
    samples = len(bench.val_rows)
    entries = []
    for row, ((i, j), in_space, snnet) in enumerate(candidates):
        macs, params = bench.stitch_cost(source, i, target, j)
        entries.append(
            {
                "source_block": i,
                "target_block": j,
                "in_space": in_space,
                "snnet": snnet,
                "macs": macs,
                "params": params,
                "scores": {
                    metric: None if scores is None else optional_score(scores[metric][row])
                    for metric in SCORES
                },
                "accuracy": {
                    tier: None if arrays is None else _accuracy(arrays, i, j, samples)
                    for tier, arrays in tiers.items()
                },
            }
        )
    return {
        "source": source,
        "target": target,
        "theta_output": stages.theta_output(source, target) if outputs else None,
        "theta": None if sums is None else (sums.kl.sum(0) / samples).tolist(),
        "theta_target": None if sums is None else (sums.target_kl.sum(0) / samples).tolist(),
        "candidates": entries,
    }


def _accuracy(arrays: Arrays, i: int, j: int, samples: int) -> float:
    return float(np.unpackbits(arrays[f"{i}-{j}.hits"], count=samples).mean())


def _top1(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Top-1 accuracy, read a chunk at a time: all logits together may be gigabytes."""
    rows = chunk_rows(1, logits.shape[1])
    parts = zip(chunks(logits, rows), chunks(labels, rows))
    return sum(int((few.argmax(1) == right).sum()) for few, right in parts) / len(labels)
