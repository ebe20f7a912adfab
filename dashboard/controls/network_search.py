"""The search over every pretrained network, and the table in which anchors are ticked."""

from importlib.metadata import version
from math import inf

import pandas as pd
import streamlit as st

from dashboard.controls.jobs import start_button
from dashboard.session import draft
from klas.jobs.kinds import CatalogueJob
from klas.storage.catalogue import Network, families_of, find_networks

GMACS = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, inf]


def build_catalogue() -> None:
    """What to do where there is no catalogue to search yet."""
    with st.container(border=True):
        st.subheader("The catalogue has to be built once")
        st.markdown(
            f"It lists every pretrained network of timm {version('timm')} with its parameters, "
            "GMACs, input size and family. Costs are counted on the networks themselves, without "
            "downloading weights, which takes about eight minutes on one core. You can leave this "
            "page meanwhile."
        )
        start_button("Build the catalogue", None, CatalogueJob())


def search(networks: list[Network]) -> list[Network]:
    """The fields of the search; returns the networks that fit."""
    one, two, three, four = st.columns([4, 4, 4, 2], gap="medium")
    text = one.text_input(
        "Search", placeholder="swin tiny", key="find:text", icon=":material/search:"
    )
    families = two.multiselect(
        "Family", families_of(networks), key="find:families", placeholder="All families"
    )
    low, high = three.select_slider(
        "GMACs (the papers' GFLOPs)",
        GMACS,
        value=(GMACS[0], GMACS[-1]),
        format_func=lambda g: "∞" if g == inf else f"{g:g}",
        key="find:gmacs",
    )
    sizes = sorted({n.input_size[1] for n in networks})
    size = four.selectbox("Input (pixels)", sizes, index=None, placeholder="Any", key="find:size")
    return find_networks(
        networks,
        text=text,
        families=families,
        low=None if low == 0 else 1e9 * low,
        high=None if high == inf else 1e9 * high,
        size=size,
    )


def networks_table(networks: list[Network], total: int) -> None:
    """The networks that fit; those that are ticked are anchors of the draft.

    Args:
        total: how many there are to search.
    """
    if not networks:
        st.info("No network fits. Widen the search.", icon=":material/search_off:")
        return
    tags = [n.tag for n in networks]
    rows = {
        "network": tags,
        "GMACs": [None if n.macs is None else n.macs / 1e9 for n in networks],
        "params (M)": [None if n.params is None else n.params / 1e6 for n in networks],
        "input": [pixels(n) for n in networks],
        "family": [n.family for n in networks],
        "classes": [n.classes for n in networks],
        "licence": [n.licence or "" for n in networks],
    }
    if any(n.problem for n in networks):
        rows["not counted because"] = [n.problem or "" for n in networks]
    key = f"{draft.key('table')}:{hash(tuple(tags))}"
    picked = draft.picked_tags()

    def follow() -> None:
        selected = st.session_state[key]["selection"]["rows"]
        draft.follow_table(tags, [tags[row] for row in selected])

    three_digits = st.column_config.NumberColumn(format="%.3g", width="small")
    st.dataframe(
        pd.DataFrame(rows),
        height=460,
        hide_index=True,
        key=key,
        on_select=follow,
        selection_mode="multi-row",
        selection_default={
            "selection": {"rows": [k for k, tag in enumerate(tags) if tag in picked]}
        },
        column_config={
            "network": st.column_config.TextColumn(width=330),
            "GMACs": three_digits,
            "params (M)": three_digits,
            "input": st.column_config.TextColumn(width="small"),
            "classes": st.column_config.NumberColumn(width="small"),
        },
    )
    st.caption(
        f"{len(networks):,} of {total:,} networks. Tick a row to pick it; a click on a column's "
        "name sorts."
    )


def pixels(network: Network) -> str:
    """The size of a network's input."""
    _, height, width = network.input_size
    return str(height) if height == width else f"{height} × {width}"
