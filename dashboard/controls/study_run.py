"""How far the study at hand is computed, and the button that takes it further."""

import streamlit as st

from dashboard.controls.command_lines import run_command
from dashboard.controls.engine_choice import engine_choice
from dashboard.controls.jobs import estimate, start_button
from klas.jobs.kinds import RunJob
from klas.results.pair import Document
from klas.results.stages import stages_done
from klas.study import STAGES, Stage, Study, TaskName, built_in_studies

STAGE_RESULTS: dict[Stage, str] = {
    "anchors": "Accuracies of the anchors, and which pairs go together",
    "probes": "A linear probe after every block",
    "scores": "Γ and its rivals for every stitch",
    "zero_shot": "Every stitch measured with a least-squares layer",
    "tuned": "Every stitch measured with a trained layer",
}
"""What each stage computes."""

BUILT_IN_DATA: dict[TaskName, str] = {
    "classification": "cluttered scenes made of scanned digits",
    "segmentation": "scenes made of scanned digits, with a class for every pixel",
    "language": "generated tales: who gives what to whom, and what each has in the end",
}
"""What the networks of the built-in study of a task were trained on."""


def is_complete(document: Document | None, until: Stage = STAGES[-1]) -> bool:
    """Whether every stage up to one is computed."""
    done = stages_done(document)
    return all(
        stage in done and done[stage][0] == done[stage][1]
        for stage in STAGES[: STAGES.index(until) + 1]
    )


def study_run(document: Document | None, at_hand: Study) -> None:
    """What is studied, how far it is computed, and what takes it further."""
    st.subheader(f"Study: {at_hand.name}")
    st.markdown(_about(at_hand))
    icons = _icons(document)
    until: Stage = st.segmented_control(
        "Compute up to",
        STAGES,
        default=STAGES[-1],
        format_func=lambda stage: f"{icons[stage]} {stage}",
        help="Ticked: computed. Half: in part. Empty: not yet.",
        key=f"until:{at_hand.name}",
        required=True,
    )
    st.caption(f"{STAGE_RESULTS[until]}.")
    if is_complete(document, until):
        st.markdown(f"Computed up to {until}. Choose a later stage to go on.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        label = "Compute everything" if until == STAGES[-1] else f"Compute up to {until}"
        job = RunJob(until=until)
        start_button(label, at_hand, job)
        estimate(at_hand, job)
        engine_choice()
    st.code(run_command(until), language="bash", wrap_lines=True)


def _about(at_hand: Study) -> str:
    names = ", ".join(a.name for a in at_hand.anchors)
    if built_in_studies().get(at_hand.name) == at_hand:
        return (
            f"Built in: {len(at_hand.anchors)} trained networks ({names}) on "
            f"{BUILT_IN_DATA[at_hand.task]}. Computing everything takes minutes on two cores; "
            "nothing is computed twice, and you can leave this page meanwhile."
        )
    return (
        f"{len(at_hand.anchors)} anchors ({names}) on {at_hand.data.train}. Nothing is computed "
        "twice, and you can leave this page meanwhile."
    )


def _icons(document: Document | None) -> dict[Stage, str]:
    """For each stage whether it is computed, in part, or not."""
    done = stages_done(document)
    icons = {}
    for stage in STAGES:
        have, total = done.get(stage, (0, 1))
        icons[stage] = "check_circle" if have == total else "contrast" if have else "circle"
    return {stage: f":material/{icon}:" for stage, icon in icons.items()}
