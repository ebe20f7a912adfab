"""A map of every stitch of a pair; a click on a cell opens that stitch beside it."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts.heatmap import cell_map
from dashboard.charts.heatmap_labels import buckets_fit, values_fit
from dashboard.controls import picture_format as pictures
from dashboard.controls.heading import (
    heading,
    pick_metric,
    pick_pair,
    says_errors,
    scored_document,
    selection,
)
from dashboard.controls.job_panel import job_panel
from dashboard.controls.jobs import start_button
from dashboard.controls.selection import BUCKETS, TAU
from dashboard.controls.stitch_card import stitch_card
from dashboard.model.tradeoff import Floats
from dashboard.session.address import complaint
from dashboard.session.choices import bound, keep
from dashboard.session.drawings import map_drawing, open_clicked_cell
from dashboard.session.resources import store, study
from dashboard.session.state import choices
from dashboard.tables.columns import TIER_COLUMNS, even
from dashboard.text.quantities import (
    QUANTITIES,
    SHOWN,
    THE_SCORE,
    Field,
    field,
    in_words,
    of_stitches,
    quantity,
)
from klas.jobs.kinds import RunJob
from klas.results.accuracies import finetuned_accuracy
from klas.results.formatting import METHODS
from klas.results.pair import Document, Pair
from klas.results.selections import choose
from klas.selection.buckets import Selection
from klas.study import Metric, SelectionSpec, Stage

MOST_LISTED = 8
STYLE = """<style>
/* One below the other where there is no room to read them side by side. */
.st-key-choices > * > .stHorizontalBlock > .stColumn {min-width: 9rem}
.st-key-map-and-stitch > * > .stHorizontalBlock > .stColumn {min-width: 25rem}
</style>"""
NONE_OPEN = ()  # Streamlit takes None for no answer at all


def _how_to_read(name: str) -> None:
    st.subheader("How to read it")
    if name != "kl":
        st.markdown(QUANTITIES[name].words)
        return
    st.latex(
        r"\Gamma(i,j)=\frac{\Omega}{\Sigma}="
        r"\frac{\Theta(P_i^f,\,P_j^g)}{\Theta(P_j^g,\,P_{j+1}^g)}"
    )
    st.markdown(
        "- **Ω** is the distance across the stitch: how far the source's probe after block "
        "*i* is from the target's after block *j*, in nats.\n"
        "- **Σ** is the capacity of the block that follows: how much the target's next block "
        "changes its own probe.\n"
        "- **Θ(P, Q) = mean KL(P ‖ Q)** over the validation images: how many nats apart the "
        "predictions of two probes are.\n"
        "- A stitch is promising where the next block can make up for the distance."
    )


def _best(pair: Pair, metric: Metric) -> None:
    st.subheader("Best of the pair")
    rows = np.flatnonzero(pair.in_space)
    rows = rows[pair.scores(metric)[rows].argsort(kind="stable")[:MOST_LISTED]]
    names = [*dict.fromkeys((metric, "kl", "theta")), "macs", "tuned"]
    labels = {name: quantity(name, pair).label for name in names}
    labels |= {"macs": pair.unit.name, "tuned": "tuned (%)"}
    figures = {labels[name]: of_stitches(pair, name)[rows] for name in names}
    st.dataframe(
        pd.DataFrame(
            {"stitch": ["{} → {}".format(*stitch) for stitch in pair.stitches[rows]], **figures}
        ),
        hide_index=True,
        column_config={
            **{labels[name]: even(figures[labels[name]], QUANTITIES[name].words) for name in names},
            labels["tuned"]: TIER_COLUMNS["tuned (%)"],
        },
    )


def _pick_shown(pair: Pair, *, trained: bool) -> str:
    """What the map shows: the score that chooses, or anything else.

    Args:
        trained: whether what is chosen was trained jointly.
    """
    names = {THE_SCORE: "The score"} | {n: quantity(n, pair).option for n in QUANTITIES}
    offered = SHOWN if trained else SHOWN[:-1]
    start = choices().get("show", THE_SCORE)
    shown: str = st.selectbox(
        "Show",
        offered,
        format_func=names.__getitem__,
        help="What the map shows. **The score** is what chooses; buckets, frames and dots stay "
        "with it.",
        **bound("show", start if start in offered else THE_SCORE, *offered),
    )
    if start not in offered:
        st.caption("What is chosen now is not trained jointly; **Stitches** trains it.")
    return shown


def _pick_stitch(pair: Pair) -> int | None:
    """The row of the open stitch.

    It comes from the cell that was clicked, from the address, or from the selector, which needs no
    mouse.
    """
    cell = choices().get("cell")
    places = {place: row for row, place in enumerate(pair.everywhere)}
    open_to_all = sorted(place for place, row in places.items() if pair.in_space[row])
    if cell is not None and cell not in open_to_all:
        said = complaint("cell", "{}-{}".format(*cell), "the pair has no such stitch")
        st.warning(said, icon=":material/link_off:")
        keep("cell", None)
        cell = None
    st.selectbox(
        "Stitch",
        [NONE_OPEN, *open_to_all],
        format_func=lambda place: "{} → {}".format(*place) if place else "none",
        help="Opens a stitch as a click on its cell does: *i* → *j* leaves the source after block "
        "*i* and goes on with the target after block *j*. The map's cells take the mouse alone; "
        "from the keyboard, every stitch is opened here.",
        **bound("cell", cell or NONE_OPEN, pair.name, change=lambda new: keep("cell", new or None)),
    )
    return None if cell is None else places[cell]


def _map(
    pair: Pair, spec: SelectionSpec, picked: Selection, name: str, trained: Floats | None
) -> None:
    """The map, or what to do where it would be empty.

    Args:
        trained: (N,) accuracies after joint training, where these are shown.
    """
    what, shown = quantity(name, pair), field(pair, name, trained)
    place = "j" if name == "sigma" else "(i, j)"
    st.subheader(f"{what.label} of {place}, {what.reading}", help=what.words)
    if shown is None:
        assert what.stage is not None, "offered where it is trained"
        _not_computed(pair, what.label, what.stage)
        return
    buckets = buckets_fit(shown) and _pick_numbers()
    known_as = f"map:{study().name}:{pair.name}:{name}:{buckets}:{spec.model_dump_json()}"
    key, ringed = map_drawing(known_as)
    words = in_words(pair, name, shown)
    st.plotly_chart(
        cell_map(pair, picked, spec.metric, name, ringed, trained, buckets=buckets),
        config=pictures.config(),
        key=key,
        on_select=lambda: open_clicked_cell(key),
        selection_mode="points",
        alt=words,
    )
    st.caption(words)
    st.caption(
        _numbers_in_words(pair, what.label, shown, picked, buckets=buckets)
        + (_marks_in_words(spec) if shown.rows else "")
        + "The bars are what a linear probe reads at each cut; hatched ones did not converge.",
        help=f"{TAU[spec.tau_mode]}\n\n{BUCKETS}" if shown.rows else None,
    )


def _pick_numbers() -> bool:
    """Whether the cells have the numbers of their buckets in place of values."""
    asked: bool = st.toggle(
        "Bucket numbers",
        help="Prints in each cell which bucket of cost its stitch is in, 0 beside the cheap "
        "anchor's cost, in place of the value.",
        **bound("bucket_numbers", choices().get("bucket_numbers", False)),
    )
    return asked


def _numbers_in_words(
    pair: Pair, label: str, shown: Field, picked: Selection, *, buckets: bool
) -> str:
    """What the printed numbers are."""
    if not buckets:
        return f"Printed: {label}. " if values_fit(shown) else f"Hover for {label}. "
    outside = int((picked.bucket[pair.in_space] < 0).sum())
    note = f"; – marks the {outside} outside the anchors' costs" if outside else ""
    return f"Printed: buckets of cost, from the cheap anchor's to the costly one's{note}. "


def _marks_in_words(spec: SelectionSpec) -> str:
    return (
        f"Framed: chosen with τ = {spec.tau:g} ({spec.tau_mode}); change it on **Stitches**. Dot: "
        f"the best of its bucket of cost by {METHODS[spec.metric]}. A click on a cell opens its "
        "stitch. "
    )


def _not_computed(pair: Pair, label: str, stage: Stage) -> None:
    if not pair.in_space.any():
        st.info("This pair has no stitch to choose from.", icon=":material/info:")
        return
    st.info(
        f"{label}: not computed for this pair yet. Run the stage **{stage}**.",
        icon=":material/info:",
    )
    start_button(f"Compute up to {stage}", study(), RunJob(until=stage))


@st.fragment
@says_errors
def _scores(found: Document) -> None:
    """All that a choice on this page draws again."""
    first, second, third, fourth = st.container(key="choices").columns([5, 2, 3, 2], gap="medium")
    with first:
        pair = pick_pair(found)
    assert pair is not None, "all pairs are not offered here"
    with second:
        metric = pick_metric()
    spec = selection().model_copy(update={"metric": metric})
    picked = choose(pair, spec) if pair.is_scored(metric) else None
    trained = None
    if picked is not None:
        trained = finetuned_accuracy(store(), pair, picked.chosen, study())
    with third:
        shown = _pick_shown(pair, trained=trained is not None)
    with fourth:
        row = _pick_stitch(pair)
    name = metric if shown == THE_SCORE else shown
    if picked is None:
        begun = pair.raw["theta"] is not None
        _not_computed(pair, quantity(metric, pair).label if begun else "The scores", "scores")
        return
    left, right = st.container(key="map-and-stitch").columns([3, 2], gap="large")
    with left:
        _map(pair, spec, picked, name, trained if name == "finetuned" else None)
    with right:
        if row is not None:
            stitch_card(pair, spec, picked, row, trained)
        else:
            _how_to_read(name)
        if pair.in_space.any():
            _best(pair, metric)


@says_errors
def page() -> None:
    """The page."""
    heading("Stitch scores")
    found = scored_document()
    job_panel(study().name)
    st.html(STYLE)
    _scores(found)


page()
