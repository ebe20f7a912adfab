"""Jobs on the page: start one, estimate it, watch the queue, cancel, start again."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from dashboard.session.resources import document, store
from dashboard.session.state import session
from dashboard.text.markdown import plain
from klas.errors import KlasError
from klas.jobs import process as jobs
from klas.jobs.process import Job, StageStatus, Status
from klas.results.formatting import duration, size
from klas.results.pair import Document
from klas.study import Study

POLL_SECONDS = 0.7
IDLE_SECONDS = 3.0  # how soon a page shows what another tab or a terminal began or finished
ENDED_BADLY = ("failed", "died", "cancelled")
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
    "latency": "Timing every stitched network",
}


def start_button(
    label: str,
    study: Study | None,
    task: Mapping[str, Any],
    *,
    icon: str = ":material/play_arrow:",
    kind: Literal["primary", "secondary"] = "primary",
    help: str | None = None,
) -> None:
    """A button that starts a job, or queues it behind others; what it is at while it is alive."""
    job = jobs.job_id(study, task)
    now = jobs.status(store(), job)
    if now is not None and now.alive:
        words = "Waits for its turn" if now.state == "queued" else f"{label}: at work"
        st.button(words, key=f"waits:{job}", icon=":material/hourglass_top:", disabled=True)
    elif st.button(label, key=f"start:{job}", type=kind, icon=icon, help=help):
        try:
            jobs.start(store(), study, task)
        except KlasError as error:
            st.error(str(error), icon=":material/error:")
        else:
            st.rerun()


def estimate(study: Study, task: Mapping[str, Any]) -> None:
    """A button that measures what a job with this task will take.

    The answer is shown until results change.
    """
    asked = {"kind": "estimate", "of": task}
    start_button("Estimate", study, asked, icon=":material/timer:", kind="secondary")
    now = jobs.status(store(), jobs.job_id(study, asked))
    if now is not None and now.state == "done" and now.answer and now.updated > _changed(study):
        st.markdown(_answer(now.answer, now.device))


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
    found = jobs.listing(store())
    alive = [job for job in found if job.status.alive]
    if alive:
        st.fragment(_living, run_every=POLL_SECONDS)(about, _landed(alive), _document())
    else:
        st.fragment(_idle, run_every=IDLE_SECONDS)(_document())
    for job in _ended_badly(found, about):
        _ended(job)


def title(job: Job) -> str:
    """What a job does, in a few words."""
    return _deed(job.task)


def _deed(task: Mapping[str, Any]) -> str:
    match task["kind"]:
        case "run":
            return f"Compute up to {task['until']}"
        case "finetune":
            return f"Train jointly: {' → '.join(task['pair'])}"
        case "compare":
            return f"Train every method jointly: {_pairs(task['pairs'])}"
        case "full_val":
            return f"Measure on every validation image: {_pairs(task['pairs'])}"
        case "latency":
            return f"Measure latency: {_pairs(task['pairs'])}"
        case "estimate":
            return f"Estimate: {_deed(task['of'])}"
        case _:
            return "Build the catalogue"


def _pairs(pairs: Sequence[Sequence[str]]) -> str:
    return " → ".join(pairs[0]) if len(pairs) == 1 else f"{len(pairs)} pairs"


def _idle(shown: Document | None) -> None:
    if any(job.status.alive for job in jobs.listing(store())) or _document() is not shown:
        st.rerun()


def _living(about: str | None, seen: object, shown: Document | None) -> None:
    found = jobs.listing(store())
    alive = [job for job in found if job.status.alive]
    if _landed(alive) != seen or _document() is not shown:
        before = {job for job, *_ in seen} if isinstance(seen, tuple) else set()
        session().toasts = [
            f"Done: {title(job)}."
            for job in found
            if job.id in before and job.status.state == "done" and job.task["kind"] != "estimate"
        ]
        st.rerun()
    for job in reversed(alive):
        elsewhere = "" if job.study == about else f"{plain(job.study or 'The catalogue')}: "
        with st.container(border=True):
            if job.status.state == "queued":
                _queued(job, elsewhere)
            else:
                _at_work(job, elsewhere)


def _landed(alive: Sequence[Job]) -> tuple[tuple[str, str, int], ...]:
    """What has to change for the page to be drawn again.

    Which jobs are at work, and what they have finished that no document says.
    """
    return tuple(
        (
            job.id,
            job.status.state,
            0 if job.task["kind"] in ("run", "estimate") else _begun(job.status),
        )
        for job in alive
    )


def _begun(status: Status) -> int:
    return sum(stage.total > 0 for stage in status.stages)


def _document() -> Document | None:
    """The study's document; its page says what is wrong where it has none that can be read."""
    try:
        return document()
    except KlasError:
        return None


