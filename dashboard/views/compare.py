"""KLAS against its rivals: curves, what each score predicts, and what fine-tuning makes of it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.charts.comparison import agreement_chart, curves_chart, score_chart
from dashboard.controls.command_lines import comparison_command
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import (
    heading,
    pick_pair,
    pick_tier,
    says_errors,
    scored_document,
    selection,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.joint_training import joint_training
from dashboard.session.choices import bound
from dashboard.session.resources import store, study
from dashboard.session.state import choices
from dashboard.tables.comparison import comparison_table
from dashboard.text.comparison import buckets_of_all, rules, why_alike
from dashboard.text.quantities import SCORES
from klas.errors import SelectionError
from klas.results.comparison import compare
from klas.results.comparison_view import (
    chosen_at,
    chosen_of,
    curve_pairs,
    entry_of,
    methods_of,
    ranked_candidates,
)
from klas.results.documents.comparison import ComparedPair, Comparison
from klas.results.formats import dumps
from klas.results.formatting import METHODS, with_interval
from klas.results.pair import Document, Pair
from klas.results.refs import scores_ref
from klas.study import METRICS, Metric, Study, Tier
from klas.tasks.task import task_named

STYLE = """<style>
/* One below the other where there is no room to read them side by side. */
.st-key-pair-and-tier > * > .stHorizontalBlock > .stColumn {min-width: 18rem}
.st-key-curves-and-scores > * > .stHorizontalBlock > .stColumn {min-width: 25rem}
</style>"""


@says_errors
def page() -> None:
    """The page."""
    heading("Compare methods")
    at_hand = study().model_copy(update={"selection": selection()})
    stamps = _stamps(at_hand)  # before what they stand for is read
    document = scored_document()

    st.html(STYLE)
    pair_and_tier = st.container(key="pair-and-tier")
    left, right = pair_and_tier.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left:
        pair = pick_pair(document, or_all=True)
    with right:
        tier = pick_tier("tuned")
    job_panel(at_hand.name)

    comparison, file = _comparison_or_end(document, at_hand, stamps)
    st.caption(rules(comparison, at_hand.selection, tier))
    if pair is None:
        _all_pairs(comparison, at_hand, tier)
    else:
        _one_pair(comparison, pair, at_hand, tier)
    _download(file, at_hand)


@st.cache_resource(max_entries=4, show_spinner="Comparing, with a thousand bootstrap replicates …")
def _compared(
    study_json: str, stamps: tuple[Any, ...], _document: Document
) -> tuple[Comparison, bytes]:
    """The comparison and its file; made again when the study, its document or the store moves."""
    comparison = compare(_document, Study.model_validate_json(study_json), store())
    return comparison, dumps(comparison)


def _stamps(at_hand: Study) -> tuple[Any, ...]:
    """Something that changes whenever the document is written or a result lands."""
    file = store().ref_path(scores_ref(at_hand.results_key()))
    return (file.stat().st_mtime_ns if file.exists() else None, store().stamp())


def _comparison_or_end(
    document: Document, at_hand: Study, stamps: tuple[Any, ...]
) -> tuple[Comparison, bytes]:
    """The comparison; or what it lacks and where that is computed, and the end of the page."""
    try:
        return _compared(at_hand.model_dump_json(), stamps, document)
    except SelectionError as error:
        st.info(f"{str(error)[:1].upper()}{str(error)[1:]}.", icon=":material/info:")
        if st.button("Go to Study", icon=":material/science:"):
            st.switch_page("views/study.py")
        st.stop()


def _one_pair(comparison: Comparison, pair: Pair, at_hand: Study, tier: Tier) -> None:
    entry = entry_of(comparison, pair.names)
    if entry is None:
        st.info(
            "This pair has no candidate in the space, so nothing can be compared.",
            icon=":material/info:",
        )
        return
    left, right = st.container(key="curves-and-scores").columns(2, gap="large")
    with left:
        _curves(comparison, entry, tier)
    with right:
        _scores(pair, entry)
    st.subheader("Every method")
    sizes = {metric: len(chosen) for metric, chosen in chosen_of(entry).items()}
    comparison_table(entry, entry["buckets"], tier, pair.task.metric, sizes)
    _why_alike(comparison, [entry], tier)
    joint_training(comparison, methods_of(entry), [entry], at_hand)


def _curves(comparison: Comparison, entry: ComparedPair, tier: Tier) -> None:
    st.subheader("Accuracy against cost")
    if not any(chosen_at(entry, metric, tier)[0].size for metric in METRICS):
        st.info(
            "Nothing of this pair is trained jointly yet; the button is below.",
            icon=":material/info:",
        )
        return
    accuracy = task_named(comparison["task"]).metric
    st.plotly_chart(
        curves_chart(comparison, entry, tier),
        config=figure_config(),
        key="curves_chart",
        alt=f"{accuracy.heading} at tier {tier} of every method's stitches and of the anchors "
        "against MACs",
    )
    st.caption(
        "Click a method in the legend to show or hide it; double-click to show it alone. Each bar "
        "is the 95 % interval of one accuracy; the table has the intervals of the methods."
    )


@st.fragment
@says_errors
def _scores(pair: Pair, entry: ComparedPair) -> None:
    left, right = st.columns([3, 2], vertical_alignment="center")
    left.subheader("What a score predicts")
    metric: Metric = right.selectbox(
        "Score",
        format_func=METHODS.__getitem__,
        label_visibility="collapsed",
        **bound("score", choices().get("score", "kl"), options=SCORES),
    )
    chosen = {(s["source_block"], s["target_block"]) for s in entry["chosen"][metric]}
    st.plotly_chart(
        score_chart(pair, metric, chosen),
        config=figure_config(),
        key="score_chart",
        alt=f"Tuned {pair.task.metric.label} of every candidate against its score by "
        f"{METHODS[metric]}",
    )
    method = entry["methods"][metric]
    infinite = int((~(pair.scores(metric)[pair.in_space] < float("inf"))).sum())
    beyond = f" {infinite} with an infinite score are not drawn." if infinite else ""
    st.caption(
        f"Spearman's ρ {with_interval(method['spearman'])}, within buckets "
        f"{with_interval(method['spearman_within'])} (of {ranked_candidates(method)} candidates); "
        f"at 1 the score would rank the stitches exactly as their accuracy does.{beyond}"
    )


def _all_pairs(comparison: Comparison, at_hand: Study, tier: Tier) -> None:
    pairs, every = comparison["pairs"], comparison["all_pairs"]
    buckets = buckets_of_all(comparison)
    st.subheader(f"Which score picks the best: {len(pairs)} pairs, {buckets} buckets")
    st.plotly_chart(
        agreement_chart(comparison),
        config=figure_config(),
        key="agreement_chart",
        alt="How often every method hits the best stitch of a bucket, as the table below",
    )
    st.subheader("Every method")
    comparison_table(every, buckets, tier, task_named(comparison["task"]).metric)
    st.caption(
        "Hits are summed over the pairs, and ρ within buckets is taken over the buckets of all "
        "pairs. Everything else, the greatest gain and saving included, is a mean over the pairs "
        f"where it is defined for every method. Curves and areas here: {curve_pairs(every, tier)} "
        f"of {len(pairs)} pairs."
    )
    _why_alike(comparison, pairs, tier)
    joint_training(comparison, methods_of(every), pairs, at_hand)


def _why_alike(comparison: Comparison, pairs: Sequence[ComparedPair], tier: Tier) -> None:
    if (reason := why_alike(comparison, pairs, tier)) is not None:
        st.caption(reason)


def _download(file: bytes, at_hand: Study) -> None:
    """The comparison as a file, and the command that writes the same one."""
    name = f"comparison-{at_hand.name.replace(' ', '-')}.json"
    st.download_button(
        "Download as JSON",
        file,
        file_name=name,
        mime="application/json",
        icon=":material/download:",
        help="Every figure of every pair with its interval, and what each method chose.",
        on_click="ignore",
    )
    command = comparison_command("compare", at_hand, ["--out", name])
    st.code(command, language="bash", wrap_lines=True)


page()
