"""Choose: τ and buckets on one side, accuracy against cost on the other, the list below."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from dashboard import figures
from dashboard.comparison_figures import STYLES
from dashboard.progress import job_panel, start_button
from dashboard.state import (
    bound,
    forget,
    heading,
    pick_metric,
    pick_pair,
    pick_tier,
    remember,
    says_errors,
    scored_document,
    selection,
    store,
    study,
    study_arguments,
)
from klas.choice.buckets import Selection
from klas.choice.curves import gain, saving
from klas.exports import dumps, stitch_list
from klas.report import METHODS
from klas.results import (
    Choice,
    Document,
    FrontPoint,
    Pair,
    above_anchors,
    choose,
    finetuned_accuracy,
    front,
    full_val_accuracy,
    method_areas,
    method_envelope,
    pairs_of,
)
from klas.study import TIERS, Metric, SelectionSpec, Tier


def _change_mode() -> None:
    """A τ of one kind means nothing as the other: start again from the study's."""
    forget("tau")
    remember("tau_mode")()


def _controls(metric: Metric) -> tuple[SelectionSpec, DeltaGenerator]:
    start = selection()
    one, two, three, four, five = st.columns([3, 2, 2, 2, 3], gap="medium")
    with one:
        if start.tau_mode == "relative":
            top, step, name = 1.0, 0.01, "τ: how far above a bucket's best score may be"
        else:
            top, step, name = 10.0, 0.05, "τ: the largest score that is always taken"
        top = max(top, start.tau)
        st.slider(name, 0.0, top, step=step, **bound("tau", start.tau, top, step))
    with two:
        st.segmented_control(
            "τ is",
            ["relative", "absolute"],
            required=True,
            help="Relative to the bucket's best (the paper's practice), or an absolute score "
            "(the poster's formula).",
            **bound("tau_mode", start.tau_mode) | {"on_change": _change_mode},
        )
    with three:
        st.number_input("Buckets", 1, 1000, **bound("buckets", start.buckets))
    with four:
        st.segmented_control(
            "Buckets of equal",
            ["width", "count"],
            required=True,
            **bound("binning", start.binning),
        )
    return start.model_copy(update={"metric": metric}), five


def _best_measured(measured: Mapping[str, bool]) -> Tier:
    """The tier to begin with."""
    return ([tier for tier in TIERS if measured[tier]] or TIERS[:1])[-1]


def _method(metric: Metric) -> str:
    """What the page calls the choice by a score."""
    return "KLAS" if metric == "kl" else METHODS[metric]


