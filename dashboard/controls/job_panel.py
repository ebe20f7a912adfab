"""The jobs of a page: those at work or in the queue, and those of its study that ended badly."""

import time
from collections.abc import Sequence

import streamlit as st

from dashboard.controls.jobs import again_button, cancel_button, dismiss_button, log_tail
from dashboard.session.resources import document, store, without_place
from dashboard.session.state import session
from dashboard.text.job_titles import STAGE_ACTIVITY, job_title
from dashboard.text.markup import plain
from klas.errors import KlasError
from klas.jobs.kinds import EstimateJob, ExportJob, RunJob
from klas.jobs.listing import Job, all_jobs
from klas.jobs.status import StageStatus, Status
from klas.results.formatting import duration, size
from klas.results.pair import Document

POLL_SECONDS = 0.7
IDLE_SECONDS = 3.0  # how soon a page shows what another tab or a terminal began or finished
ENDED_BADLY = ("failed", "died", "cancelled")


def job_panel(about: str | None) -> None:
    """Every job at work or in the queue, and how the last ones of this page's study ended badly.

    It polls, quickly while a job is alive, and fills the page as results land, whoever computes
    them.

    Args:
        about: the name of the study that the page shows, None for no study. Jobs about something
            else are shown while they live, for they keep the machine busy.
    """
    messages, session().toasts = session().toasts, []
    for message in messages:
        st.toast(message, icon=":material/check_circle:")
    jobs = all_jobs(store())
    alive = [job for job in jobs if job.status.alive]
    if alive:
        st.fragment(_alive, run_every=POLL_SECONDS)(about, _progress(alive), _document())
    else:
        st.fragment(_idle, run_every=IDLE_SECONDS)(_document())
    for job in _ended_badly(jobs, about):
        _ended(job)


def _idle(shown: Document | None) -> None:
    if any(job.status.alive for job in all_jobs(store())) or _document() is not shown:
        st.rerun()


def _alive(
    about: str | None, seen: tuple[tuple[str, str, int], ...], shown: Document | None
) -> None:
    jobs = all_jobs(store())
    alive = [job for job in jobs if job.status.alive]
    if _progress(alive) != seen or _document() is not shown:
        before = {job for job, *_ in seen}
        session().toasts = [
            f"Done: {job_title(job.spec)}."
            for job in jobs
            if job.id in before
            and job.status.state == "done"
            and not isinstance(job.spec, EstimateJob)
        ]
        st.rerun()
    for job in reversed(alive):
        subject = "" if job.study == about else f"{plain(job.study or 'The catalogue')}: "
        with st.container(border=True):
            if job.status.state == "queued":
                _queued(job, subject)
            else:
                _at_work(job, subject)


def _progress(alive: Sequence[Job]) -> tuple[tuple[str, str, int], ...]:
    """What has to change for the page to be drawn again.

    Which jobs are alive, and how many stages each has begun where no document shows what they
    finished.
    """
    return tuple((job.id, job.status.state, _stages_begun(job)) for job in alive)


def _stages_begun(job: Job) -> int:
    if isinstance(job.spec, RunJob | EstimateJob):
        return 0
    return sum(stage.total > 0 for stage in job.status.stages)


def _document() -> Document | None:
    """The study's document; where it can't be read, its page says what is wrong."""
    try:
        return document()
    except KlasError:
        return None


def _queued(job: Job, subject: str) -> None:
    left, right = st.columns([4, 1], vertical_alignment="center")
    place = {0: "next", 1: "one job before it"}.get(job.before, f"{job.before} jobs before it")
    title = job_title(job.spec)
    left.markdown(f":material/hourglass_top: {subject}**{title}**: in the queue, {place}.")
    cancel_button(job, right)


def _at_work(job: Job, subject: str) -> None:
    status = job.status
    stage = status.stages[-1].stage if status.stages else ""
    activity = STAGE_ACTIVITY.get(stage, "Loading the networks")
    if isinstance(job.spec, ExportJob):
        activity = job_title(job.spec)
    if isinstance(job.spec, EstimateJob):
        activity = f"Estimating: {activity[0].lower()}{activity[1:]}"
    st.markdown(f"{subject}**{activity}** …")
    _bars(status)
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(_facts(status))
    cancel_button(job, right)


def _ended_badly(jobs: Sequence[Job], about: str | None) -> list[Job]:
    """The jobs of a study that stopped before their end.

    A newer job of the same kind takes the place of the older ones.
    """
    latest: dict[str, Job] = {}
    for job in jobs:
        if job.study == about:
            latest.setdefault(job.spec.kind, job)
    return [job for job in latest.values() if job.status.state in ENDED_BADLY]


def _ended(job: Job) -> None:
    status, title = job.status, job_title(job.spec)
    with st.container(border=True):
        if status.state == "cancelled":
            st.warning(
                f"{title}: cancelled. What was finished is kept.", icon=":material/stop_circle:"
            )
        else:
            st.error(
                f"{title} stopped: {without_place(status.error)}. What was finished is kept.",
                icon=":material/error:",
            )
        _bars(status)
        with st.container(horizontal=True):
            again_button(job)
            dismiss_button(job)
        if status.state != "cancelled":
            with st.expander("Log of the worker"):
                st.code(log_tail(job), language=None)


def _bars(status: Status) -> None:
    cached = [stage.stage for stage in status.stages if stage.total == 0]
    if cached:
        st.caption(f"From the cache: {', '.join(cached)}.")
    for stage in status.stages:
        if stage.total:
            _bar(stage, status)


def _bar(stage: StageStatus, status: Status) -> None:
    text = f"{stage.stage}: {stage.done:,} of {stage.total:,} {stage.unit}"
    last = stage is status.stages[-1]
    if status.state == "running" and last and status.rate:
        text += f", {status.rate:,.{0 if status.rate >= 10 else 1}f}/s"
        if status.seconds_left is not None:
            text += f", {duration(status.seconds_left)} left"
    st.progress(min(stage.done / stage.total, 1.0), text=text)


def _facts(status: Status) -> str:
    parts = [duration(time.time() - (status.began or status.started)), status.label, status.device]
    if status.workers > 1:
        parts.append(f"{status.workers} workers")
    if status.memory_bytes:
        parts.append(f"{size(status.memory_bytes)} of memory")
    if status.device_bytes:
        parts.append(f"{size(status.device_bytes)} on the device")
    return " · ".join(part for part in parts if part)
