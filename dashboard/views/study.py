"""The first page: what is studied, how far it is computed, a button that goes on, the anchors."""

import os
import shlex

import pandas as pd
import streamlit as st

from dashboard.charts import anchors as anchor_figures
from dashboard.controls import picture_format as pictures
from dashboard.controls.heading import heading, open_named, says_errors
from dashboard.controls.job_list import job_list
from dashboard.controls.job_panel import job_panel
from dashboard.controls.jobs import estimate, start_button
from dashboard.controls.tour import offer_tour
from dashboard.session import draft
from dashboard.session.resources import document, store, study, study_arguments
from klas.errors import KlasError
from klas.jobs.kinds import RunJob
from klas.results.pair import Document, cost_unit, number, pairs_of
from klas.results.usage import stages_done
from klas.storage.saved_studies import duplicate_study
from klas.study import DIGITS, STAGES, Stage, Study

THETA = "Θ (nats)"
STAGE_WORDS: dict[Stage, str] = {
    "anchors": "Accuracies of the anchors, and which pairs go together",
    "probes": "A linear probe after every block",
    "scores": "Γ and its rivals for every stitch",
    "zero_shot": "Every stitch measured with a least-squares layer",
    "tuned": "Every stitch measured with a trained layer",
}


def _marks(found: Document | None) -> dict[Stage, str]:
    """For each stage whether it is computed, in part, or not."""
    done = stages_done(found)
    icons = {}
    for stage in STAGES:
        have, total = done.get(stage, (0, 1))
        icons[stage] = "check_circle" if have == total else "contrast" if have else "circle"
    return {stage: f":material/{icon}:" for stage, icon in icons.items()}


def _is_complete(found: Document | None, until: Stage = STAGES[-1]) -> bool:
    done = stages_done(found)
    return all(
        stage in done and done[stage][0] == done[stage][1]
        for stage in STAGES[: STAGES.index(until) + 1]
    )


def _anchors_table(found: Document) -> None:
    unit = cost_unit(found)
    rows = [
        {
            "anchor": a["name"],
            "blocks": a["blocks"],
            unit.name: a["macs"] / unit.scale,
            "parameters": a["params"],
            "top-1 (%)": None if a["accuracy"] is None else 100 * a["accuracy"],
        }
        for a in found["anchors"]
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            unit.name: st.column_config.NumberColumn(
                format="%.3g", help="Multiply–accumulates of one image; papers call them FLOPs."
            ),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "top-1 (%)": st.column_config.NumberColumn(
                format="%.1f",
                help=f"On {found['data']['val']['samples']:,} validation images, as every accuracy "
                "of the stitches.",
            ),
        },
    )


def _ranking_table(found: Document) -> None:
    rows = []
    for pair in pairs_of(found):
        cheap, costly = pair.cheap_and_costly
        headless = cheap["accuracy"] is None or costly["accuracy"] is None
        rows.append(
            {
                "source → target": pair.name,
                THETA: pair.raw["theta_output"],
                "points between": None
                if headless
                else 100 * (number(costly["accuracy"]) - number(cheap["accuracy"])),
                "cost ratio": costly["macs"] / cheap["macs"],
                "stitches": int(pair.in_space.sum()),
            }
        )
    st.dataframe(
        pd.DataFrame(rows).sort_values(THETA),
        hide_index=True,
        column_config={
            THETA: st.column_config.NumberColumn(
                format="%.3f",
                help="Θ(f, g): the mean over validation images of the KL divergence between what "
                "the source and the target predict, in nats. 0: they say the same.",
            ),
            "points between": st.column_config.NumberColumn(
                format="%+.1f", help="Top-1 of the costly anchor above the cheap one."
            ),
            "cost ratio": st.column_config.NumberColumn(
                format="%.3g ×", help="MACs of the costly anchor over those of the cheap one."
            ),
            "stitches": st.column_config.NumberColumn(help="Candidates that a score may choose."),
        },
    )
    st.caption(
        "Worth stitching is a pair whose networks nearly agree (low Θ) and still leave accuracy "
        "and cost between them. A costly anchor that is no better leaves nothing to gain."
    )


def _what(at_hand: Study) -> str:
    names = ", ".join(a.name for a in at_hand.anchors)
    if at_hand == DIGITS:
        return (
            f"Built in: {len(at_hand.anchors)} trained networks ({names}) on cluttered scenes made "
            "of scanned digits. Computing everything takes minutes on two cores; nothing is "
            "computed twice, and you can leave this page meanwhile."
        )
    return (
        f"{len(at_hand.anchors)} anchors ({names}) on {at_hand.data.train}. Nothing is computed "
        "twice, and you can leave this page meanwhile."
    )


def _left_out(found: Document) -> None:
    """Say what damaged images there are; the command names them."""
    data = found["data"]
    counts = {
        words: len(split["left_out"])
        for split, words in ((data["train"], "training"), (data["val"], "validation"))
    }
    if any(counts.values()):
        told = " and ".join(f"{n:,} {words}" for words, n in counts.items() if n)
        st.warning(
            f"Left out {told} images that cannot be read; others of their classes took their "
            "place. `klas run` names the first of them.",
            icon=":material/broken_image:",
        )


