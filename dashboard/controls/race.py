"""A pair's race: its stitches fall rung by rung, also while it is run."""

import streamlit as st

from dashboard.charts.race import race_chart
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import says_errors
from dashboard.session.resources import store, study
from dashboard.text.race import RACE_HELP, standing
from klas.jobs.kinds import CompareJob, FinetuneJob
from klas.jobs.listing import all_jobs
from klas.results.accuracies import raced
from klas.results.pair import Pair
from klas.results.selections import own_or_fair_share
from klas.selection.buckets import Selection
from klas.study import Metric

LOOK_EVERY = 2.0  # seconds, at a race that is run


def race_panel(pair: Pair, picked: Selection, own: Metric) -> None:
    """The race in the buckets of a selection, once it has come to its first rung.

    Args:
        picked: what ``own`` chooses.
    """
    training = any(
        job.status.alive and isinstance(job.spec, FinetuneJob | CompareJob)
        for job in all_jobs(store())
    )
    st.fragment(_race, run_every=LOOK_EVERY if training else None)(pair, picked, own)


@says_errors
def _race(pair: Pair, picked: Selection, own: Metric) -> None:
    chosen = own_or_fair_share(pair, picked, own, "race")
    race = raced(store(), pair, chosen, study(), picked.bucket)
    if race is None:
        return
    st.subheader(
        "The race",
        help=RACE_HELP,
    )
    st.plotly_chart(
        race_chart(pair, race),
        config=figure_config(),
        key="race_chart",
        alt="Accuracy of every stitch at each rung of the race, and who dropped out there",
    )
    st.caption(standing(race))
