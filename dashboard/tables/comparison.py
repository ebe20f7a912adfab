"""The table of a comparison: every figure of every method, with its interval."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
import streamlit as st

from klas.results.comparison_view import chance_of, curve_figure, methods_of, ranked_candidates
from klas.results.documents.comparison import AllPairs, ComparedPair
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.study import Metric, Tier
from klas.tasks.metric import AccuracyMetric


def comparison_table(
    part: ComparedPair | AllPairs,
    buckets: int,
    tier: Tier,
    accuracy: AccuracyMetric,
    sizes: Mapping[Metric, int] | None = None,
) -> None:
    """A row for every method, and below it what chance would reach.

    Args:
        part: a pair's, or that over all pairs.
        buckets: how many of them the methods are compared in.
        tier: whose curves the areas, gains and savings are of.
        accuracy: what an accuracy is.
        sizes: how many stitches each method chose of the pair.
    """
    rows = []
    for metric, method in methods_of(part).items():
        curve = partial(curve_figure, method, tier)
        rows.append(
            {
                "method": METHODS[metric],
                **({} if sizes is None else {"chosen": sizes[metric]}),
                f"hits of {buckets}": tally(method["overlap"]),
                f"holds of {buckets}": tally(method["containment"]),
                "ρ": with_interval(method["spearman"]),
                "ρ within buckets": with_interval(method["spearman_within"]),
                "candidates": ranked_candidates(method),
                f"mean {accuracy.axis}": with_interval(curve("mean_top1"), scale=100, digits=1),
                "auc": with_interval(curve("auc")),
                "auc_stitches": with_interval(curve("auc_stitches")),
                f"area_{accuracy.name} (%)": with_interval(curve("area_top1"), scale=100, digits=1),
                "gain of KLAS": with_interval(curve("gain"), scale=100, digits=1),
                "greatest gain": with_interval(curve("greatest_gain"), scale=100, digits=1),
                "saving of KLAS": with_interval(curve("saving")),
                "greatest saving": with_interval(curve("greatest_saving")),
            }
        )
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "method": st.column_config.TextColumn(pinned=True),
            **{
                name: st.column_config.TextColumn(help=text, alignment="right")
                for name, text in _column_help(buckets, accuracy).items()
            },
        },
    )
    st.caption(
        f"Chance alone hits {whole(chance_of(part))} of {buckets}. SN-Net's set and a race have "
        "no score, so they rank nothing; a race chooses by joint training, so it has no curve at "
        "the other tiers."
    )


def _column_help(buckets: int, accuracy: AccuracyMetric) -> dict[str, str]:
    """What each column of figures means."""
    return {
        f"hits of {buckets}": "In how many buckets the method's best stitch is the best by tuned "
        "accuracy. Only buckets of at least two candidates count.",
        f"holds of {buckets}": "In how many of these buckets the best is among what was chosen.",
        "ρ": "Spearman's rank correlation of score and tuned accuracy over all candidates; 1: both "
        "have the same order. Costly stitches are often better, so a high ρ is easy to reach.",
        "ρ within buckets": "The same among candidates of similar cost, where the choice is made.",
        "candidates": "How many candidates ρ within buckets is based on: those in buckets of at "
        "least three. Over all pairs, each pair is weighted by their number. A ρ of few candidates "
        "says little.",
        f"mean {accuracy.axis}": "Over the chosen stitches.",
        "auc": "The area under the envelope E of stitches and anchors, between the costs of the "
        "two anchors: 0 is the cheap anchor throughout, 1 the costly one. auc = (mean of E over "
        f"these costs − a) / (b − a), where a and b are the {accuracy.label} of the cheap and of "
        f"the costly anchor; E at a cost is the best {accuracy.label} of everything that costs at "
        "most that much. This is not the poster's normalisation.",
        "auc_stitches": "The same formula with an envelope of the chosen stitches alone, which is "
        "0 % below the cost of the cheapest one, so that the anchors don't help a method. Below 0 "
        "where the stitches stay under the cheap anchor.",
        f"area_{accuracy.name} (%)": "The area under the same envelope as auc, in plain accuracy: "
        "its mean height.",
        "gain of KLAS": f"How many points of {accuracy.label} KLAS's envelope lies above this "
        "method's at equal cost, on average.",
        "greatest gain": "The same at the cost where it is greatest.",
        "saving of KLAS": "How many times cheaper KLAS reaches the same accuracy, on average.",
        "greatest saving": "The same at the accuracy where it is greatest.",
    }
