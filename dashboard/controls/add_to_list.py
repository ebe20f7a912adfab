"""The ways to put stitches on one's list, and to take a change back."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.controls.heading import says_errors
from dashboard.model.list_entries import entries_of, entry_of
from dashboard.session import my_list
from dashboard.session.accuracies import race_at_hand
from dashboard.session.choices import bound
from dashboard.session.state import session
from dashboard.text.markup import plain
from klas.results.formatting import METHODS
from klas.results.pair import Document, Pair, pairs_of
from klas.results.selections import choose, own_or_fair_share
from klas.study import METRICS, Metric, SelectionSpec


def fill_list(document: Document, spec: SelectionSpec) -> None:
    """A row of buttons.

    Args:
        spec: what a rule chooses by.
    """
    with st.container(horizontal=True):
        with st.popover("Take what a rule chooses", icon=":material/filter_alt:"):
            _by_rule(document, spec)
        with st.popover("Add a stitch", icon=":material/add:"):
            _by_hand(document)
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


@says_errors
def _by_rule(document: Document, spec: SelectionSpec) -> None:
    pairs = {p.name: p for p in pairs_of(document) if p.in_space.any() and p.is_scored("kl")}
    names = st.multiselect("Pairs", list(pairs), default=list(pairs)[:1])
    method: Metric = st.selectbox(
        "Method", METRICS, index=METRICS.index(spec.metric), format_func=METHODS.__getitem__
    )
    st.caption(
        f"{METHODS[spec.metric]} with τ = {spec.tau:g} ({spec.tau_mode}) in {spec.buckets} "
        f"buckets of equal {spec.binning}, as on **Stitches**; another score takes as many in "
        "each bucket, SN-Net's set is taken as it is, and of a race what it kept."
    )
    # Chosen before a button asks for it: what can't be chosen is said here.
    taken = {name: _taken(pairs[name], spec, method) for name in names}
    chosen = [
        entry
        for name, mask in taken.items()
        if mask is not None
        for entry in entries_of(pairs[name], mask)
    ]
    if waiting := [name for name, mask in taken.items() if mask is None]:
        st.info(
            f"No race of {plain(', '.join(waiting))} is run yet, and its training decides what is "
            "kept. To run it, choose the tier finetuned and the curve **race** on **Stitches**.",
            icon=":material/info:",
        )
    left, right = st.columns(2)
    left.button(
        "Add them", on_click=my_list.add, args=(chosen,), disabled=not chosen, width="stretch"
    )
    right.button(
        "Replace", on_click=my_list.change_to, args=(chosen,), disabled=not chosen, width="stretch"
    )


def _taken(pair: Pair, spec: SelectionSpec, method: Metric) -> NDArray[np.bool_] | None:
    """(N,) what a method chooses beside the selection; None of a race that was not run."""
    if method != "race":
        return own_or_fair_share(pair, choose(pair, spec), spec.metric, method)
    race = race_at_hand(pair, spec)
    return None if race is None else np.isfinite(race.accuracy)


def _by_hand(document: Document) -> None:
    pairs = {p.name: p for p in pairs_of(document) if len(p.macs) and p.is_scored("kl")}
    if not pairs:
        st.caption("No pair has stitches to add.")
        return
    pair = pairs[st.selectbox("Pair (source → target)", list(pairs), key="by-hand:pair")]
    listed = set(my_list.entries())
    free = [
        row
        for row in np.argsort(pair.macs, kind="stable").tolist()
        if entry_of(pair, row) not in listed
    ]
    if not free:
        st.caption("Every stitch of this pair is in my list.")
        return
    stands_at = session().by_hand.get(pair.name)
    if stands_at not in free:
        stands_at = free[0]  # it was put on the list in another way
    row = st.selectbox(
        "Stitch (i → j), not listed yet",
        format_func=lambda row: (
            "{} → {}, ".format(*pair.stitches[row])
            + f"{pair.macs[row] / pair.unit.scale:.3g} {pair.unit.name}"
        ),
        **bound(
            "by_hand",
            stands_at,
            pair.name,
            options=free,
            change=lambda row: session().by_hand.update({pair.name: row}),
        ),
    )
    later = free[free.index(row) + 1 :]
    st.button("Add", on_click=_add_one, args=(pair, row, (later or free)[0]), width="stretch")


def _add_one(pair: Pair, row: int, following: int) -> None:
    """Put a stitch on the list, and offer the one that follows it by cost."""
    my_list.add([entry_of(pair, row)])
    session().by_hand[pair.name] = following
