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
from klas.study import LARGEST_IMAGE

_SIDES = {
    "Height": "Empty for the size that the network was trained with. Position embeddings are "
    "fitted to another size; a network that cannot take it is refused when the study runs.",
    "Width": "Empty for the same as the height.",
}
_FUSED_HELP = (
    "Runs and trains the network with its parallel branches and batch normalisation folded into "
    "single convolutions by timm, as it is deployed (MobileOne, RepVGG, LeViT, …). Without it, the "
    "trained form runs, and the cost of the fused form is shown beside its own."
)


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
            _options(pick)
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


def _options(pick: AnchorPick) -> None:
    """The form for the size of an anchor's images and for its form."""
    key, size = pick["name"], pick.get("image_size")
    with (
        st.popover("Options", icon=":material/tune:", type="tertiary"),
        st.form(f"options:{key}", border=False),
    ):
        height, width = (
            _side(f"{side.lower()}:{key}", side, words, None if size is None else size[k])
            for k, (side, words) in enumerate(_SIDES.items())
        )
        fused = st.checkbox(
            "Fused form", value=pick.get("fused", False), key=f"fused:{key}", help=_FUSED_HELP
        )
        if st.form_submit_button("Set", key=f"set:{key}"):
            sides = [side for side in (height, width) if side is not None]
            draft.set_options(key, [sides[0], sides[-1]] if sides else None, fused)
            st.rerun()


def _side(key: str, side: str, words: str, pixels: int | None) -> int | None:
    # A number that is the field's default could not be taken out of it again. So every run says
    # it: the browser never hears a run that is broken off.
    st.session_state[key] = st.session_state.get(key, pixels)
    return st.number_input(
        f"{side} of its images (pixels)",
        min_value=1,
        max_value=LARGEST_IMAGE,
        value=None,
        placeholder="its own",
        key=key,
        help=words,
    )


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
            weights = st.text_input(
                "Weights file",
                placeholder="/home/me/mine.safetensors",
                help="Or the folder that holds it. A `config.json` beside it, as timm saves it, "
                "says the size, mean and standard deviation of the images.",
            )
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
        return [*facts, *_chosen(pick)]
    if network.macs is not None and network.params is not None:
        facts.append(f"{cost(network.macs, GIGA)} GMACs")
        facts.append(f"{network.params / 1e6:.3g} M parameters")
    facts.append(f"{pixels(network)} pixels")
    facts.append(f"{network.classes:,} classes" if network.classes else "no head")
    return [*facts, *_chosen(pick)]


def _chosen(pick: AnchorPick) -> list[str]:
    """What the options say that is not the default."""
    size = pick.get("image_size")
    facts = [f"runs at {' × '.join(map(str, size))} pixels"] if size else []
    return [*facts, "fused"] if pick.get("fused") else facts
