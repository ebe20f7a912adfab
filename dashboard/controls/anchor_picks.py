"""The anchors picked for a new study, and the way to add one with local weights."""

from collections.abc import Mapping
from itertools import combinations

import streamlit as st

from dashboard.controls.network_search import pixels
from dashboard.session import draft
from dashboard.session.state import AnchorPick
from dashboard.text.markup import plain
from klas.results.formatting import cost
from klas.results.pair import GIGA
from klas.storage.catalogue import Network


def anchor_picks(networks: list[Network]) -> None:
    """The anchors by cost, each with a button that drops it."""
    by_tag = {n.tag: n for n in networks}
    picks = draft.anchors()
    st.subheader(f"{len(picks)} anchors picked" if picks else "No anchors picked yet")
    if not picks:
        st.caption("Tick two or more networks in the table.")
    for pick in sorted(picks, key=lambda p: getattr(by_tag.get(p["model"]), "macs", None) or 0):
        with st.container(horizontal=True, vertical_alignment="center"):
            name, detail = plain(pick["name"]), plain(" · ".join(_facts(pick, by_tag)))
            st.markdown(f"**{name}**  \n:small[{detail}]", width="stretch")
            st.button(
                "Remove",
                icon=":material/close:",
                type="tertiary",
                key=f"drop:{pick['name']}",
                on_click=draft.drop,
                args=(pick["name"],),
            )
    if len(picks) > 1:
        pairs = len(list(combinations(picks, 2)))
        st.caption(f"{pairs} pairs of anchors to stitch." if pairs > 1 else "One pair to stitch.")


def add_checkpoint(networks: list[Network]) -> None:
    """The form for an anchor with weights of one's own."""
    with st.popover("Add a local checkpoint", icon=":material/upload_file:", width="stretch"):
        tags, picks = [n.tag for n in networks], draft.anchors()
        first = picks[0]["model"] if picks else None
        with st.form("checkpoint", border=False, clear_on_submit=True):
            model = st.selectbox(
                "Network that it fits", tags, index=tags.index(first) if first in tags else None
            )
            name = st.text_input("Name of this anchor", placeholder="mine")
            weights = st.text_input("Weights file", placeholder="/home/me/mine.safetensors")
            if not st.form_submit_button("Add", icon=":material/add:"):
                return
        name = name.strip()
        if not (model and name and weights.strip()):
            st.error("Choose the network, and give a name and the file.", icon=":material/error:")
        elif name in [pick["name"] for pick in picks]:
            st.error(f"There is an anchor {name!r} already.", icon=":material/error:")
        else:
            draft.add({"name": name, "model": model, "weights": weights.strip()})
            st.rerun()


def _facts(pick: AnchorPick, by_tag: Mapping[str, Network]) -> list[str]:
    facts = [pick["weights"]] if pick["weights"] else []
    network = by_tag.get(pick["model"])
    if network is None:
        return facts
    if network.macs is not None and network.params is not None:
        facts.append(f"{cost(network.macs, GIGA)} GMACs")
        facts.append(f"{network.params / 1e6:.3g} M parameters")
    facts.append(f"{pixels(network)} pixels")
    facts.append(f"{network.classes:,} classes" if network.classes else "no head")
    return facts
