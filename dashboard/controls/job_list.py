"""Every job of the store: what it did, how it ended, its log; start it again, or forget it."""

from datetime import datetime

import streamlit as st

from dashboard.controls.job_panel import ENDED_BADLY
from dashboard.controls.jobs import again_button, clear_button, log_tail
from dashboard.session.resources import store, without_place
from dashboard.text.job_titles import job_title
from dashboard.text.markup import plain
from klas.jobs.listing import Job, all_jobs
from klas.results.formatting import duration

SHOWN = 20
ICONS = {
    "queued": ":material/hourglass_top:",
    "running": ":material/play_circle:",
    "done": ":material/check_circle:",
    "failed": ":material/error:",
    "died": ":material/heart_broken:",
    "cancelled": ":material/stop_circle:",
}


def job_list() -> None:
    """The newest jobs in a fold, and a button that forgets those that ended."""
    jobs = all_jobs(store())
    if not jobs:
        return
    with st.expander(f"All jobs ({len(jobs)})"):
        for job in jobs[:SHOWN]:
            _row(job)
        if len(jobs) > SHOWN:
            st.caption(f"And {len(jobs) - SHOWN} older ones.")
        ended = [job for job in jobs if not job.status.alive]
        if ended:
            clear_button(ended)


def _row(job: Job) -> None:
    status, title = job.status, job_title(job.spec)
    state, what, when, log, again = st.columns([2, 6, 4, 2, 3], vertical_alignment="center")
    state.markdown(f"{ICONS[status.state]} {status.state}")
    what.markdown(title if job.study is None else f"{title} · {plain(job.study)}")
    asked = datetime.fromtimestamp(status.started).strftime("%-d %b %H:%M:%S")
    took = "" if status.began is None else f", {duration(status.updated - status.began)}"
    when.caption(f"{asked}{took}")
    with log.popover("Log", key=f"log:{job.id}"):
        if status.error:
            st.markdown(without_place(status.error))
        st.code(log_tail(job), language=None)
    if status.state in ENDED_BADLY:
        with again:
            again_button(job, place="list")
