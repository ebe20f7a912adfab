"""Export one network: the format, what it will take, the button; then the file and how to load it.

Written once, for every page that shows one network.
"""

import streamlit as st

from dashboard.controls.command_lines import export_command
from dashboard.controls.heading import says_errors
from dashboard.controls.jobs import start_button
from dashboard.model.exports import Exportable
from dashboard.session.resources import store, study, without_place
from dashboard.text.exports import fused_help, weights_note, what_came_out, what_it_takes
from dashboard.text.markup import plain
from klas.errors import ExportError
from klas.jobs.kinds import ExportJob
from klas.jobs.listing import status_of
from klas.jobs.status import ExportAnswer
from klas.jobs.submission import job_id
from klas.results.documents.exports import FORMATS
from klas.results.export_formats import EXPORT_FORMATS, refuse_missing_extra
from klas.results.pair import CostUnit
from klas.storage.exports import StoredExport, stored_export
from klas.study import Tier


def export_button(
    network: Exportable | None, unit: CostUnit, *, place: str, tier: Tier | None = None
) -> None:
    """A button that opens all that there is to choose.

    Args:
        network: None where the line of a table has to be marked first.
        unit: what costs are shown in.
        place: tells the buttons of a page apart.
        tier: the one to begin with; by default the best that is stored.
    """
    nothing = network is None or (network.pair is not None and not network.tiers)
    with st.popover(
        "Export",
        icon=":material/deployed_code:",
        disabled=nothing,
        key=f"export:{place}",
        help="Mark one line of the table." if network is None else None,
    ):
        if network is not None and not nothing:
            _choice(network, unit, place, tier)


@says_errors
def _choice(network: Exportable, unit: CostUnit, place: str, first: Tier | None) -> None:
    st.markdown(f"**{plain(network.member)}**")
    to = st.radio(
        "Format",
        FORMATS,
        captions=[f"for {form.runs}" for form in map(EXPORT_FORMATS.__getitem__, FORMATS)],
        key=f"export:{place}:to",
    )
    tier = _tier(network, place, first)
    st.caption(weights_note(network, tier))
    fused = network.fused is not None and st.checkbox(
        "Fused", key=f"export:{place}:fused", help=fused_help(network, unit)
    )
    job = network.job(to, tier, fused=fused)
    name = job_id(study(), job)
    status, kept = status_of(store(), name), stored_export(store(), name)
    done = status is not None and status.state == "done" and kept is not None
    if done and status is not None and isinstance(status.answer, ExportAnswer) and kept:
        _done(kept, status.answer, unit)
    else:
        try:
            refuse_missing_extra(to)
        except ExportError as error:
            st.warning(f"{error}.", icon=":material/extension_off:")
            return
        start_button(f"Export to {to}", study(), job, icon=":material/deployed_code:")
        st.caption(what_it_takes(network, to, fused=fused))
        if status is not None and status.state in ("failed", "died"):
            st.error(plain(without_place(status.error)), icon=":material/error:")
    _command(network, job)


def _tier(network: Exportable, place: str, first: Tier | None) -> Tier | None:
    """Whose weights; there is nothing to choose where one tier is stored."""
    tiers = list(network.tiers)
    best = first if first in network.tiers else (tiers[-1] if tiers else None)
    if len(tiers) < 2:
        return best
    # Another network, and another tier to begin with, is another widget.
    key = f"export:{place}:tier:{network.member}:{best}:{'-'.join(tiers)}"
    return st.segmented_control("Weights of tier", tiers, default=best, required=True, key=key)


def _done(kept: StoredExport, answer: ExportAnswer, unit: CostUnit) -> None:
    path = kept.path
    st.download_button(
        f"Download {path.name}",
        path.read_bytes,  # read when it is asked for
        file_name=path.name,
        mime="application/zip" if path.suffix == ".zip" else "application/octet-stream",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
    )
    st.markdown(what_came_out(answer, unit))
    st.caption("Unpack it, then:" if path.suffix == ".zip" else "Load it in Python:")
    st.code("\n".join(answer.python), language="python", wrap_lines=True)


def _command(network: Exportable, job: ExportJob) -> None:
    """The same from a terminal."""
    if job.tier == "finetuned" and not network.own:
        st.caption(
            "`klas export` takes the joint training of the study's own selection; these weights "
            "are of another one."
        )
        return
    out = f"model{EXPORT_FORMATS[job.to].ending}"
    st.caption("The same from the command line:")
    st.code(export_command(job, out), language="bash", wrap_lines=True)
