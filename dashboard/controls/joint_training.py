"""What joint training at several budgets of steps buys every method, and the button that trains."""

from collections.abc import Sequence

import streamlit as st

from dashboard.charts.training_budgets import SIDE_BY_SIDE, budget_chart
from dashboard.controls.command_lines import comparison_command
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import says_errors
from dashboard.controls.jobs import estimate, start_button
from dashboard.model.training_budgets import Methods, budget_pairs, budgets_of, untrained
from dashboard.session.choices import bound
from dashboard.session.state import choices
from dashboard.text.comparison import budget_figure_names
from klas.jobs.kinds import CompareJob
from klas.results.comparison_view import methods_of
from klas.results.documents.comparison import ComparedPair, Comparison
from klas.study import Study
from klas.tasks.task import task_named


def joint_training(
    comparison: Comparison, methods: Methods, entries: Sequence[ComparedPair], study: Study
) -> None:
    """The chart of every method over its budgets, and the way to what is missing of it.

    Args:
        methods: the figures that are drawn: a pair's, or those over all pairs.
        entries: the pairs that these are of.
    """
    st.subheader("What a fine-tuning budget buys")
    if budgets_of(methods):
        _chart(comparison, methods, entries)
    _missing(entries, study)


@st.fragment
@says_errors
def _chart(comparison: Comparison, methods: Methods, entries: Sequence[ComparedPair]) -> None:
    names = budget_figure_names(comparison)
    name = st.segmented_control(
        "Figure",
        list(names),
        required=True,
        format_func=names.__getitem__,
        label_visibility="collapsed",
        **bound("budget_figure", choices().get("budget_figure", "mean_top1"), argument="default"),
    )
    st.plotly_chart(
        budget_chart(methods, name, task_named(comparison["task"]).metric),
        config=figure_config(),
        key="budget_chart",
        alt="What every method reaches against the steps of joint training",
    )
    over_pairs = ""
    if len(entries) > 1:
        count = budget_pairs(methods_of(comparison["all_pairs"]), name)
        over_pairs = (
            f" Mean over {count} of {len(entries)} pairs: those with every budget shown, for every "
            "method shown."
        )
    st.caption(
        "Stitches and anchors are trained jointly, one random member per step, for the same "
        "number of steps with every method, and measured on the "
        f"{comparison['finetuned_on']} split. "
        f"{SIDE_BY_SIDE} A good choice is worth the steps that it saves.{over_pairs}"
    )


def _missing(entries: Sequence[ComparedPair], study: Study) -> None:
    """Which trainings are still to be done, and the button that does them."""
    missing = [(entry, steps) for entry in entries if (steps := untrained(entry))]
    if not missing:
        return
    steps = [count for _, counts in missing for count in counts]
    where = "" if len(entries) == 1 else f" in {len(missing)} of {len(entries)} pairs"
    st.info(
        f"Still to be trained{where}: {len(steps)} selections, {sum(steps):,} steps of "
        f"{study.finetuning.batch} images in total. Each method's stitches are trained jointly "
        f"with both anchors, for no steps, 1/16, 1/4 and all of {study.finetuning.steps:,}; "
        "methods that chose the same stitches share a training. What is finished is kept.",
        icon=":material/info:",
    )
    job = CompareJob(pairs=tuple((entry["source"], entry["target"]) for entry, _ in missing))
    with st.container(horizontal=True, vertical_alignment="center"):
        start_button("Train every method jointly", study, job)
        estimate(study, job)
    pair = ["--pair", entries[0]["source"], entries[0]["target"]] if len(entries) == 1 else []
    command = comparison_command("finetune", study, ["--compare", *pair])
    st.code(command, language="bash", wrap_lines=True)