def _results(found: Document) -> None:
    _left_out(found)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Anchors")
        _anchors_table(found)
    with right:
        st.subheader("Which pairs go together")
        st.caption(
            "Θ between the anchors' own outputs, source ‖ target: the lower, the more compatible "
            "(step 1 of the paper; no probes needed)."
        )
        _ranking_table(found)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Accuracy against cost")
        if any(a["accuracy"] is not None for a in found["anchors"]):
            st.plotly_chart(
                anchor_figures.anchors_chart(found),
                config=pictures.config(),
                alt="Top-1 of the anchors against their MACs; lines join the pairs of the study",
            )
        else:
            st.caption("No anchor has a head for these classes.")
    with right:
        st.subheader("What a probe reads after every block")
        if found["anchors"][0]["probe_accuracy"] is None:
            st.caption("Not computed yet.")
        else:
            st.plotly_chart(
                anchor_figures.probe_chart(found["anchors"]),
                config=pictures.config(),
                alt="Top-1 of a linear probe at every cut of every anchor",
            )
            slow = [a["name"] for a in found["anchors"] if not all(a["probe_converged"] or ())]
            if slow:
                st.warning(
                    f"Probes of {', '.join(slow)} did not converge: Γ of their stitches is "
                    "approximate. More training samples or a larger l2 helps."
                )


def _keep(at_hand: Study) -> None:
    """Take the study with you, or go on from a copy of it."""
    with st.container(horizontal=True):
        st.download_button(
            "Download as TOML",
            at_hand.to_toml(),
            file_name=f"{at_hand.name}.toml",
            mime="application/toml",
            icon=":material/download:",
            help="`klas run FILE` computes it, `klas dashboard FILE` shows it.",
            on_click="ignore",
        )
        with st.popover("Duplicate", icon=":material/content_copy:"):
            name = st.text_input("Name of the copy", value=f"{at_hand.name} 2")
            if st.button("Save the copy", type="primary"):
                try:
                    open_named(duplicate_study(store(), at_hand, name.strip()).name)
                except KlasError as error:
                    st.error(str(error), icon=":material/error:")
                else:
                    st.rerun()
        if st.button(
            "Make another like it",
            icon=":material/edit:",
            help="Its anchors and settings, open to change, on the Anchors page.",
        ):
            draft.start_from(at_hand.model_dump(mode="json"))
            st.switch_page("views/anchors.py")


def _start(found: Document | None, at_hand: Study) -> None:
    """How far the study is, and what takes it further."""
    marks = _marks(found)
    until: Stage = st.segmented_control(
        "Compute up to",
        STAGES,
        default=STAGES[-1],
        format_func=lambda stage: f"{marks[stage]} {stage}",
        help="Ticked: computed. Half: in part. Empty: not yet.",
        key=f"until:{at_hand.name}",
        required=True,
    )
    st.caption(f"{STAGE_WORDS[until]}.")
    if _is_complete(found, until):
        st.markdown(f"Computed up to {until}. Choose a later stage to go on.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        label = "Compute everything" if until == STAGES[-1] else f"Compute up to {until}"
        job = RunJob(until=until)
        start_button(label, at_hand, job)
        estimate(at_hand, job)
    st.code(shlex.join(_run_command(until)), language="bash", wrap_lines=True)


def _run_command(until: Stage) -> list[str]:
    """The command line that computes the same into the same folder, on the same device."""
    command = ["klas", "run", *study_arguments()]
    if until != STAGES[-1]:
        command += ["--until", until]
    if "KLAS_CACHE_DIR" in os.environ:
        command += ["--cache-dir", str(store().root)]
    device = os.environ.get("KLAS_DEVICE", "auto")
    return command if device == "auto" else [*command, "--device", device]


@says_errors
def page() -> None:
    """The page."""
    heading("Networks between your networks")
    st.markdown(
        "**Stitching** runs the first *i* blocks of one pretrained network (an *anchor*), maps "
        "the activations with one linear layer, and goes on after block *j* of another. "
        "KLAS scores every such stitch beforehand, by the KL divergence between linear probes, "
        "and picks the best for every budget."
    )
    found = document()
    at_hand = study()
    if not _is_complete(found):
        with st.container(border=True):
            st.subheader(f"Study: {at_hand.name}")
            st.markdown(_what(at_hand))
            _start(found, at_hand)
    job_panel(at_hand.name)
    if found is not None and _is_complete(found):
        count = sum(len(p["candidates"]) for p in found["pairs"])
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"**Study: {at_hand.name}.** {count} stitches of {len(found['pairs'])} pairs are "
                "scored and measured."
            )
            st.page_link("views/scores.py", label="See the scores", icon=":material/grid_on:")
            st.page_link("views/stitches.py", label="Choose stitches", icon=":material/show_chart:")
        if at_hand == DIGITS:
            offer_tour()
    if found is not None:
        _results(found)
    _keep(at_hand)
    job_list()
    with st.expander("The study in full, and the same from the command line"):
        select = ["klas", "select", *study_arguments(), "--out", "stitches.json"]
        commands = (_run_command(STAGES[-1]), select)
        st.code("\n".join(shlex.join(command) for command in commands), language="bash")
        st.code(at_hand.to_toml(), language="toml")
        st.caption(f"Results are kept in {store().root}.")


page()
