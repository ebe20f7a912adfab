"""Search timm's pretrained networks, pick anchors, name the images: a study without TOML."""

from collections.abc import Mapping
from importlib.metadata import version
from itertools import combinations
from math import inf
from typing import Any, get_args

import pandas as pd
import streamlit as st

from dashboard.controls.heading import heading, open_named, says_errors
from dashboard.controls.job_panel import job_panel
from dashboard.controls.jobs import start_button
from dashboard.session import draft
from dashboard.session.resources import catalogue, store
from dashboard.text.markdown import plain
from klas.errors import KlasError
from klas.jobs.kinds import CatalogueJob
from klas.results.formatting import cost
from klas.results.pair import GIGA
from klas.storage.catalogue import Network, families_of, find_networks
from klas.storage.saved_studies import make_study, save_study
from klas.study import DataSpec, SelectionSpec

GMACS = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, inf]
PAIR_RULES = {
    "cheaper-first": "from the cheaper anchor into the costlier one",
    "both-directions": "in both directions",
}


def _build() -> None:
    with st.container(border=True):
        st.subheader("The catalogue has to be built once")
        st.markdown(
            f"It lists every pretrained network of timm {version('timm')} with its parameters, "
            "GMACs, input size and family. They are counted on the networks themselves, without "
            "downloading weights: about eight minutes on one core. You can leave this page "
            "meanwhile."
        )
        start_button("Build the catalogue", None, CatalogueJob())


def _search(networks: list[Network]) -> list[Network]:
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


def _table(found: list[Network], total: int) -> None:
    if not found:
        st.info("No network fits. Widen the search.", icon=":material/search_off:")
        return
    shown = [n.tag for n in found]
    rows = {
        "network": shown,
        "GMACs": [None if n.macs is None else n.macs / 1e9 for n in found],
        "params (M)": [None if n.params is None else n.params / 1e6 for n in found],
        "input": [_pixels(n) for n in found],
        "family": [n.family for n in found],
        "classes": [n.classes for n in found],
        "licence": [n.licence or "" for n in found],
    }
    if any(n.problem for n in found):
        rows["not counted because"] = [n.problem or "" for n in found]
    key = f"{draft.key('table')}:{hash(tuple(shown))}"
    picked = draft.picked_tags()

    def follow() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        draft.follow_table(shown, [shown[row] for row in rows])

    three = st.column_config.NumberColumn(format="%.3g", width="small")
    st.dataframe(
        pd.DataFrame(rows),
        height=460,
        hide_index=True,
        key=key,
        on_select=follow,
        selection_mode="multi-row",
        selection_default={
            "selection": {"rows": [k for k, tag in enumerate(shown) if tag in picked]}
        },
        column_config={
            "network": st.column_config.TextColumn(width=330),
            "GMACs": three,
            "params (M)": three,
            "input": st.column_config.TextColumn(width="small"),
            "classes": st.column_config.NumberColumn(width="small"),
        },
    )
    st.caption(
        f"{len(found):,} of {total:,} networks. Tick a row to pick it; a click on a column's name "
        "sorts."
    )


def _pixels(network: Network) -> str:
    _, height, width = network.input_size
    return str(height) if height == width else f"{height} × {width}"


def _picked(networks: list[Network]) -> None:
    costs = {n.tag: n for n in networks}
    wanted = draft.anchors()
    st.subheader(f"{len(wanted)} anchors picked" if wanted else "No anchors picked yet")
    if not wanted:
        st.caption("Tick two or more networks in the table.")
    for pick in sorted(wanted, key=lambda p: getattr(costs.get(p["model"]), "macs", None) or 0):
        network = costs.get(pick["model"])
        with st.container(horizontal=True, vertical_alignment="center"):
            facts = [pick["weights"]] if pick["weights"] else []
            if network is not None:
                if network.macs is not None and network.params is not None:
                    facts.append(f"{cost(network.macs, GIGA)} GMACs")
                    facts.append(f"{network.params / 1e6:.3g} M parameters")
                facts.append(f"{_pixels(network)} pixels")
                facts.append(f"{network.classes:,} classes" if network.classes else "no head")
            name, detail = plain(pick["name"]), plain(" · ".join(facts))
            st.markdown(f"**{name}**  \n:small[{detail}]", width="stretch")
            st.button(
                "Remove",
                icon=":material/close:",
                type="tertiary",
                key=f"drop:{pick['name']}",
                on_click=draft.drop,
                args=(pick["name"],),
            )
    if len(wanted) > 1:
        pairs = len(list(combinations(wanted, 2)))
        st.caption(f"{pairs} pairs of anchors to stitch." if pairs > 1 else "One pair to stitch.")


