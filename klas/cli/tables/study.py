"""A study's scores document: its anchors, its pairs, and what is chosen from each."""

from collections.abc import Sequence

import numpy as np
from rich.console import RenderableType

from klas.cli.tables.layout import new_table
from klas.results.accuracies import finetuned_accuracy
from klas.results.anchor_notes import anchor_notes
from klas.results.choice_notes import resolution_note
from klas.results.formatting import deployed, macs, percent
from klas.results.notes import notes
from klas.results.pair import Document, Pair, cost_unit, pairs_of
from klas.results.selections import (
    choose,
    kept_in_race,
    race_not_run,
    racing_in,
    reasons_for_nothing,
)
from klas.selection.buckets import Selection
from klas.storage.store import Store
from klas.study import SelectionSpec, Study
from klas.tasks.task import task_named


def anchor_tables(document: Document) -> list[RenderableType]:
    """The anchors, and the pairs by the divergence of their outputs (the paper's step 1)."""
    unit, metric = cost_unit(document), task_named(document["task"]).metric
    fused = any("deployed" in anchor for anchor in document["anchors"])
    more = (f"deployed {unit.name}", "deployed params") if fused else ()
    columns = ("name", "blocks", unit.name, "params", *more, metric.label, "last probe")
    anchors = new_table("Anchors", columns)
    for anchor in document["anchors"]:
        probe = anchor["probe_accuracy"][-1] if anchor["probe_accuracy"] else None
        anchors.add_row(
            anchor["name"],
            str(anchor["blocks"]),
            macs(anchor, unit),
            f"{anchor['params']:,}",
            *(deployed(anchor, unit) if fused else ()),
            percent(anchor["accuracy"]),
            percent(probe),
        )
    ranking = new_table(
        "Pairs, most compatible first", ("source → target", "Θ of the outputs (nats)")
    )
    for pair in sorted(
        document["pairs"], key=lambda pair: (pair["theta_output"] is None, pair["theta_output"])
    ):
        theta = "–" if pair["theta_output"] is None else f"{pair['theta_output']:.4f}"
        ranking.add_row(f"{pair['source']} → {pair['target']}", theta)
    return [anchors, *anchor_notes(document["anchors"]), *notes(document), ranking]


def run_tables(document: Document, study: Study, store: Store) -> list[RenderableType]:
    """The anchors, and what is chosen from each pair that has scores."""
    parts = anchor_tables(document)
    for pair in pairs_of(document):
        if pair.is_scored(study.selection.metric):
            parts += [
                *_selection_table(pair, study, store),
                *choice_notes([pair], study.selection),
            ]
    return parts


def choice_notes(pairs: Sequence[Pair], spec: SelectionSpec) -> list[RenderableType]:
    """A line for each pair, and each bucket, that chooses nothing, and for each doubtful choice."""
    reasons = [f"nothing is chosen from {reason}" for reason in reasons_for_nothing(pairs, spec)]
    buckets = [
        f"{pair.name}: bucket {bucket} has only infinite scores, so nothing is chosen in it"
        for pair in pairs
        for bucket in _without_finite_scores(choose(pair, spec))
    ]
    doubtful = [
        note for pair in pairs if (note := resolution_note(pair, choose(pair, spec), spec.metric))
    ]
    return [*reasons, *buckets, *doubtful]


def _without_finite_scores(selection: Selection) -> list[int]:
    """The buckets whose lowest score is infinite; those in which a race still has entrants not."""
    chosen_in = set(selection.bucket[selection.chosen].tolist())
    infinite = np.flatnonzero(np.isinf(selection.lowest)).tolist()
    return [bucket for bucket in infinite if bucket not in chosen_in]


def _selection_table(pair: Pair, study: Study, store: Store) -> list[RenderableType]:
    """What is chosen; of a race what it kept, or who starts and how to run it."""
    metric, selection = study.selection.metric, choose(pair, study.selection)
    chosen, racing = selection.chosen, racing_in(selection, metric)
    trained = finetuned_accuracy(store, pair, chosen, study, racing)
    done, note = "chosen", []
    if racing is not None and trained is not None:
        chosen, done = kept_in_race(pair, trained), "kept by a race"
    elif racing is not None and chosen.any():
        done, note = "to start in a race", [race_not_run(pair)]
    candidates = pair.raw["candidates"]
    fused = any("deployed" in candidate for candidate in candidates)
    more = (f"deployed {pair.unit.name}",) if fused else ()
    table = new_table(
        f"{pair.name}: {chosen.sum()} of {pair.in_space.sum()} stitches {done}",
        ("stitch", "bucket", pair.unit.name, *more, "Γ", "zero_shot", "tuned", "finetuned"),
    )
    rows = np.flatnonzero(chosen)
    for row in rows[np.lexsort((pair.macs[rows], selection.bucket[rows]))]:
        i, j = pair.stitches[row]
        table.add_row(
            f"{i} → {j}",
            str(selection.bucket[row]),
            macs(candidates[row], pair.unit),
            *(deployed(candidates[row], pair.unit)[:1] if fused else ()),
            f"{pair.scores('kl')[row]:.3g}",
            percent(pair.accuracy("zero_shot")[row]),
            percent(pair.accuracy("tuned")[row]),
            percent(None if trained is None else trained[row]),
        )
    return [table, *note]
