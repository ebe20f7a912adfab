"""A job on the page: start it, watch it, cancel it."""

import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.state import store
from klas import jobs
from klas.jobs import StageStatus, Status
from klas.report import duration, size
from klas.study import Study

POLL_SECONDS = 0.7
WORDS = {
    "catalogue": "Counting the cost of every pretrained network",
    "data": "Decoding the chosen images once",
    "full_val": "Measuring on every validation image",
    "anchors": "Running the anchors on the validation images",
    "features": "Collecting features for the probes",
    "probes": "Training a linear probe after every block",
    "scores": "Comparing the cuts: Θ, Γ and their rivals",
    "fit": "Fitting every stitch layer",
    "zero_shot": "Measuring every stitch",
    "tuned": "Tuning every stitch layer",
    "finetuned": "Training stitches and anchors jointly",
}


def launch(study: Study | None, task: Mapping[str, Any]) -> None:
    """Start a job, about a study or about none, and show it from now on."""
    st.session_state["job"] = jobs.start(store(), study, task)


def current_job() -> str | None:
    """The job to show: any that is running, else the last one that was started here."""
    shown: str | None = st.session_state.get("job")
    alive = jobs.running(store())
    if alive and shown not in alive:
        shown = alive[0]
        st.session_state["job"] = shown
    return shown


def job_panel(about: str | None) -> None:
    """The current job's progress; polls while it runs, and fills the page when it ends.

    Args:
        about: the name of the study that the page shows, None for no study. A job about
            something else is shown while it runs, for it keeps the machine busy.
    """
    job = current_job()
    if job is None:
        return
    status = jobs.status(store(), job)
    if status is None or status.state == "done":  # the page itself shows what it brought
        return
    running = status.state == "running"
    subject = jobs.study_name(store(), job)
    if running or subject == about:
        elsewhere = "" if subject == about else f"{subject or 'The catalogue'}: "
        st.fragment(_panel, run_every=POLL_SECONDS if running else None)(job, running, elsewhere)


def is_busy() -> bool:
    """Whether the current job is running."""
    job = current_job()
    status = jobs.status(store(), job) if job else None
    return status is not None and status.state == "running"


def _panel(job: str, was_running: bool, subject: str) -> None:
    status = jobs.status(store(), job)
    if status is None:
        return
    if was_running and status.state != "running":
        if status.state == "done":
            st.toast("Done.", icon=":material/check_circle:")
        st.rerun()
    with st.container(border=True):
        _headline(status, subject)
        cached = [stage.stage for stage in status.stages if stage.total == 0]
        if cached:
            st.caption(f"From the cache: {', '.join(cached)}.")
        for stage in status.stages:
            if stage.total:
                _bar(stage, status)
        if status.state == "running":
            left, right = st.columns([4, 1], vertical_alignment="center")
            left.caption(_facts(status))
            if right.button("Cancel", icon=":material/stop_circle:", width="stretch"):
                jobs.cancel(store(), job)
        elif status.state in ("failed", "died"):
            with st.expander("Log of the worker"):
                st.code(jobs.log(store(), job)[-4000:] or "(empty)", language=None)


def _headline(status: Status, subject: str) -> None:
    match status.state:
        case "running":
            stage = status.stages[-1].stage if status.stages else ""
            st.markdown(f"{subject}**{WORDS.get(stage, 'Loading the networks')}** …")
        case "cancelled":
            st.warning(
                "Cancelled. What was finished is kept; start again to go on from there.",
                icon=":material/stop_circle:",
            )
        case _:
            st.error(
                f"Stopped: {status.error}. What was finished is kept; start again to go on.",
                icon=":material/error:",
            )


def _bar(stage: StageStatus, status: Status) -> None:
    text = f"{stage.stage}: {stage.done:,} of {stage.total:,} {stage.unit}"
    last = stage is status.stages[-1]
    if status.state == "running" and last and status.rate:
        text += f", {status.rate:,.{0 if status.rate >= 10 else 1}f}/s"
        if status.seconds_left is not None:
            text += f", {duration(status.seconds_left)} left"
    st.progress(min(stage.done / stage.total, 1.0), text=text)


def _facts(status: Status) -> str:
    parts = [duration(time.time() - status.started), status.label, status.device]
    if status.memory_bytes:
        parts.append(f"{size(status.memory_bytes)} of memory")
    return " · ".join(p for p in parts if p)
