"""Buttons that start a job, estimate it, cancel it, start it again or forget it."""

from collections.abc import Callable
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.session.engine import with_engine
from dashboard.session.resources import store, without_place
from dashboard.text.markup import plain
from klas.errors import KlasError
from klas.jobs import process
from klas.jobs.kinds import (
    CompareJob,
    EstimateJob,
    FinetuneJob,
    FullValJob,
    JobSpec,
    RunJob,
    TrainJob,
)
from klas.jobs.listing import Job, status_of
from klas.jobs.status import EstimateAnswer
from klas.jobs.submission import job_id
from klas.results.formatting import duration, size
from klas.results.refs import scores_ref
from klas.storage.store import Store
from klas.study import Study


def start_button(
    label: str,
    study: Study | None,
    spec: JobSpec,
    *,
    icon: str = ":material/play_arrow:",
    kind: Literal["primary", "secondary"] = "primary",
    help: str | None = None,
) -> None:
    """A button that starts a job, or queues it behind others; while it is alive, what it does."""
    study = None if study is None else with_engine(study)
    job = job_id(study, spec)
    status = status_of(store(), job)
    if status is not None and status.alive:
        now = "Waits for its turn" if status.state == "queued" else f"{label}: at work"
        st.button(now, key=f"waits:{job}", icon=":material/hourglass_top:", disabled=True)
    elif st.button(label, key=f"start:{job}", type=kind, icon=icon, help=help):
        try:
            process.start(store(), study, spec)
        except KlasError as error:
            st.error(without_place(str(error)), icon=":material/error:")
        else:
            st.rerun()


def estimate(study: Study, of: RunJob | FinetuneJob | CompareJob | FullValJob | TrainJob) -> None:
    """A button that measures what a job will take.

    The answer is shown until results change.
    """
    study, spec = with_engine(study), EstimateJob(of=of)
    start_button("Estimate", study, spec, icon=":material/timer:", kind="secondary")
    status = status_of(store(), job_id(study, spec))
    if status is None or status.state != "done" or status.updated <= _last_result(study):
        return
    if isinstance(status.answer, EstimateAnswer):
        st.markdown(_answer(status.answer, status.device))
        for note in status.answer.notes or ():
            st.caption(plain(f"{note}."))


def cancel_button(job: Job, place: DeltaGenerator) -> None:
    """A button that asks a job to stop."""
    if job.status.stopping:
        place.button("Stopping", key=f"cancel:{job.id}", disabled=True, width="stretch")
        return
    place.button(
        "Cancel",
        key=f"cancel:{job.id}",
        icon=":material/stop_circle:",
        width="stretch",
        on_click=_try,
        args=(process.cancel, job),
    )


def again_button(job: Job, *, place: str = "panel") -> None:
    """A button that goes on with a job that stopped, on its own copy of the study.

    Args:
        place: tells buttons of the same job apart.
    """
    st.button(
        "Start again",
        key=f"again:{place}:{job.id}",
        icon=":material/replay:",
        help="Goes on from what was finished.",
        on_click=_try,
        args=(process.start_again, job),
    )


def dismiss_button(job: Job) -> None:
    """A button that forgets a job that ended."""
    st.button(
        "Dismiss",
        key=f"dismiss:{job.id}",
        icon=":material/close:",
        on_click=_try,
        args=(process.remove, job),
    )


def clear_button(ended: list[Job]) -> None:
    """A button that forgets every job that ended."""
    st.button(
        f"Clear the {len(ended)} that ended",
        icon=":material/clear_all:",
        help="Their logs go; everything that they computed stays.",
        on_click=_try,
        args=(process.remove, *ended),
    )


def log_tail(job: Job) -> str:
    """The end of what a job's worker printed."""
    return process.log(store(), job.id)[-4000:] or "(empty)"


def _try(act: Callable[[Store, str], None], *jobs: Job) -> None:
    """A button's work; a refusal is shown at the top of the page."""
    try:
        for job in jobs:
            act(store(), job.id)
    except KlasError as error:
        st.error(without_place(str(error)), icon=":material/error:")


def _last_result(study: Study) -> float:
    """When results of a study landed last, in seconds since the epoch."""
    try:
        return store().ref_path(scores_ref(study.results_key())).stat().st_mtime
    except OSError:
        return 0.0


def _answer(answer: EstimateAnswer, device: str) -> str:
    if not answer.seconds:
        return "All of it is computed."
    long = answer.seconds >= 10
    text = f"About **{duration(answer.seconds)}**" if long else "**A few seconds**"
    text += f" on {device}"
    if answer.trainings is not None:
        text += f" for {answer.trainings} trainings"
    if answer.disk_bytes is not None and answer.memory_bytes is not None:
        text += f", {size(answer.disk_bytes)} of disk, {size(answer.memory_bytes)} of memory"
    if answer.beside_other_work:
        return f"{text}. Measured beside other work: alone it is quicker."
    return f"{text}."
