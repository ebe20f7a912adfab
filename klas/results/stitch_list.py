"""A selection as a stitch list, and a list as a table. No torch here.

:mod:`klas.deploy.load` makes networks of a list again.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from klas.results.accuracies import FullValAccuracy
from klas.results.documents.numbers import optional, optional_score
from klas.results.documents.sources import Layout
from klas.results.documents.stitches import (
    FullValidation,
    SelectionEntry,
    StitchEntry,
    StitchLayer,
    StitchList,
    WeightsFile,
)
from klas.results.pair import Document, Pair, pairs_of
from klas.results.selections import choose, kept_in_race, reasons_for_nothing
from klas.selection.buckets import Selection
from klas.selection.space import name_of
from klas.study import SETS, TIERS, Metric, SelectionSpec

_Column = Literal[
    "source", "source_block", "target", "target_block", "macs", "params", "bucket", "score"
]
COLUMNS: tuple[_Column, ...] = get_args(_Column)


def stitch_list(
    document: Document,
    spec: SelectionSpec,
    *,
    pairs: Sequence[Pair] | None = None,
    by_hand: Sequence[NDArray[np.bool_]] | None = None,
    finetuned: Callable[[Pair, NDArray[np.bool_]], NDArray[np.float64] | None] | None = None,
    full_val: Callable[[Pair, NDArray[np.bool_]], FullValAccuracy | None] | None = None,
    weights_file: WeightsFile | None = None,
) -> StitchList:
    """A selection from a scores document, as a stitch list.

    Args:
        pairs: those to choose from; all by default.
        by_hand: (N,) of each of the pairs: these stitches instead of those that ``spec`` chooses,
            which then gives their scores and buckets alone; the list says that it was edited.
        finetuned: gives a pair's accuracies after joint training, where that was run.
        full_val: gives a pair's accuracies on every validation image, where they were measured.
        weights_file: the file with the stitch layers, if there is one.
    """
    pairs = pairs_of(document) if pairs is None else pairs
    edges: list[list[float]] = []
    stitches: list[StitchEntry] = []
    for k, pair in enumerate(pairs):
        selection = choose(pair, spec)
        if by_hand is not None:
            selection = replace(selection, chosen=by_hand[k])
        edges.append([float(e) for e in selection.edges])
        trained = finetuned(pair, selection.chosen) if finetuned else None
        whole = full_val(pair, selection.chosen) if full_val and selection.chosen.any() else None
        if spec.metric == "race" and by_hand is None and selection.chosen.any():
            selection = replace(selection, chosen=kept_in_race(pair, trained))
        stitches += _entries(pair, selection, spec.metric, trained, whole)
    used = {name for pair in pairs for name in pair.names}
    rule: SelectionEntry = {
        "metric": spec.metric,
        "tau": spec.tau,
        "tau_mode": spec.tau_mode,
        "buckets": spec.buckets,
        "binning": spec.binning,
        "full": spec.full,
        "space": spec.space,
        "pairs": [list(pair.names) for pair in pairs],
        "edges": edges,
    }
    if by_hand is not None:
        rule["edited"] = True
    elif empty := reasons_for_nothing(pairs, spec):
        rule["empty"] = empty
    return {
        "format": "klas-stitches",
        "version": 1,
        "made_with": document["made_with"],
        "task": document["task"],
        "accuracy_metric": document["accuracy_metric"],
        "anchors": [a for a in document["anchors"] if a["name"] in used],
        "data": document["data"],
        "fit": document["fit"],
        "precision": document["precision"],
        "selection": rule,
        "stitches": stitches,
        "weights_file": weights_file,
    }


def _entries(
    pair: Pair,
    selection: Selection,
    metric: Metric,
    trained: NDArray[np.float64] | None,
    whole: FullValAccuracy | None,
) -> Iterator[StitchEntry]:
    """The chosen stitches of a pair, by bucket and cost."""
    unknown = np.full(len(pair.macs), np.nan)
    scores = unknown if metric in SETS else pair.scores(metric)
    zero_shot, tuned = pair.accuracy("zero_shot"), pair.accuracy("tuned")
    finetuned = unknown if trained is None else trained
    rows = np.flatnonzero(selection.chosen)
    for row in rows[np.lexsort((pair.macs[rows], selection.bucket[rows]))]:
        i, j = (int(v) for v in pair.stitches[row])
        into, out = pair.source["layouts"][i], pair.target["layouts"][j]
        candidate = pair.raw["candidates"][row]
        entry: StitchEntry = {
            "source": pair.source["name"],
            "source_block": i,
            "target": pair.target["name"],
            "target_block": j,
            "stitch_layer": stitch_layer_entry(into, out),
            "macs": candidate["macs"],
            "params": candidate["params"],
            "bucket": None if selection.bucket[row] < 0 else int(selection.bucket[row]),
            "score": optional_score(scores[row]),
            "accuracy": {
                "zero_shot": optional(zero_shot[row]),
                "tuned": optional(tuned[row]),
                "finetuned": optional(finetuned[row]),
            },
            "full_val": None if whole is None else _full_val(whole, name_of((i, j))),
        }
        if "uncounted" in candidate:
            entry["uncounted"] = candidate["uncounted"]
        if "deployed" in candidate:
            entry["deployed"] = candidate["deployed"]
        yield entry


def _full_val(whole: FullValAccuracy, stitch: str) -> FullValidation | None:
    if stitch not in whole["accuracy"]:
        return None  # its tuning diverged
    of_stitch = {**whole, "accuracy": whole["accuracy"][stitch]}  # keys stay in their order
    return cast(FullValidation, of_stitch)


def as_csv(listed: StitchList) -> bytes:
    """The stitches of a list as a table for a spreadsheet, one a line; unknown values are empty.

    Where a stitch has them, the costs of the fused form and operators without a formula come last.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fused = any("deployed" in stitch for stitch in listed["stitches"])
    bounded = any("uncounted" in stitch for stitch in listed["stitches"])
    more = ["deployed_macs", "deployed_params"] * fused + ["uncounted"] * bounded
    writer.writerow([*COLUMNS, *TIERS, *more])
    for stitch in listed["stitches"]:
        row: list[str | float | None] = [stitch[name] for name in COLUMNS]
        row += [stitch["accuracy"][tier] for tier in TIERS]
        if fused:
            cost = stitch.get("deployed")
            row += [None, None] if cost is None else [cost["macs"], cost["params"]]
        if bounded:
            row.append(" ".join(stitch.get("uncounted", [])))
        writer.writerow(row)
    return text.getvalue().encode()


def stitch_layer_entry(source: Layout, target: Layout) -> StitchLayer:
    """What a list says about T between two cuts' layouts.

    Channels in and out, the grid that it runs on (the smaller of the two; empty between
    sequences), and how many prefix tokens it makes.
    """
    return {
        "in": source["channels"],
        "out": target["channels"],
        "grid": list(min(source["grid"], target["grid"], key=prod)),
        "prefix": target["prefix"],
    }
