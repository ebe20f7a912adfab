"""The map of a pair's stitches: what it shows, which stitch is open, and the map itself."""

import numpy as np
import streamlit as st

from dashboard.charts.heatmap import cell_map
from dashboard.charts.heatmap_labels import buckets_fit, values_fit
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.jobs import start_button
from dashboard.controls.selection import BUCKETS, TAU
from dashboard.model.tradeoff import Floats
from dashboard.session.address import complaint
from dashboard.session.choices import bound, keep
from dashboard.session.drawings import map_drawing, open_clicked_cell
from dashboard.session.resources import study
from dashboard.session.state import choices
from dashboard.text.quantities import SHOWN, THE_SCORE, Field, description, field, quantity
from klas.jobs.kinds import RunJob
from klas.results.formatting import METHODS
from klas.results.notes import why_no_cka
from klas.results.pair import Pair
from klas.selection.buckets import Selection
from klas.study import SelectionSpec, Stage

NONE_OPEN = ()  # Streamlit takes None for no answer at all


def pick_shown(pair: Pair, *, trained: bool) -> str:
    """A selector of what the map shows: the score that chooses, or anything else.

    Args:
        trained: whether what is chosen was trained jointly.
    """
    names = {name: quantity(name, pair).option for name in SHOWN if name != THE_SCORE}
    names[THE_SCORE] = "The score"
    options = SHOWN if trained else SHOWN[:-1]
    start = choices().get("show", THE_SCORE)
    shown: str = st.selectbox(
        "Show",
        format_func=names.__getitem__,
        help="What the map shows. **The score** is what chooses; buckets, frames and dots always "
        "belong to it.",
        **bound("show", start if start in options else THE_SCORE, options=options),
    )
    if start not in options:
        st.caption("What is chosen now is not trained jointly; you can train it on **Stitches**.")
    return shown


def pick_stitch(pair: Pair) -> int | None:
    """The row of the open stitch.

    It comes from the cell that was clicked, from the address, or from the selector, which needs no
    mouse.
    """
    cell = choices().get("cell")
    rows = {stitch: row for row, stitch in enumerate(pair.everywhere)}
    in_space = sorted(stitch for stitch, row in rows.items() if pair.in_space[row])
    if cell is not None and cell not in in_space:
        sentence = complaint("cell", "{}-{}".format(*cell), "the pair has no such stitch")
        st.warning(sentence, icon=":material/link_off:")
        keep("cell", None)
        cell = None
    st.selectbox(
        "Stitch",
        format_func=lambda stitch: "{} → {}".format(*stitch) if stitch else "none",
        help="Opens a stitch as a click on its cell does: *i* → *j* leaves the source after block "
        "*i* and continues in the target after block *j*. The cells of the map need a mouse; "
        "here every stitch can be opened from the keyboard.",
        **bound(
            "cell",
            cell or NONE_OPEN,
            pair.name,
            options=[NONE_OPEN, *in_space],
            change=lambda new: keep("cell", new or None),
        ),
    )
    return None if cell is None else rows[cell]


def stitch_map(
    pair: Pair, spec: SelectionSpec, picked: Selection, name: str, trained: Floats | None
) -> None:
    """The map, or what to do where it would be empty.

    Args:
        name: of what it shows.
        trained: (N,) accuracies after joint training, where these are shown.
    """
    what, shown = quantity(name, pair), field(pair, name, trained)
    place = "j" if name == "sigma" else "(i, j)"
    st.subheader(f"{what.label} of {place}, {what.reading}", help=what.explanation)
    if shown is None:
        assert what.stage is not None, "joint training is shown only where it was done"
        not_computed(pair, name, what.stage)
        return
    buckets = buckets_fit(shown) and _pick_numbers()
    drawing = f"map:{study().name}:{pair.name}:{name}:{buckets}:{spec.model_dump_json()}"
    key, ringed = map_drawing(drawing)
    in_a_sentence = description(pair, name, shown)
    st.plotly_chart(
        cell_map(pair, picked, spec.metric, name, ringed, trained, buckets=buckets),
        config=figure_config(),
        key=key,
        on_select=lambda: open_clicked_cell(key),
        selection_mode="points",
        alt=in_a_sentence,
    )
    st.caption(in_a_sentence)
    st.caption(
        _about_numbers(pair, what.label, shown, picked, buckets=buckets)
        + (_about_marks(spec) if shown.rows else "")
        + "The bars show what a linear probe reads at each cut; hatched ones did not converge.",
        help=f"{TAU[spec.tau_mode]}\n\n{BUCKETS}" if shown.rows else None,
    )


def not_computed(pair: Pair, name: str, stage: Stage) -> None:
    """What stands in place of a map, and the button that computes it.

    Args:
        name: of the quantity.
    """
    if not pair.in_space.any():
        st.info("This pair has no stitch to choose from.", icon=":material/info:")
        return
    if name == "cka" and (reason := why_no_cka(pair.document)):
        st.info(f"{reason}.", icon=":material/info:")
        return
    begun = pair.raw["theta"] is not None
    label = quantity(name, pair).label if begun or stage != "scores" else "The scores"
    st.info(
        f"{label}: not computed for this pair yet. Run the stage **{stage}**.",
        icon=":material/info:",
    )
    start_button(f"Compute up to {stage}", study(), RunJob(until=stage))


def _pick_numbers() -> bool:
    """Whether the cells have the numbers of their buckets in place of values."""
    return st.toggle(
        "Bucket numbers",
        help="Prints in each cell the number of its stitch's bucket of cost instead of the value; "
        "bucket 0 begins at the cheap anchor's cost.",
        **bound("bucket_numbers", choices().get("bucket_numbers", False)),
    )


def _about_numbers(
    pair: Pair, label: str, shown: Field, picked: Selection, *, buckets: bool
) -> str:
    """What the printed numbers are."""
    if not buckets:
        return f"Printed: {label}. " if values_fit(shown) else f"Hover for {label}. "
    outside = int(np.count_nonzero(picked.bucket[pair.in_space] < 0))
    note = f"; – marks the {outside} outside the anchors' costs" if outside else ""
    return f"Printed: buckets of cost, from the cheap anchor's to the costly one's{note}. "


def _about_marks(spec: SelectionSpec) -> str:
    return (
        f"Framed: chosen with τ = {spec.tau:g} ({spec.tau_mode}); change it on **Stitches**. Dot: "
        f"the best of its bucket of cost by {METHODS[spec.metric]}. A click on a cell opens its "
        "stitch. "
    )
