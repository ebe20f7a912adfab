"""The first page: what is studied, how far it is computed, a button that goes on, the anchors."""

import streamlit as st

from dashboard.charts.anchors import anchors_chart, probe_chart
from dashboard.controls.command_lines import own_selection_command, run_command
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import heading, says_errors
from dashboard.controls.job_list import job_list
from dashboard.controls.job_panel import job_panel
from dashboard.controls.study_copy import study_copy
from dashboard.controls.study_run import is_complete, study_run
from dashboard.controls.tour import offer_tour
from dashboard.session.resources import document, store, study
from dashboard.tables.anchors import anchors_table, pairs_table
from dashboard.text.markup import plain
from klas.results.notes import notes
from klas.results.pair import Document
from klas.study import DIGITS, STAGES, Study
from klas.tasks.task import task_named


@says_errors
def page() -> None:
    """The page."""
    heading("Networks between your networks")
    st.markdown(
        "**Stitching** runs the first *i* blocks of one pretrained network (an *anchor*), maps "
        "the activations with one linear layer, and continues after block *j* of another. "
        "KLAS scores every such stitch beforehand, by the KL divergence between linear probes, "
        "and picks the best for every budget."
    )
    results, at_hand = document(), study()

    if not is_complete(results):
        with st.container(border=True):
            study_run(results, at_hand)
    job_panel(at_hand.name)

    if results is not None and is_complete(results):
        _way_on(results, at_hand)
    if results is not None:
        _left_out(results)
        if doubts := notes(results):
            sentences = [f"{plain(note)}." for note in doubts]
            listed = sentences[0] if len(sentences) == 1 else "\n".join(f"- {s}" for s in sentences)
            st.warning(listed, icon=":material/warning:")
        _anchors_and_pairs(results)
        _charts(results)
    study_copy(at_hand)
    job_list()
    _in_full(at_hand)


def _way_on(results: Document, at_hand: Study) -> None:
    count = sum(len(pair["candidates"]) for pair in results["pairs"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**Study: {at_hand.name}.** {count} stitches of {len(results['pairs'])} pairs are "
            "scored and measured."
        )
        st.page_link("views/scores.py", label="See the scores", icon=":material/grid_on:")
        st.page_link("views/stitches.py", label="Choose stitches", icon=":material/show_chart:")
    if at_hand == DIGITS:
        offer_tour()


def _left_out(results: Document) -> None:
    """Which files are no images, and how many images are damaged; the command names these."""
    splits = {"training": results["data"]["train"], "validation": results["data"]["val"]}
    others = []
    for called, split in splits.items():
        if files := split.get("passed_over"):
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in files.items())
            others.append(f"{kinds} beside the {called} images")
    if others:
        st.info(
            f"Files whose names are not those of images were left out: {'; '.join(others)}.",
            icon=":material/hide_image:",
        )
    counts = {called: len(split["left_out"]) for called, split in splits.items()}
    if any(counts.values()):
        images = " and ".join(f"{count:,} {called}" for called, count in counts.items() if count)
        st.warning(
            f"Left out {images} images that cannot be read; others of their classes took their "
            "place. `klas run` names the first of them.",
            icon=":material/broken_image:",
        )


def _anchors_and_pairs(results: Document) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Anchors")
        anchors_table(results)
    with right:
        st.subheader("Which pairs go together")
        st.caption(
            "Θ between the anchors' own outputs, source ‖ target: the lower, the more compatible "
            "(step 1 of the paper; no probes needed)."
        )
        pairs_table(results)


def _charts(results: Document) -> None:
    accuracy = task_named(results["task"]).metric.heading
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Accuracy against cost")
        if any(a["accuracy"] is not None for a in results["anchors"]):
            st.plotly_chart(
                anchors_chart(results),
                config=figure_config(),
                alt=f"{accuracy} of the anchors against their MACs; lines join the pairs of the "
                "study",
            )
        else:
            st.caption("No anchor has a head for these classes.")
    with right:
        st.subheader("What a probe reads after every block")
        if results["anchors"][0]["probe_accuracy"] is None:
            st.caption("Not computed yet.")
            return
        st.plotly_chart(
            probe_chart(results),
            config=figure_config(),
            alt=f"{accuracy} of a linear probe at every cut of every anchor",
        )


def _in_full(at_hand: Study) -> None:
    with st.expander("The study in full, and the same from the command line"):
        commands = (run_command(STAGES[-1]), own_selection_command("stitches.json"))
        st.code("\n".join(commands), language="bash")
        st.code(at_hand.to_toml(), language="toml")
        st.caption(f"Results are kept in the folder {plain(store().root.name)}.")


page()
