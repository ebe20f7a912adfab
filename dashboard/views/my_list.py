"""My list: stitches chosen by a rule and edited by hand, beside a list from a file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import lists, my_list, pictures
from dashboard.comparison_figures import STYLES
from dashboard.html_report import study_report
from dashboard.lists import Listed
from dashboard.markdown import plain
from dashboard.progress import job_panel
from dashboard.state import (
    heading,
    pick_tier,
    says_errors,
    scored_document,
    selection,
    store,
    study,
)
from klas.errors import FormatError, SelectionError
from klas.exports import as_csv, dumps, parse, stitch_list
from klas.report import METHODS
from klas.results import Document, choose, cost_unit, finetuned_accuracy, method_choice, pairs_of
from klas.study import METRICS, TIERS, Metric, SelectionSpec

MINE, OTHER = STYLES["kl"], STYLES["snnet"]
MOST_MEGABYTES = 5  # a list of ten thousand stitches


def _own(found: Document, spec: SelectionSpec) -> dict[str, Any] | None:
    """One's list in the form that is exported; None if it is empty."""
    picked = my_list.picks(found, my_list.entries())
    if not picked:
        return None
    pairs = [pair for pair, _ in picked]
    masks = [mask for _, mask in picked]
    by_rule = all((choose(pair, spec).chosen == mask).all() for pair, mask in picked)
    return stitch_list(
        found,
        spec,
        pairs=pairs,
        by_hand=None if by_rule else masks,
        finetuned=lambda p, chosen: finetuned_accuracy(store(), p, chosen, study()),
    )


def _fill(found: Document, spec: SelectionSpec) -> None:
    """The ways to put stitches on the list, and to take a change back."""
    with st.container(horizontal=True):
        with st.popover("Take what a rule chooses", icon=":material/filter_alt:"):
            _by_rule(found, spec)
        with st.popover("Add a stitch", icon=":material/add:"):
            _by_hand(found)
        st.button(
            "Undo",
            icon=":material/undo:",
            disabled=not my_list.can_undo(),
            on_click=my_list.undo,
            shortcut="mod+z",
        )
        st.button(
            "Empty the list",
            icon=":material/delete:",
            disabled=not my_list.entries(),
            on_click=my_list.change_to,
            args=((),),
        )


def _by_rule(found: Document, spec: SelectionSpec) -> None:
    pairs = {pair.name: pair for pair in pairs_of(found) if pair.in_space.any()}
    names = st.multiselect("Pairs", list(pairs), default=list(pairs)[:1])
    metric: Metric = st.selectbox("Method", METRICS, format_func=METHODS.__getitem__)
    st.caption(
        f"KLAS with τ = {spec.tau:g} ({spec.tau_mode}) in {spec.buckets} buckets of equal "
        f"{spec.binning}, as on **Stitches**; another score takes as many in each bucket."
    )
    ours = spec.model_copy(update={"metric": "kl"})

    def take(replacing: bool) -> None:
        chosen = [
            entry
            for name in names
            for entry in my_list.entries_of(pairs[name], method_choice(pairs[name], ours, metric))
        ]
        my_list.change_to(chosen if replacing else [*my_list.entries(), *chosen])

    left, right = st.columns(2)
    left.button("Add them", on_click=take, args=(False,), disabled=not names, width="stretch")
    right.button("Replace", on_click=take, args=(True,), disabled=not names, width="stretch")


def _by_hand(found: Document) -> None:
    pairs = {pair.name: pair for pair in pairs_of(found) if len(pair.macs)}
    pair = pairs[st.selectbox("Pair (source → target)", list(pairs), key="by-hand:pair")]
    row = st.selectbox(
        "Stitch (i → j)",
        np.argsort(pair.macs, kind="stable"),
        format_func=lambda row: (
            "{} → {}, ".format(*pair.stitches[row])
            + f"{pair.macs[row] / pair.unit.scale:.3g} {pair.unit.name}"
        ),
        key=f"by-hand:{pair.name}",
    )
    entry = my_list.entry_of(pair, int(row))
    st.button(
        "Add",
        on_click=my_list.add,
        args=([entry],),
        disabled=entry in my_list.entries(),
        width="stretch",
    )


def _table(found: Document, own: Mapping[str, Any]) -> None:
    """The list; lines that are marked can be taken out."""
    unit = cost_unit(found)
    listed = own["stitches"]
    rows = pd.DataFrame(
        {
            "pair": f"{s['source']} → {s['target']}",
            "stitch": f"{s['source_block']} → {s['target_block']}",
            "bucket": s["bucket"],
            unit.name: s["macs"] / unit.scale,
            "parameters": s["params"],
            "score": None if s["score"] is None else float(s["score"]),
            **{
                f"{tier} (%)": None if top1 is None else 100 * top1
                for tier, top1 in s["accuracy"].items()
            },
        }
        for s in listed
    )
    percent = st.column_config.NumberColumn(format="%.1f")
    three = st.column_config.NumberColumn(format="%.3g")
    event = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="–",
        key=f"list:{len(my_list.entries())}",
        column_config={
            unit.name: three,
            "score": three,
            "parameters": st.column_config.NumberColumn(format="localized"),
            **{f"{tier} (%)": percent for tier in listed[0]["accuracy"]},
        },
    )
    marked = [lists.entries_in(own)[row] for row in event["selection"]["rows"]]
    st.button(
        f"Remove the {len(marked)} marked" if marked else "Remove",
        icon=":material/remove:",
        disabled=not marked,
        on_click=my_list.remove,
        args=(marked,),
        help="Mark lines at the left of the table.",
    )


