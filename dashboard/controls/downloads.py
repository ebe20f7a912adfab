"""What was chosen: added to one's list, as a file, as the command that writes it."""

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.controls.command_lines import select_command
from dashboard.controls.jobs import estimate, start_button
from dashboard.controls.train import train_stitches
from dashboard.model.list_entries import entries_of, entry_of
from dashboard.session import my_list
from dashboard.session.accuracies import accuracy_at
from dashboard.session.resources import store, study
from klas.jobs.kinds import FullValJob
from klas.results.accuracies import finetuned_accuracy, full_val_accuracy
from klas.results.formats import dumps
from klas.results.pair import Pair
from klas.results.stitch_list import stitch_list
from klas.study import SelectionSpec, Tier

Picked = tuple[Pair, NDArray[np.bool_]]


def add_button(picked: Sequence[Picked], *, limited: bool) -> None:
    """A button that puts what is chosen into one's list.

    Args:
        limited: whether a range of cost left some of the choice out.
    """
    entries = [entry for pair, chosen in picked for entry in entries_of(pair, chosen)]
    missing = len(set(entries) - set(my_list.entries()))
    what = "the one" if len(entries) == 1 else f"these {len(entries)}"
    st.button(
        f"Add {what} to my list" if missing or not entries else "All are in my list",
        icon=":material/playlist_add:",
        disabled=not missing,
        help="Those within the range of cost. My list can be edited, compared and exported."
        if limited
        else "My list can be edited, compared and exported.",
        on_click=my_list.add,
        args=(entries,),
    )


def list_button(pair: Pair, row: int, *, place: str) -> None:
    """A button that puts a stitch into one's list, or takes it out.

    Args:
        place: tells buttons for the same stitch apart.
    """
    entry = entry_of(pair, row)
    act: Callable[..., None]
    if entry in my_list.entries():
        label, icon, act = "Remove from my list", ":material/playlist_remove:", my_list.remove
    else:
        label, icon, act = "Add to my list", ":material/playlist_add:", my_list.add
    st.button(
        label,
        key=f"list:{place}",
        icon=icon,
        help="Your own choice of stitches, on the page **My list**.",
        on_click=act,
        args=([entry],),
    )


def selection_downloads(
    picked: Sequence[Picked], spec: SelectionSpec, tier: Tier, name: str, pair: Sequence[str] = ()
) -> None:
    """The stitch list as a file, and the command that writes the same one.

    Args:
        picked: what ``spec`` chooses of the pairs.
        name: of the file.
        pair: the names of the one pair; none for all of them.
    """
    full_val = tier if _full_val(picked, spec, tier) else None
    st.download_button(
        "Download as JSON",
        # Made when it is asked for: a long list takes longer than the slider may.
        _file([pair for pair, _ in picked], spec, full_val),
        file_name=name,
        mime="application/json",
        icon=":material/download:",
        help="A stitch list: `klas check` rebuilds it, `klas.load_stitch` loads one of its "
        "networks.",
        on_click="ignore",
    )
    command = select_command(spec, pair, name, full_val)
    st.code(command, language="bash", wrap_lines=True)
    stitches = [entry for pair_, chosen in picked for entry in entries_of(pair_, chosen)]
    train_stitches(picked[0][0].document, stitches, name)


def _file(pairs: Sequence[Pair], spec: SelectionSpec, whole: Tier | None) -> Callable[[], bytes]:
    """What makes the file's bytes when the browser asks for them, outside any run of the page.

    Args:
        whole: the tier that was measured on every validation image, if one was.
    """
    results, at_hand = store(), study()

    def make() -> bytes:
        listed = stitch_list(
            pairs[0].document,
            spec,
            pairs=pairs,
            finetuned=lambda p, chosen: finetuned_accuracy(results, p, chosen, at_hand),
            full_val=(lambda p, chosen: full_val_accuracy(results, p, chosen, at_hand, whole))
            if whole
            else None,
        )
        return dumps(listed)

    return make


def _full_val(picked: Sequence[Picked], spec: SelectionSpec, tier: Tier) -> bool:
    """How the chosen stitches do on every validation sample, or the button that measures it.

    Returns:
        Whether it is known.
    """
    val, kind = picked[0][0].document["data"]["val"], picked[0][0].task.samples
    some = [(pair, chosen) for pair, chosen in picked if chosen.any()]
    known = [full_val_accuracy(store(), pair, c, study(), tier) for pair, c in some]
    complete = bool(known) and all(known)
    if val["images"] - len(val["left_out"]) <= val["samples"]:
        return complete  # nothing was left unseen
    seen = [accuracy_at(pair, chosen, tier) for pair, chosen in some]
    if complete:
        gaps = [
            100 * (whole["accuracy"]["{}-{}".format(*pair.stitches[row])] - accuracy[row])
            for (pair, chosen), whole, accuracy in zip(some, known, seen)
            if whole is not None
            for row in np.flatnonzero(chosen & np.isfinite(accuracy))
        ]
        samples = next(whole["samples"] for whole in known if whole is not None)
        st.caption(
            f"Measured on all {samples:,} validation {kind} too (tier {tier}): "
            f"{np.mean(gaps):+.1f} points on average against the {val['samples']:,} that the "
            f"choice saw, {min(gaps):+.1f} to {max(gaps):+.1f}. The list has every figure."
        )
    elif some and not any(p.unmeasured(a, chosen).any() for a, (p, chosen) in zip(seen, some)):
        chosen_so = study().model_copy(update={"selection": spec})
        job = FullValJob(pairs=tuple(pair.names for pair, _ in picked), tier=tier)
        with st.container(horizontal=True, vertical_alignment="center"):
            start_button(
                f"Measure what is chosen on all {val['images']:,} validation {kind}",
                chosen_so,
                job,
                icon=":material/fact_check:",
                kind="secondary",
                help=f"Scores and accuracies here come from {val['samples']:,} of them. Tier "
                f"{tier}.",
            )
            estimate(chosen_so, job)
    return complete
