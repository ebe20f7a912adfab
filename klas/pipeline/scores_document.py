"""Put the scores document together from whatever is computed."""

import importlib.metadata
from typing import Any

import numpy as np

from klas.networks.splitting.split import SPLITTER
from klas.pipeline.context import Context
from klas.results.documents.numbers import optional_score
from klas.results.result import ProbeAccuracy, Probes, ThetaOutput, Tuned, Validation, ZeroShot
from klas.results.score_sums import read_score_sums
from klas.selection.scores import SCORES, candidate_scores
from klas.storage.store import Arrays
from klas.tasks.metric import AccuracyMetric


def scores_document(context: Context) -> dict[str, Any]:
    """The scores document from whatever is computed; null where something is not."""
    task = context.objective.task
    return {
        "format": "klas-scores",
        "version": 1,
        "study": context.study.model_dump(mode="json"),
        "made_with": {
            "klas": importlib.metadata.version("klas"),
            "torch": importlib.metadata.version("torch"),
            "timm": importlib.metadata.version("timm"),
            "splitter": SPLITTER,
        },
        "task": task.name,
        "accuracy_metric": task.metric.name,
        "anchors": [_anchor_entry(context, name) for name in context.anchors],
        "data": dict(context.keys.data),
        "fit": context.study.fit.model_dump(mode="json"),
        "precision": context.precision,
        "pairs": [_pair_entry(context, *names) for names in context.pairs],
    }


def _anchor_entry(context: Context, name: str) -> dict[str, Any]:
    info, cost = context.anchors[name].info, context.costs[name]
    outputs, probes = context.get(Validation(anchor=name)), context.get(Probes(anchor=name))
    accuracy = None
    if outputs is not None and "logits" in outputs:
        metric = context.objective.task.metric
        accuracy = metric.of_outputs(outputs["logits"], outputs["labels"])
    return {
        **context.identities[name],
        "weights": info.weights,
        "blocks": info.depth,
        "cuts": list(info.cuts),
        "layouts": [layout.to_json() for layout in info.layouts],
        "macs": cost.total_macs,
        "params": cost.total_params,
        "accuracy": accuracy,
        "probe_accuracy": context.get(ProbeAccuracy(anchor=name)),
        "probe_converged": None if probes is None else [bool(c) for c in probes["converged"]],
    }


def _pair_entry(context: Context, source: str, target: str) -> dict[str, Any]:
    candidates = context.candidates(source, target)
    stitches = np.array([place for place, _, _ in candidates], dtype=np.int64).reshape(-1, 2)
    metric, samples = context.objective.task.metric, context.val.samples
    sums = read_score_sums(context.get, samples, source, target)
    scores = None if sums is None else candidate_scores(sums, stitches)
    tiers = {
        "zero_shot": context.get(ZeroShot(source=source, target=target)),
        "tuned": context.get(Tuned(source=source, target=target)),
    }
    entries = []
    for row, ((i, j), in_space, snnet) in enumerate(candidates):
        macs, params = context.stitch_cost(source, i, target, j)
        entries.append(
            {
                "source_block": i,
                "target_block": j,
                "in_space": in_space,
                "snnet": snnet,
                "macs": macs,
                "params": params,
                "scores": {
                    name: None if scores is None else optional_score(scores[name][row])
                    for name in SCORES
                },
                "accuracy": {
                    tier: None if arrays is None else _accuracy(metric, arrays, i, j, samples)
                    for tier, arrays in tiers.items()
                },
            }
        )
    return {
        "source": source,
        "target": target,
        "theta_output": context.get(ThetaOutput(source=source, target=target)),
        "theta": None if sums is None else (sums.kl.sum(0) / samples).tolist(),
        "theta_target": None if sums is None else (sums.target_kl.sum(0) / samples).tolist(),
        "candidates": entries,
    }


def _accuracy(metric: AccuracyMetric, arrays: Arrays, i: int, j: int, samples: int) -> float:
    return metric.value(np.unpackbits(arrays[f"{i}-{j}.hits"], count=samples))
