"""Every job of the store: what it was, how it ended, its log; start it again, or forget it."""

from datetime import datetime

import streamlit as st

from dashboard.controls.jobs import ENDED_BADLY, again_button, log_tail, title
from dashboard.session.resources import store
from dashboard.text.markdown import plain
from klas.errors import KlasError
from klas.jobs import process as jobs
from klas.jobs.process import Job
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
    found = jobs.listing(store())
    if not found:
        return
    with st.expander(f"All jobs ({len(found)})"):
        for job in found[:SHOWN]:
            _row(job)
        if len(found) > SHOWN:
            st.caption(f"And {len(found) - SHOWN} older ones.")
        over = [job for job in found if not job.status.alive]
        if over:
            st.button(
                f"Clear the {len(over)} that ended",
                icon=":material/clear_all:",
                help="Their logs go; everything that they computed stays.",
                on_click=_clear,
                args=([job.id for job in over],),
            )


def _row(job: Job) -> None:
    status = job.status
    state, what, when, log, again = st.columns([2, 6, 4, 2, 3], vertical_alignment="center")
    state.markdown(f"{ICONS[status.state]} {status.state}")
    what.markdown(title(job) if job.study is None else f"{title(job)} · {plain(job.study)}")
    asked = datetime.fromtimestamp(status.started).strftime("%-d %b %H:%M:%S")
    took = "" if status.began is None else f", {duration(status.updated - status.began)}"
    when.caption(f"{asked}{took}")
    with log.popover("Log", key=f"log:{job.id}"):
        if status.error:
            st.markdown(status.error)
        st.code(log_tail(job), language=None)
    if status.state in ENDED_BADLY:
        with again:
            again_button(job, place="list")


def _clear(ended: list[str]) -> None:
    for job in ended:
        try:
            jobs.remove(store(), job)
        except KlasError as error:
            st.error(str(error), icon=":material/error:")
            return
