"""KLAS against its rivals: curves, what each score foretells, and what fine-tuning makes of it."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import comparison as charts
from dashboard.controls import picture_format as pictures
from dashboard.controls.heading import (
    heading,
    pick_pair,
    pick_tier,
    says_errors,
    scored_document,
    selection,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.jobs import estimate, start_button
from dashboard.session.choices import bound
from dashboard.session.resources import store, study, study_arguments
from dashboard.session.state import choices
from dashboard.text.comparison import BUDGET_FIGURES, buckets_of_all, judged, level
from klas.errors import SelectionError
from klas.jobs.kinds import CompareJob
from klas.results.comparison import compare
from klas.results.comparison_view import (
    AreaName,
    below_cheap_anchor,
    chance_of,
    chosen_at,
    chosen_of,
    curve_figure,
    curve_pairs,
    entry_of,
    methods_of,
    ranked_candidates,
)
from klas.results.documents.comparison import AllPairs, ComparedPair, Comparison
from klas.results.formats import dumps
from klas.results.formatting import METHODS, tally, whole, with_interval
from klas.results.pair import Document, Pair
from klas.study import METRICS, Metric, Study, Tier

STYLE = """<style>
/* One below the other where there is no room to read them side by side. */
.st-key-pair-and-tier > * > .stHorizontalBlock > .stColumn {min-width: 18rem}
.st-key-curves-and-scores > * > .stHorizontalBlock > .stColumn {min-width: 25rem}
</style>"""


@st.cache_resource(max_entries=4, show_spinner="Comparing, with a thousand bootstrap replicates …")
def _compared(
    study_json: str, stamps: tuple[Any, ...], _found: Document
) -> tuple[Comparison, bytes]:
    """The comparison and its file; made again when the study, its document or the store moves."""
    comparison = compare(_found, Study.model_validate_json(study_json), store())
    return comparison, dumps(comparison)


def _stamps(at_hand: Study) -> tuple[Any, ...]:
    """Something that changes whenever the document is written or a result lands."""
    file = store().ref_path(f"scores-{at_hand.results_key()}")
    return (file.stat().st_mtime_ns if file.exists() else None, store().stamp())


def _comparison_or_end(
    found: Document, at_hand: Study, stamps: tuple[Any, ...]
) -> tuple[Comparison, bytes]:
    """The comparison; or what it lacks and where that is computed, and the end of the page."""
    try:
        return _compared(at_hand.model_dump_json(), stamps, found)
    except SelectionError as error:
        st.info(f"{str(error)[:1].upper()}{str(error)[1:]}.", icon=":material/info:")
        if st.button("Go to Study", icon=":material/science:"):
            st.switch_page("views/study.py")
        st.stop()


def _rules(comparison: Comparison, tier: Tier) -> None:
    """What is compared, and how sure the figures are."""
    spec = selection()
    near = f"τ = {spec.tau:g} ({spec.tau_mode})"
    st.caption(
        f"KLAS chooses with {near} in {spec.buckets} buckets of equal {spec.binning}; change it "
        "on **Stitches**. Every other score takes as many candidates in each bucket as KLAS took "
        "there; SN-Net's set is compared as it is. Which stitches are best is what tier tuned "
        f"says. Curves and their areas: tier {tier}, {judged(comparison, tier)}. Intervals are "
        f"{level(comparison)}: a bootstrap over 100 blocks of samples."
    )


def _table(
    figures: ComparedPair | AllPairs,
    buckets: int,
    tier: Tier,
    sizes: Mapping[Metric, int] | None = None,
) -> None:
    """Every figure of every method, with its interval."""
    rows = []
    for metric in METRICS:
        method = figures["methods"][metric]
        rows.append(
            {
                "method": METHODS[metric],
                **({} if sizes is None else {"chosen": sizes[metric]}),
                f"hits of {buckets}": tally(method["overlap"]),
                f"holds of {buckets}": tally(method["containment"]),
                "ρ": with_interval(method["spearman"]),
                "ρ within buckets": with_interval(method["spearman_within"]),
                "candidates": ranked_candidates(method),
                "mean top-1 (%)": with_interval(
                    curve_figure(method, tier, "mean_top1"), scale=100, digits=1
                ),
                "auc": with_interval(curve_figure(method, tier, "auc")),
                "auc_stitches": with_interval(curve_figure(method, tier, "auc_stitches")),
                "area_top1 (%)": with_interval(
                    curve_figure(method, tier, "area_top1"), scale=100, digits=1
                ),
                "gain of KLAS": with_interval(
                    curve_figure(method, tier, "gain"), scale=100, digits=1
                ),
                "greatest gain": with_interval(
                    curve_figure(method, tier, "greatest_gain"), scale=100, digits=1
                ),
                "saving of KLAS": with_interval(curve_figure(method, tier, "saving")),
                "greatest saving": with_interval(curve_figure(method, tier, "greatest_saving")),
            }
        )
    helps = {
        f"hits of {buckets}": "In how many buckets the method's best is the best by tuned "
        "accuracy. Only buckets of at least two candidates count.",
        f"holds of {buckets}": "In how many of these buckets the best is among what was chosen.",
        "ρ": "Spearman's rank correlation of score and tuned accuracy over all candidates: 1 is "
        "their very order. Costly stitches are often better, so it is easily high.",
        "ρ within buckets": "The same among candidates of like cost, where the choice is made.",
        "candidates": "Those in buckets of at least three, which ρ within buckets rests on; over "
        "all pairs each pair weighs by them. Of few of them it says little.",
        "mean top-1 (%)": "Over the chosen stitches.",
        "auc": "The area under the envelope E of stitches and anchors, between the costs of the "
        "two anchors: 0 is the cheap anchor throughout, 1 the costly one. auc = (mean of E over "
        "these costs − a) / (b − a), with a and b the top-1 of the cheap and of the costly "
        "anchor; E at a cost is the best top-1 among all that costs at most that. Not the "
        "poster's normalisation.",
        "auc_stitches": "The same formula with an envelope of the chosen stitches alone, which is "
        "0 % below the cost of the cheapest: so the anchors carry no method. Below 0 where the "
        "stitches stay under the cheap anchor.",
        "area_top1 (%)": "The area of auc's envelope with accuracy as it is: its mean height.",
        "gain of KLAS": "Points of top-1 by which KLAS's envelope lies above this method's at "
        "equal cost, on average.",
        "greatest gain": "The same at the cost where it is greatest.",
        "saving of KLAS": "How many times cheaper KLAS reaches the same accuracy, on average.",
        "greatest saving": "The same at the accuracy where it is greatest.",
    }
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "method": st.column_config.TextColumn(pinned=True),
            **{
                name: st.column_config.TextColumn(help=text, alignment="right")
                for name, text in helps.items()
            },
        },
    )
    st.caption(
        f"Chance hits {whole(chance_of(figures))} of {buckets}. SN-Net's set has "
        "no score, so it ranks nothing."
    )


def _why_alike(comparison: Comparison, pairs: Sequence[ComparedPair], tier: Tier) -> None:
    """Where no stitch reaches the cheap anchor, that this is why so many figures are alike."""
    said = below_cheap_anchor(comparison, pairs, tier)
    if said is not None:
        more = "" if tier == "finetuned" else ", and so does joint training below"
        st.caption(f"{said} **auc_stitches** and **mean top-1** still tell methods apart{more}.")


@st.fragment
@says_errors
def _scores(pair: Pair, entry: ComparedPair) -> None:
    left, right = st.columns([3, 2], vertical_alignment="center")
    left.subheader("What a score foretells")
    scored = [metric for metric in METRICS if metric != "snnet"]
    metric: Metric = right.selectbox(
        "Score",
        scored,
        format_func=METHODS.__getitem__,
        label_visibility="collapsed",
        **bound("score", choices().get("score", "kl")),
    )
    chosen = {(s["source_block"], s["target_block"]) for s in entry["chosen"][metric]}
    st.plotly_chart(
        charts.score_chart(pair, metric, chosen),
        config=pictures.config(),
        key="score_chart",
        alt=f"Tuned top-1 of every candidate against its score by {METHODS[metric]}",
    )
    method = entry["methods"][metric]
    infinite = int((~(pair.scores(metric)[pair.in_space] < float("inf"))).sum())
    beyond = f" {infinite} with an infinite score are not drawn." if infinite else ""
    st.caption(
        f"Spearman's ρ {with_interval(method['spearman'])}, within buckets "
        f"{with_interval(method['spearman_within'])} (of {ranked_candidates(method)} candidates); "
        f"1 would be the order of the accuracies.{beyond}"
    )


def _curves(comparison: Comparison, entry: ComparedPair, tier: Tier) -> None:
    st.subheader("Accuracy against cost")
    measured = [m for m in METRICS if chosen_at(entry, m, tier)[0].size]
    if not measured:
        st.info(
            "Nothing of this pair is trained jointly yet; the button is below.",
            icon=":material/info:",
        )
        return
    st.plotly_chart(
        charts.curves_chart(comparison, entry, tier),
        config=pictures.config(),
        key="curves_chart",
        alt=f"Top-1 at tier {tier} of every method's stitches and of the anchors against MACs",
    )
    st.caption(
        "A click on the legend switches a method; a double click shows it alone. Bars are 95 % "
        "intervals of each accuracy by itself; the table has those of the methods."
    )


@st.fragment
@says_errors
def _budgets(
    comparison: Comparison, methods: charts.Methods, entries: Sequence[ComparedPair]
) -> None:
    name: AreaName = st.segmented_control(
        "Figure",
        list(BUDGET_FIGURES),
        required=True,
        format_func=BUDGET_FIGURES.__getitem__,
        label_visibility="collapsed",
        **bound("budget_figure", choices().get("budget_figure", "mean_top1")),
    )
    st.plotly_chart(
        charts.budget_chart(methods, name),
        config=pictures.config(),
        key="budget_chart",
        alt="What every method reaches after so many steps of joint training",
    )
    over = ""
    if len(entries) > 1:
        joined = charts.budget_pairs(methods_of(comparison["all_pairs"]), name)
        over = (
            f" Mean over {joined} of {len(entries)} pairs: those that have every budget shown, of "
            "every method shown there."
        )
    st.caption(
        "Stitches and anchors trained jointly, one random member a step, every method for "
        f"equally many steps; judged on the {comparison['finetuned_on']} split. "
        f"{charts.SIDE_BY_SIDE} What a good choice is worth is the budget that it saves.{over}"
    )


def _regime(
    comparison: Comparison, methods: charts.Methods, entries: Sequence[ComparedPair], at_hand: Study
) -> None:
    """What every method's choice is worth after how much training, and the button that trains."""
    st.subheader("What a fine-tuning budget buys")
    if charts.budgets_of(methods):
        _budgets(comparison, methods, entries)
    missing = [(e, charts.untrained(e)) for e in entries]
    missing = [(entry, steps) for entry, steps in missing if steps]
    if not missing:
        return
    steps = [s for _, some in missing for s in some]
    where = "" if len(entries) == 1 else f" in {len(missing)} of {len(entries)} pairs"
    batch = at_hand.finetuning.batch
    st.info(
        f"Not trained yet{where}: {len(steps)} selections at some budget, {sum(steps):,} steps of "
        f"{batch} images together. Every method's stitches are trained jointly with both anchors, "
        f"for no steps, 1/16, 1/4 and all of {at_hand.finetuning.steps:,}; methods that chose the "
        "same share a training. What is finished is kept.",
        icon=":material/info:",
    )
    job = CompareJob(pairs=tuple((entry["source"], entry["target"]) for entry, _ in missing))
    with st.container(horizontal=True, vertical_alignment="center"):
        start_button("Train every method jointly", at_hand, job)
        estimate(at_hand, job)
    one = ["--pair", entries[0]["source"], entries[0]["target"]] if len(entries) == 1 else []
    st.code(_command("finetune", at_hand, ["--compare", *one]), language="bash", wrap_lines=True)