def _checkpoint(networks: list[Network]) -> None:
    with st.popover("Add a local checkpoint", icon=":material/upload_file:", width="stretch"):
        tags = [n.tag for n in networks]
        first = draft.anchors()[0]["model"] if draft.anchors() else None
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
        elif name in [p["name"] for p in draft.anchors()]:
            st.error(f"There is an anchor {name!r} already.", icon=":material/error:")
        else:
            draft.add({"name": name, "model": model, "weights": weights.strip()})
            st.rerun()


def _form() -> None:
    base = draft.base()
    data = base.get("data", {})
    st.subheader("The study")
    if base:
        left, right = st.columns([3, 2], vertical_alignment="center")
        left.caption(f"Every setting starts as in {plain(base['name'])}.")
        right.button("Start from defaults", on_click=draft.start_from, args=({},), type="tertiary")
    with st.form(draft.key("form"), border=False):
        name = st.text_input(
            "Name",
            value=f"{base['name']} 2" if base else "",
            placeholder="swin zoo",
            help="Letters, digits, spaces and . + - _",
        )
        train = st.text_input(
            "Training images",
            value=data.get("train", ""),
            placeholder="/data/imagenet/train",
            help="A folder with one folder of images per class.",
        )
        val = st.text_input(
            "Validation images",
            value=data.get("val", ""),
            placeholder="/data/imagenet/val",
            help="Classes as in the training images.",
        )
        with st.expander("Samples, geometry, pairs"):
            settings = _settings(base)
        replace = st.checkbox("Replace a saved study of the same name")
        done = st.form_submit_button("Make study", type="primary", icon=":material/save:")
    if not done:
        return
    changes = {
        **settings,
        "name": name.strip(),
        "anchors": draft.anchors(),
        "data": {**settings["data"], "train": train.strip(), "val": val.strip()},
    }
    try:
        study = make_study(base, changes)
        save_study(store(), study, replace=replace)
    except KlasError as error:
        st.error(str(error), icon=":material/error:")
        return
    draft.start_from({})
    open_named(study.name)
    st.switch_page("views/study.py")


def _settings(base: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that most studies have reason to change; the others stay as they are."""
    data, choice = base.get("data", {}), base.get("selection", {})

    def start(section: Any, values: Mapping[str, Any], name: str) -> Any:
        return values.get(name, section.model_fields[name].default)

    left, right = st.columns(2)
    train_samples = left.number_input(
        "Training images to use",
        min_value=1,
        value=start(DataSpec, data, "train_samples"),
        help="For the probes; as many of each class.",
    )
    val_samples = right.number_input(
        "Validation images to use",
        min_value=1,
        value=start(DataSpec, data, "val_samples"),
        help="Θ, Γ and accuracies are measured on these.",
    )
    crop = left.number_input(
        "Central crop",
        value=start(DataSpec, data, "crop"),
        step=0.05,
        help="The part of each side that is kept, up to 1. One geometry for all anchors.",
    )
    known = data.get("class_map")
    class_map = None
    if not isinstance(known, dict):  # a table stays as it is
        class_map = st.text_input(
            "Class map",
            value=known or "",
            placeholder="/data/classes.txt",
            help="Needed where the folders are not named by WordNet ids: a .txt file with a class "
            "a line in the order of the anchors' outputs, or .csv or .json.",
        )
    kinds = get_args(DataSpec.model_fields["interpolation"].annotation)
    interpolation = right.selectbox(
        "Resize by", kinds, index=kinds.index(start(DataSpec, data, "interpolation"))
    )
    buckets = left.number_input(
        "Buckets of cost",
        min_value=1,
        value=start(SelectionSpec, choice, "buckets"),
        help="Each gives its best stitch. It can be changed later, at no cost.",
    )
    if class_map is not None:
        known = class_map.strip() or None
    settings: dict[str, Any] = {
        "data": {
            "train_samples": train_samples,
            "val_samples": val_samples,
            "crop": crop,
            "interpolation": interpolation,
            "class_map": known,
        },
        "selection": {"buckets": buckets},
    }
    rule = base.get("pairs", "cheaper-first")
    if isinstance(rule, str):
        rules = list(PAIR_RULES)
        settings["pairs"] = st.selectbox(
            "Stitch", rules, index=rules.index(rule), format_func=PAIR_RULES.__getitem__
        )
    else:
        st.caption(f"Stitches the {len(rule)} pairs that the study names.")
    return settings


@says_errors
def page() -> None:
    """The page."""
    heading("Anchors")
    st.markdown("Pick pretrained networks, name your images, and stitch what lies between them.")
    networks = catalogue()
    if networks is None:
        _build()
        job_panel(None)
        return
    left, right = st.columns([5, 3], gap="large")
    with left:
        _table(_search(networks), len(networks))
    with right:
        _picked(networks)
        _checkpoint(networks)
        _form()


page()