def _score_columns(pair: Pair, metric: Metric, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The score that chose, and Γ."""
    return {figures.SCORE_NAMES[m]: pair.scores(m)[rows] for m in dict.fromkeys((metric, "kl"))}


def _in_words(
    pair: Pair,
    name: str,
    ours: tuple[NDArray[np.bool_], NDArray[np.float64]],
    theirs: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    cheap, costly = pair.cheap_and_costly
    mine, other = method_envelope(pair, *ours), method_envelope(pair, *theirs)
    above = int(above_anchors(pair, *ours).sum())
    st.markdown(
        f"**{above} of {int(ours[0].sum())}** chosen stitches are better than every anchor that "
        "costs no more."
    )
    won = gain(mine, other, cheap["macs"], costly["macs"])
    if won is not None:
        if won.mean == 0 and won.greatest == 0:
            st.markdown(f"At equal cost {name} and SN-Net's set reach the **same** accuracy.")
        else:
            st.markdown(
                f"At equal cost {name} is on average **{100 * won.mean:+.2f} points** against "
                f"SN-Net's set, at best {100 * won.greatest:+.2f}."
            )
    spared = saving(mine, other)
    if spared is not None:
        st.markdown(
            f"At equal accuracy SN-Net's set costs on average **{spared.mean:.2f} ×** what "
            f"{name} costs, at most {spared.greatest:.2f} ×."
        )


def _areas_table(pair: Pair, methods: dict[str, tuple]) -> None:
    rows = []
    for name, (chosen, accuracy) in methods.items():
        found = method_areas(pair, chosen, accuracy)
        rows.append(
            {
                "method": name,
                "stitches": int(chosen.sum()),
                "mean top-1 (%)": None if found.mean_top1 is None else 100 * found.mean_top1,
                "auc": found.auc,
                "auc_stitches": found.auc_stitches,
            }
        )
        if found.reason:
            st.caption(f"{name}: no auc, because {found.reason}.")
    three = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "mean top-1 (%)": st.column_config.NumberColumn(format="%.1f"),
            "auc": st.column_config.NumberColumn(
                format="%.3f",
                help="Area under the envelope of stitches and anchors: 0 is the cheap anchor "
                "throughout, 1 the costly one. Not the poster's normalisation.",
            ),
            "auc_stitches": three,
        },
    )


def _table(
    pair: Pair,
    metric: Metric,
    picked: Selection,
    accuracies: dict[str, NDArray[np.float64] | None],
) -> None:
    rows = np.flatnonzero(picked.chosen)
    rows = rows[np.lexsort((pair.macs[rows], picked.bucket[rows]))]
    table = {
        "stitch": ["{} → {}".format(*pair.stitches[r]) for r in rows],
        "bucket": picked.bucket[rows],
        pair.unit.name: pair.macs[rows] / pair.unit.scale,
        "parameters": [pair.raw["candidates"][r]["params"] for r in rows],
        **_score_columns(pair, metric, rows),
        "SN-Net's too": pair.snnet[rows],
    }
    for tier, values in accuracies.items():
        if values is not None:
            table[f"{tier} (%)"] = 100 * values[rows]
    one = st.column_config.NumberColumn(format="%.1f")
    three = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        column_config={
            pair.unit.name: three,
            **dict.fromkeys(figures.SCORE_NAMES.values(), three),
            "parameters": st.column_config.NumberColumn(format="localized"),
            **{f"{tier} (%)": one for tier in TIERS},
        },
    )


def _finetuning(pair: Pair, spec: SelectionSpec, missing: list[str]) -> None:
    if not missing:
        return
    steps = study().finetuning.steps
    st.info(
        f"Not trained jointly yet: {' and '.join(missing)}. It takes {steps:,} steps each, "
        "a few minutes on two cores.",
        icon=":material/info:",
    )
    start_button(
        "Train jointly",
        study().model_copy(update={"selection": spec}),
        {"kind": "finetune", "pair": list(pair.names), "metrics": [spec.metric, "snnet"]},
    )


@st.fragment
@says_errors
def _choice(pair: Pair, metric: Metric) -> None:
    spec, place = _controls(metric)
    picked = choose(pair, spec)
    snnet = pair.snnet
    accuracies: dict[str, NDArray[np.float64] | None] = {
        "zero_shot": pair.accuracy("zero_shot"),
        "tuned": pair.accuracy("tuned"),
        "finetuned": finetuned_accuracy(store(), pair, picked.chosen, study()),
    }
    with place:
        tier = pick_tier(
            _best_measured(
                {
                    name: values is not None and bool(np.isfinite(values[pair.in_space]).any())
                    for name, values in accuracies.items()
                }
            )
        )
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(f"{int(picked.chosen.sum())} of {int(pair.in_space.sum())} stitches chosen")
        st.plotly_chart(
            figures.choice_chart(
                pair, picked, pair.scores(metric), spec.tau, spec.tau_mode, metric
            ),
            config=figures.CONFIG,
        )
        infinite = int(np.isinf(picked.lowest).sum())
        if infinite:
            st.caption(f"{infinite} buckets hold only infinite scores and choose nothing.")
    with right:
        st.subheader("Accuracy against cost")
        ours = accuracies[tier]
        theirs = (
            finetuned_accuracy(store(), pair, snnet, study())
            if tier == "finetuned"
            else accuracies[tier]
        )
        methods = {}
        if ours is not None and np.isfinite(ours[picked.chosen]).all():
            methods[_method(metric)] = (picked.chosen, ours)
        if theirs is not None and snnet.any() and np.isfinite(theirs[snnet]).all():
            methods["SN-Net"] = (snnet, theirs)
        if methods:
            colours = {_method(metric): STYLES[metric].colour, "SN-Net": figures.SNNET}
            st.plotly_chart(
                figures.pareto_chart(
                    pair,
                    [
                        (name, colours[name], *which, method_envelope(pair, *which))
                        for name, which in methods.items()
                    ],
                ),
                config=figures.CONFIG,
            )
        elif tier != "finetuned":
            st.info(f"Tier {tier} is not measured yet; compute it on the **Study** page.")
        if tier == "finetuned":
            wanted = {_method(metric): picked.chosen.any(), "SN-Net": snnet.any()}
            names = {_method(metric): "this selection", "SN-Net": "SN-Net's set"}
            _finetuning(
                pair, spec, [names[n] for n, any_ in wanted.items() if any_ and n not in methods]
            )
    words, download = st.columns(2, gap="large")
    with words:
        if len(methods) == 2:
            (name, mine), (_, theirs_too) = methods.items()
            _in_words(pair, name, mine, theirs_too)
        elif not snnet.any():
            st.caption("SN-Net's set is empty for this pair.")
    with download:
        if methods:
            _areas_table(pair, methods)
    st.subheader("Chosen stitches")
    _table(pair, metric, picked, accuracies)
    names = [pair.source["name"], pair.target["name"]]
    _take_away([pair], spec, tier, f"stitches-{'-'.join(names)}.json", ["--pair", *names])


def _accuracies(choices: list[Choice], tier: str) -> list[Choice]:
    """The same choices with the accuracies of a tier; NaN for what was not trained."""

    def measured(c: Choice) -> NDArray[np.float64]:
        if tier != "finetuned":
            return c.pair.accuracy(tier)
        found = finetuned_accuracy(store(), c.pair, c.chosen, study())
        return np.full(len(c.chosen), np.nan) if found is None else found

    return [replace(c, accuracy=measured(c)) for c in choices]


@st.fragment
@says_errors
def _all_pairs(found: Document, metric: Metric) -> None:
    spec, place = _controls(metric)
    pairs = pairs_of(found)
    choices = [
        Choice(pair=p, chosen=choose(p, spec).chosen, accuracy=np.full(len(p.macs), np.nan))
        for p in pairs
    ]
    by_tier = {tier: _accuracies(choices, tier) for tier in TIERS}
    measured = {
        tier: any(np.isfinite(c.accuracy[c.chosen]).any() for c in by_tier[tier]) for tier in TIERS
    }
    with place:
        tier = pick_tier(_best_measured(measured))
    shown = by_tier[tier]
    points = front(shown)
    count = sum(int(c.chosen.sum()) for c in choices)
    stitches = sum(p.stitch is not None for p in points)
    st.subheader(f"{count} stitches of {len(pairs)} pairs chosen, {stitches} on the front")
    st.caption(
        "Every pair has its own buckets, because a score compares stitches of one pair. "
        "The front is over all of them and the anchors: the best accuracy for every cost."
    )
    st.plotly_chart(figures.front_chart(shown, points), config=figures.CONFIG)
    untrained = [c.pair.name for c in shown if not np.isfinite(c.accuracy[c.chosen]).all()]
    if untrained and tier == "finetuned":
        st.info(
            f"Not trained jointly yet: {', '.join(untrained)}. Choose the pair above to train it.",
            icon=":material/info:",
        )
    elif untrained:
        st.info(
            f"Tier {tier} is not measured for every pair yet; compute it on the **Study** page.",
            icon=":material/info:",
        )
    _front_table(shown, metric, points, tier)
    _take_away(pairs, spec, tier, f"stitches-{study().name.replace(' ', '-')}.json", [])


def _front_table(
    choices: list[Choice], metric: Metric, points: list[FrontPoint], tier: str
) -> None:
    on_front = {(p.name, p.stitch) for p in points}
    unit = choices[0].pair.unit
    rows = []
    for c in choices:
        chosen = np.flatnonzero(c.chosen)
        scores = _score_columns(c.pair, metric, chosen)
        rows += [
            {
                "pair": c.pair.name,
                "stitch": "{} → {}".format(*c.pair.stitches[row]),
                unit.name: c.pair.macs[row] / unit.scale,
                **{name: values[k] for name, values in scores.items()},
                f"{tier} (%)": 100 * c.accuracy[row],
                "on the front": (c.pair.name, tuple(map(int, c.pair.stitches[row]))) in on_front,
            }
            for k, row in enumerate(chosen)
        ]
    three = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        pd.DataFrame(sorted(rows, key=lambda row: row[unit.name])),
        hide_index=True,
        column_config={
            unit.name: three,
            **dict.fromkeys(figures.SCORE_NAMES.values(), three),
            f"{tier} (%)": st.column_config.NumberColumn(format="%.1f"),
        },
    )


def _take_away(
    pairs: list[Pair], spec: SelectionSpec, tier: Tier, name: str, which: list[str]
) -> None:
    """The stitch list as a file, and the command that writes the same one."""
    picked = [(p, choose(p, spec).chosen) for p in pairs]
    whole = [
        full_val_accuracy(store(), p, chosen, study(), tier) for p, chosen in picked if chosen.any()
    ]
    complete = bool(whole) and all(whole)
    listed = stitch_list(
        pairs[0].document,
        spec,
        pairs=pairs,
        finetuned=lambda p, chosen: finetuned_accuracy(store(), p, chosen, study()),
        full_val=(lambda p, chosen: full_val_accuracy(store(), p, chosen, study(), tier))
        if complete
        else None,
    )
    command = [
        *("klas", "select", *study_arguments(), *which),
        *("--metric", spec.metric, "--tau", f"{spec.tau:.12g}", "--tau-mode", spec.tau_mode),
        *("--buckets", str(spec.buckets), "--binning", spec.binning),
        *(("--full-val", "--tier", tier) if complete else ()),
        *("--out", name),
    ]
    _full_val(picked, spec, tier, listed if complete else None)
    st.download_button(
        "Download as JSON",
        dumps(listed),
        file_name=name,
        mime="application/json",
        icon=":material/download:",
        help="A stitch list: `klas check` rebuilds it, `klas.load_stitch` loads a network of it.",
        on_click="ignore",
    )
    st.code(shlex.join(command), language="bash", wrap_lines=True)


def _full_val(
    picked: list[tuple[Pair, NDArray[np.bool_]]],
    spec: SelectionSpec,
    tier: Tier,
    listed: Mapping[str, Any] | None,
) -> None:
    """How the chosen stitches do on every validation image, or the button that measures it."""
    val = picked[0][0].document["data"]["val"]
    if val["images"] - len(val["left_out"]) <= val["samples"]:
        return  # nothing was left unseen
    if listed is not None and listed["stitches"]:
        gaps = [100 * (s["full_val"]["accuracy"] - s["accuracy"][tier]) for s in listed["stitches"]]
        samples = listed["stitches"][0]["full_val"]["samples"]
        st.caption(
            f"Measured on all {samples:,} validation images too (tier {tier}): "
            f"{np.mean(gaps):+.1f} points on average against the {val['samples']:,} that the "
            f"choice saw, {min(gaps):+.1f} to {max(gaps):+.1f}. The list has every figure."
        )
        return
    choices = [Choice(pair=p, chosen=c, accuracy=np.zeros(len(c))) for p, c in picked if c.any()]
    measured = [c.accuracy[c.chosen] for c in _accuracies(choices, tier)]
    measurable = bool(measured) and all(np.isfinite(values).all() for values in measured)
    if measurable:
        start_button(
            f"Measure what is chosen on all {val['images']:,} validation images",
            study().model_copy(update={"selection": spec}),
            {"kind": "full_val", "pairs": [list(p.names) for p, _ in picked], "tier": tier},
            icon=":material/fact_check:",
            kind="secondary",
            help=f"Scores and accuracies here come from {val['samples']:,} of them. Tier {tier}.",
        )


@says_errors
def page() -> None:
    """The page."""
    heading("Choose stitches")
    found = scored_document()
    left, right = st.columns([3, 2], gap="large")
    with left:
        pair = pick_pair(found, or_all=True)
    with right:
        metric = pick_metric()
    job_panel(study().name)
    if pair is None:
        _all_pairs(found, metric)
    else:
        _choice(pair, metric)


page()
