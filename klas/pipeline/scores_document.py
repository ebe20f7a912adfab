"""Put the scores document together from whatever is computed."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from klas.networks.cost import Cost
from klas.networks.splitting.split import SPLITTER
from klas.pipeline.context import Context
from klas.results.documents.numbers import optional_score
from klas.results.documents.scores import Candidate, ScoredPair, Scores, ScoresDocument
from klas.results.documents.sources import AnchorEntry, Deployed, Layout, MadeWith, Weights
from klas.results.result import (
    DIVERGED,
    OUTCOMES,
    ProbeAccuracy,
    Probes,
    ThetaOutput,
    Tuned,
    Validation,
    ZeroShot,
)
from klas.results.score_sums import read_score_sums
from klas.selection.scores import SCORES, candidate_scores
from klas.selection.space import Place, name_of
from klas.storage.arrays import Arrays
from klas.tasks.metric import AccuracyMetric


def scores_document(context: Context) -> ScoresDocument:
    """The scores document from whatever is computed; null where something is not."""
    task = context.objective.task
    document: ScoresDocument = {
        "format": "klas-scores",
        "version": 1,
        "study": context.study.content(),
        "made_with": made_with(),
        "task": task.name,
        "accuracy_metric": task.metric.name,
        "anchors": [_anchor_entry(context, name) for name in context.anchors],
        "data": context.data,
        "fit": {"samples": context.study.fit.samples},
        "precision": context.precision,
        "pairs": [_pair_entry(context, *names) for names in context.pairs],
    }
    if task.name == "segmentation":  # an IoU is of a class
        document["class_names"] = list(context.splits.class_names)
    return document


def made_with() -> MadeWith:
    """The versions of what makes a document now."""
    return {
        "klas": importlib.metadata.version("klas"),
        "torch": importlib.metadata.version("torch"),
        "timm": importlib.metadata.version("timm"),
        "splitter": SPLITTER,
    }


def _anchor_entry(context: Context, name: str) -> AnchorEntry:
    info, cost = context.anchors[name].info, context.costs[name]
    outputs, probes = context.get(Validation(anchor=name)), context.get(Probes(anchor=name))
    accuracy = None
    if outputs is not None and info.classes:
        metric = context.objective.task.metric
        accuracy = metric.value(metric.of_anchor(outputs))
    identity: dict[str, Any] = {**context.identities[name]}
    entry = {
        **identity,
        "weights": cast(Weights, info.weights),
        "blocks": info.depth,
        "cuts": list(info.cuts),
        "layouts": [cast(Layout, layout.to_json()) for layout in info.layouts],
        "macs": cost.total_macs,
        "params": cost.total_params,
        "accuracy": accuracy,
        "probe_accuracy": context.get(ProbeAccuracy(anchor=name)),
        "probe_converged": None if probes is None else [bool(c) for c in probes["converged"]],
    }
    if info.image_size is not None:
        entry["image_size"] = list(info.image_size)
    if cost.total.uncounted:
        entry["uncounted"] = list(cost.total.uncounted)
    if cost.deployed_total is not None:
        entry["deployed"] = _deployed(cost.deployed_total)
    return cast(AnchorEntry, entry)


def _pair_entry(context: Context, source: str, target: str) -> ScoredPair:
    candidates = context.candidates(source, target)
    stitches = np.array([place for place, _, _ in candidates], dtype=np.int64).reshape(-1, 2)
    metric, samples = context.objective.task.metric, context.val.samples
    sums = read_score_sums(context.get, samples, source, target)
    scores = None if sums is None else candidate_scores(sums, stitches)
    zero_shot = context.get(ZeroShot(source=source, target=target))
    tuned = context.get(Tuned(source=source, target=target))
    entries: list[Candidate] = []
    for row, ((i, j), in_space, snnet) in enumerate(candidates):
        cost = context.stitch_cost(source, i, target, j)
        deployed = context.deployed_stitch_cost(source, i, target, j)
        entry: Candidate = {
            "source_block": i,
            "target_block": j,
            "in_space": in_space,
            "snnet": snnet,
            "macs": cost.macs,
            "params": cost.params,
            "scores": _scores(scores, row),
            "accuracy": {
                "zero_shot": _accuracy(metric, zero_shot, (i, j), samples),
                "tuned": _accuracy(metric, tuned, (i, j), samples),
            },
        }
        if cost.uncounted:
            entry["uncounted"] = list(cost.uncounted)
        if deployed is not None:
            entry["deployed"] = _deployed(deployed)
        entries.append(entry)
    return {
        "source": source,
        "target": target,
        "theta_output": context.get(ThetaOutput(source=source, target=target)),
        "theta": None if sums is None else (sums.kl.sum(0) / samples).tolist(),
        "theta_target": None if sums is None else (sums.target_kl.sum(0) / samples).tolist(),
        "candidates": entries,
        "diverged": [] if tuned is None else tuned[DIVERGED].tolist(),
    }


def _deployed(cost: Cost) -> Deployed:
    return {"macs": cost.macs, "params": cost.params}


def _scores(scores: Mapping[str, NDArray[np.float64]] | None, row: int) -> Scores:
    """A candidate's scores, each under the name that :data:`SCORES` has for it."""
    known = {m: None if scores is None else optional_score(scores[m][row]) for m in SCORES}
    return cast(Scores, known)


def _accuracy(
    metric: AccuracyMetric, arrays: Arrays | None, place: Place, samples: int
) -> float | None:
    packed = None if arrays is None else arrays.get(f"{name_of(place)}.{OUTCOMES}")
    return None if packed is None else metric.packed_value(packed, samples)
