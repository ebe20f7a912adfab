"""What is chosen from a pair: by the study's rule, and by every method beside it. No torch here."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from klas.errors import SelectionError
from klas.results.notes import why_no_cka
from klas.results.pair import Pair
from klas.selection.buckets import OUTSIDE, Selection, matched, select
from klas.selection.race import entrants
from klas.study import METRICS, Metric, SelectionSpec


def choose(pair: Pair, spec: SelectionSpec) -> Selection:
    """Apply a selection to a pair; the arrays are over all its candidates.

    ``snnet`` takes its set as it is, whatever τ; its members may lie outside every bucket. Of a
    ``race`` the choice is who starts: who is kept, its joint training decides.

    Raises:
        SelectionError: the metric is unknown or not computed yet.
    """
    if spec.metric not in METRICS:
        raise SelectionError(f"metric {spec.metric!r}: choose one of {', '.join(METRICS)}")
    if spec.metric == "race":
        by_gamma = choose(pair, spec.model_copy(update={"metric": "kl"}))
        return replace(by_gamma, chosen=_entrants(pair, by_gamma))
    by_score = spec.metric != "snnet"
    scores = pair.scores(spec.metric) if by_score else np.zeros(len(pair.macs))
    open_to_choice = pair.in_space if by_score else pair.snnet
    if np.isnan(scores[open_to_choice]).any():
        raise SelectionError(no_scores(pair, spec.metric))
    cheap, costly = pair.cheap_and_costly
    low, high = float(cheap["macs"]), float(costly["macs"])
    if spec.full and pair.macs[open_to_choice].size:
        low = min(low, float(pair.macs[open_to_choice].min()))
        high = max(high, float(pair.macs[open_to_choice].max()))
    selection = select(
        scores[open_to_choice],
        pair.macs[open_to_choice],
        low=low,
        high=high,
        tau=spec.tau,
        tau_mode=spec.tau_mode,
        buckets=spec.buckets,
        binning=spec.binning,
    )
    bucket = np.full(len(scores), OUTSIDE)
    chosen = np.zeros(len(scores), dtype=bool)
    bucket[open_to_choice] = selection.bucket
    chosen[open_to_choice] = selection.chosen | (not by_score)
    return Selection(edges=selection.edges, bucket=bucket, chosen=chosen, lowest=selection.lowest)


def why_nothing(pair: Pair, spec: SelectionSpec) -> str | None:
    """Why a selection chooses nothing from a pair, in a sentence; None if it chooses something.

    Raises:
        SelectionError: the metric is unknown or not computed yet.
    """
    selection = choose(pair, spec)
    if selection.chosen.any():
        return None
    if spec.metric == "snnet":
        return f"{pair.name}: SN-Net's set is empty"
    if not pair.in_space.any():
        return f"{pair.name}: there is no stitch in the space"
    if not (selection.bucket[pair.in_space] >= 0).any():
        cheap, costly = pair.cheap_and_costly
        alike = cheap["macs"] == costly["macs"]
        return (
            f"{pair.name}: {'its anchors cost the same, so ' if alike else ''}no stitch costs "
            "between them; full = true in [selection] takes stitches of every cost"
        )
    return f"{pair.name}: every stitch between the costs of its anchors has an infinite score"


def reasons_for_nothing(pairs: Sequence[Pair], spec: SelectionSpec) -> list[str]:
    """:func:`why_nothing` of each pair from which nothing is chosen."""
    return [reason for pair in pairs if (reason := why_nothing(pair, spec)) is not None]


def no_scores(pair: Pair, metric: Metric) -> str:
    """Why a pair has no scores by a metric, and what to do, in a sentence."""
    if metric == "cka" and (reason := why_no_cka(pair.document)):
        return f"{pair.name}: {reason}, or choose another metric"
    return f"{pair.name}: the {metric} scores are not computed; run `klas run`"


def own_or_fair_share(
    pair: Pair, ours: Selection, own: Metric, metric: Metric
) -> NDArray[np.bool_]:
    """(N,) what a method chooses beside a selection.

    The method that made the selection keeps it; every other one takes its :func:`fair_share`.

    Args:
        own: the method that made ``ours``.

    Raises:
        SelectionError: the scores are not computed yet.
    """
    return ours.chosen if metric == own else fair_share(pair, ours, metric)


def fair_share(pair: Pair, ours: Selection, metric: Metric) -> NDArray[np.bool_]:
    """(N,) what a method may take beside a selection.

    In every bucket as many candidates, those that it scores best. ``snnet`` takes its set as it
    is; of a ``race`` it is who starts.

    Raises:
        SelectionError: the scores are not computed yet.
    """
    if metric == "snnet":
        return pair.snnet
    if metric == "race":
        return _entrants(pair, ours)
    buckets = len(ours.edges) - 1
    counts = np.bincount(ours.bucket[ours.chosen], minlength=buckets)
    scores = pair.scores(metric)
    if np.isnan(scores[ours.bucket >= 0]).any():
        raise SelectionError(no_scores(pair, metric))
    return matched(scores, ours.bucket, counts)


PROPOSERS: tuple[Metric, ...] = ("kl", "theta", "cka")
"""The scores that name who starts in a race: each is best where others are not."""


def _entrants(pair: Pair, ours: Selection) -> NDArray[np.bool_]:
    """(N,) who starts in a race in the buckets of a selection."""
    scores = [pair.scores(metric) for metric in PROPOSERS]
    depths = pair.stitches / [pair.source["blocks"], pair.target["blocks"]]
    bucket = np.where(pair.in_space, ours.bucket, OUTSIDE)
    return entrants(scores, depths, pair.macs, bucket)


def racing_in(selection: Selection, metric: Metric) -> NDArray[np.int64] | None:
    """(N,) the buckets in which a method's stitches race; None if it is no race."""
    return selection.bucket if metric == "race" else None


def kept_in_race(pair: Pair, trained: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """(N,) which stitches a race kept.

    Args:
        trained: (N,) accuracies after it, NaN for what dropped out; None if it was not run.

    Raises:
        SelectionError: it was not run.
    """
    if trained is None:
        raise SelectionError(race_not_run(pair))
    return np.isfinite(trained)


def race_not_run(pair: Pair) -> str:
    """That nobody knows yet what a race keeps, and what to do, in a sentence."""
    return (
        f"{pair.name}: which stitches a race keeps is decided by training; run "
        "`klas finetune --metric race` with the same study and selection first"
    )