def _changed(study: Study) -> float:
    """When results of a study landed last, in seconds since the epoch."""
    try:
        return store().ref_path(f"scores-{study.results_key()}").stat().st_mtime
    except OSError:
        return 0.0


def _queued(job: Job, subject: str) -> None:
    left, right = st.columns([4, 1], vertical_alignment="center")
    place = {0: "next", 1: "one job before it"}.get(job.before, f"{job.before} jobs before it")
    left.markdown(f":material/hourglass_top: {subject}**{title(job)}**: in the queue, {place}.")
    _cancel_button(job, right)


def _at_work(job: Job, subject: str) -> None:
    status = job.status
    stage = status.stages[-1].stage if status.stages else ""
    doing = WORDS.get(stage, "Loading the networks")
    if job.task["kind"] == "estimate":
        doing = f"Estimating: {doing[0].lower()}{doing[1:]}"
    st.markdown(f"{subject}**{doing}** …")
    _bars(status)
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(_facts(status))
    _cancel_button(job, right)


def _cancel_button(job: Job, place: Any) -> None:
    if job.status.stopping:
        place.button("Stopping", key=f"cancel:{job.id}", disabled=True, width="stretch")
        return
    place.button(
        "Cancel",
        key=f"cancel:{job.id}",
        icon=":material/stop_circle:",
        width="stretch",
        on_click=_carefully,
        args=(jobs.cancel, job.id),
    )


def _ended_badly(found: Sequence[Job], about: str | None) -> list[Job]:
    """The jobs of a study that stopped before their end, unless a newer one did the like."""
    latest: dict[str, Job] = {}
    for job in found:
        if job.study == about:
            latest.setdefault(job.task["kind"], job)
    return [job for job in latest.values() if job.status.state in ENDED_BADLY]


def _ended(job: Job) -> None:
    status = job.status
    with st.container(border=True):
        if status.state == "cancelled":
            st.warning(
                f"{title(job)}: cancelled. What was finished is kept.",
                icon=":material/stop_circle:",
            )
        else:
            st.error(
                f"{title(job)} stopped: {status.error}. What was finished is kept.",
                icon=":material/error:",
            )
        _bars(status)
        with st.container(horizontal=True):
            again_button(job)
            st.button(
                "Dismiss",
                key=f"dismiss:{job.id}",
                icon=":material/close:",
                on_click=_carefully,
                args=(jobs.remove, job.id),
            )
        if status.state != "cancelled":
            with st.expander("Log of the worker"):
                st.code(log_tail(job), language=None)


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
        on_click=_carefully,
        args=(jobs.start_again, job.id),
    )


def log_tail(job: Job) -> str:
    """The end of what a job's worker printed."""
    return jobs.log(store(), job.id)[-4000:] or "(empty)"


def _carefully(act: Any, job: str) -> None:
    """A button's work; a refusal is said where the page begins."""
    try:
        act(store(), job)
    except KlasError as error:
        st.error(str(error), icon=":material/error:")


def _answer(answer: Mapping[str, Any], device: str) -> str:
    if not answer["seconds"]:
        return "All of it is computed."
    seconds = answer["seconds"]
    time_words = f"About **{duration(seconds)}**" if seconds >= 10 else "**A few seconds**"
    text = f"{time_words} on {device}"
    if "trainings" in answer:
        text += f" for {answer['trainings']} trainings"
    if "disk_bytes" in answer:
        text += f", {size(answer['disk_bytes'])} of disk, {size(answer['memory_bytes'])} of memory"
    beside = answer["beside_other_work"]
    return f"{text}. Measured beside other work: alone it is quicker." if beside else f"{text}."


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
    if status.memory_bytes:
        parts.append(f"{size(status.memory_bytes)} of memory")
    if status.device_bytes:
        parts.append(f"{size(status.device_bytes)} on the device")
    return " · ".join(p for p in parts if p)