def _command(name: str, at_hand: Study, more: Sequence[str]) -> str:
    spec = at_hand.selection
    return shlex.join(
        [
            *("klas", name, *study_arguments(), *more),
            *("--tau", f"{spec.tau:g}", "--tau-mode", spec.tau_mode),
            *("--buckets", str(spec.buckets), "--binning", spec.binning),
        ]
    )


def _take_away(data: bytes, at_hand: Study) -> None:
    """The comparison as a file, and the command that writes the same one."""
    name = f"comparison-{at_hand.name.replace(' ', '-')}.json"
    st.download_button(
        "Download as JSON",
        data,
        file_name=name,
        mime="application/json",
        icon=":material/download:",
        help="Every figure of every pair with its interval, and what each method chose.",
        on_click="ignore",
    )
    st.code(_command("compare", at_hand, ["--out", name]), language="bash", wrap_lines=True)


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
    _table(entry, entry["buckets"], tier, sizes)
    _why_alike(comparison, [entry], tier)
    _regime(comparison, methods_of(entry), [entry], at_hand)


def _all_pairs(comparison: Comparison, at_hand: Study, tier: Tier) -> None:
    pairs, every = comparison["pairs"], comparison["all_pairs"]
    buckets = buckets_of_all(comparison)
    st.subheader(f"Who finds the best: {len(pairs)} pairs, {buckets} buckets")
    st.plotly_chart(
        charts.agreement_chart(comparison),
        config=pictures.config(),
        key="agreement_chart",
        alt="How often every method hits the best stitch of a bucket; the table below says it too",
    )
    st.subheader("Every method")
    _table(every, buckets, tier)
    st.caption(
        "Hits are summed over the pairs, and ρ within buckets is of the buckets of all of them; "
        "everything else is a mean over the pairs where every method has it, the greatest gain "
        "and saving too. "
        f"Curves and areas here: {curve_pairs(every, tier)} of {len(pairs)} pairs."
    )
    _why_alike(comparison, pairs, tier)
    _regime(comparison, methods_of(every), pairs, at_hand)


@says_errors
def page() -> None:
    """The page."""
    heading("Compare methods")
    at_hand = study().model_copy(update={"selection": selection()})
    stamps = _stamps(at_hand)  # before what they stand for is read
    found = scored_document()
    st.html(STYLE)
    left, right = st.container(key="pair-and-tier").columns(
        [3, 2], gap="large", vertical_alignment="bottom"
    )
    with left:
        pair = pick_pair(found, or_all=True)
    with right:
        tier = pick_tier("tuned")
    job_panel(at_hand.name)
    comparison, data = _comparison_or_end(found, at_hand, stamps)
    _rules(comparison, tier)
    if pair is None:
        _all_pairs(comparison, at_hand, tier)
    else:
        _one_pair(comparison, pair, at_hand, tier)
    _take_away(data, at_hand)


page()