def _open_file() -> Listed | None:
    """Another list, from a file; it stays until it is closed."""
    turn = st.session_state.setdefault("uploader", 0)
    given = st.file_uploader(
        "Another list (`klas select --out`, or a download from here)",
        type="json",
        max_upload_size=MOST_MEGABYTES,
        key=f"uploader:{turn}",
    )
    if given is not None and given.file_id != st.session_state.get("uploaded"):
        try:
            form = parse(given.getvalue(), given.name, "klas-stitches")
        except FormatError as error:
            st.error(f"{plain(str(error))}.", icon=":material/error:")
        else:
            st.session_state["other list"] = given.name, form
            st.session_state["uploaded"] = given.file_id
    if "other list" not in st.session_state:
        return None
    return Listed(*st.session_state["other list"], *OTHER)


def _close_file() -> None:
    del st.session_state["other list"]
    st.session_state["uploader"] += 1  # another uploader, an empty one


def _other(found: Document, other: Listed) -> None:
    """What the other list is, and whether its figures are this study's."""
    rule = other.form["selection"]
    made = "edited by hand" if rule.get("edited") else f"by {METHODS.get(rule['metric'], '?')}"
    st.markdown(f"**{plain(other.name)}**: {len(other.stitches)} stitches, {made}.")
    apart = lists.differences(found, other.form)
    if apart:
        st.warning(f"It has {plain('; '.join(apart))}.", icon=":material/difference:")
    known = lists.known_entries(found, other.form)
    with st.container(horizontal=True):
        st.button(
            f"Add its {len(known)} stitches to mine" if known else "None of its stitches is known",
            icon=":material/playlist_add:",
            disabled=not set(known) - set(my_list.entries()),
            on_click=my_list.add,
            args=(known,),
        )
        st.button("Close the file", icon=":material/close:", on_click=_close_file)


def _beside(found: Document, shown: list[Listed]) -> None:
    """The lists as curves and figures."""
    every = [s["accuracy"] for listed in shown for s in listed.stitches]
    measured = [t for t in TIERS if any(top1[t] is not None for top1 in every)]
    tier = pick_tier("tuned" if "tuned" in measured else (measured or TIERS)[0])
    st.plotly_chart(
        lists.lists_chart(found, shown, tier),
        config=pictures.config(),
        alt=f"Top-1 at tier {tier} of the listed stitches and of the anchors against their MACs",
    )
    if tier not in measured:
        st.info(f"Tier {tier} is not measured for any of these stitches.", icon=":material/info:")
    rows = pd.DataFrame(lists.comparison_rows(found, shown, tier))
    one = st.column_config.NumberColumn(format="%.1f")
    three = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            name: one if "(%)" in name else three
            for name in rows.columns
            if name.startswith(("mean", "best", "least", "most"))
        },
    )
    if len(shown) == 2:
        won, spared = lists.in_words(found, *shown, tier)
        if won is not None:
            st.markdown(f"At equal cost my list is on average **{won:+.2f} points** against it.")
        if spared is not None:
            st.markdown(
                f"At equal accuracy it costs on average **{spared:.2f} ×** what mine costs."
            )


def _take_away(found: Document, own: Mapping[str, Any] | None) -> None:
    """The files."""
    st.subheader("Take away")
    with st.container(horizontal=True):
        if own is not None:
            name = f"stitches-{study().name.replace(' ', '-')}"
            st.download_button(
                "List as JSON",
                dumps(own),
                file_name=f"{name}.json",
                mime="application/json",
                icon=":material/download:",
                help="`klas check` rebuilds it, `klas.load_stitch` loads a network of it.",
                on_click="ignore",
            )
            st.download_button(
                "List as CSV",
                as_csv(own),
                file_name=f"{name}.csv",
                mime="text/csv",
                icon=":material/table:",
                on_click="ignore",
            )
        at_hand, spec, mine = study(), selection(), own
        st.download_button(
            "Report of the study as HTML",
            lambda: study_report(found, at_hand, spec, mine),
            file_name=f"klas-{at_hand.name.replace(' ', '-')}.html",
            mime="text/html",
            icon=":material/description:",
            help="One file with every figure and table, to open without this app.",
            on_click="ignore",
        )
    pictures.pick_kind()


@says_errors
def page() -> None:
    """The page."""
    heading("My list")
    found = scored_document()
    job_panel(study().name)
    spec = selection()
    try:
        own = _own(found, spec)
    except SelectionError as error:
        st.info(f"{error}.", icon=":material/info:")
        st.stop()
    unknown = len(my_list.entries()) - (len(own["stitches"]) if own else 0)
    _fill(found, spec)
    if unknown:
        st.warning(
            f"{unknown} stitches of the list are none of this study's; they are left out here.",
            icon=":material/link_off:",
        )
    if own is None:
        st.info(
            "Nothing is picked yet. Take what a rule chooses, add stitches on **Scores** and "
            "**Stitches**, or open a list from a file.",
            icon=":material/info:",
        )
    else:
        _table(found, own)
    left, right = st.columns([3, 2], gap="large")
    with right:
        other = _open_file()
        if other is not None:
            _other(found, other)
        _take_away(found, own)
    mine = [] if own is None else [Listed("my list", own, *MINE)]
    shown = [*mine, *([] if other is None else [other])]
    if shown:
        with left:
            _beside(found, shown)


page()
