"""Trained networks: the curves while they are trained, then the members and the folder."""

import io
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.charts.training import loss_chart, members_chart, validation_chart
from dashboard.controls.figure_settings import figure_config
from dashboard.controls.heading import says_errors
from dashboard.controls.jobs import again_button
from dashboard.model.trainings import Training
from dashboard.session.resources import store, study
from dashboard.session.trainings import curves, trained_network, trainings
from dashboard.tables.columns import number_column, table_height
from dashboard.text.trainings import (
    folder_name,
    python_lines,
    standing,
    training_title,
    where_it_lies,
)
from klas.jobs.listing import Job, all_jobs
from klas.results.documents.networks import ElasticDocument
from klas.results.formatting import size
from klas.results.pair import Document, cost_unit
from klas.storage.files import write_zip
from klas.storage.sealed import taken_bytes
from klas.tasks.task import task_named

LOOK_EVERY = 2.0  # seconds, at a training that is run


def trained_networks(document: Document) -> None:
    """Those of this study's anchors, one of them in full."""
    found = {training.name: training for training in trainings(document)}
    if not found:
        return
    st.subheader("Trained networks", anchor=False)
    name = next(iter(found))
    if len(found) > 1:
        name = st.selectbox(
            "Training",
            list(found),
            format_func=lambda name: training_title(found[name]),
            label_visibility="collapsed",
            key="widget:training",
        )
    training = found[name]
    if len(found) == 1:
        st.markdown(f"**{training_title(training)}**")
    job = next((job for job in all_jobs(store()) if job.id == name), None)
    alive = job is not None and job.status.alive
    st.fragment(_curves, run_every=LOOK_EVERY if alive else None)(document, training, job)
    if training.finished:
        _network(document, training)


@says_errors
def _curves(document: Document, training: Training, job: Job | None) -> None:
    """How far it is, the loss and the rate; beside them, once they are measured, the members."""
    log, status = curves(training), None if job is None else job.status
    st.caption(standing(training, log, status))
    if job is not None and not job.status.alive and not training.finished:
        again_button(job, place="trained")
    if not log.steps.size:
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.plotly_chart(
            loss_chart(log, training.recipe.steps),
            config=figure_config(),
            key=f"loss:{training.name}",
            alt="The loss and the learning rate against the steps",
        )
    with right:
        metric = task_named(document["task"]).metric
        if log.on_the_way or (log.accuracy and not training.finished):
            st.plotly_chart(
                validation_chart(training, log, metric),
                config=figure_config(),
                key=f"validation:{training.name}",
                alt=f"{metric.heading} of every member against the steps",
            )
        elif training.finished:
            _tradeoff(document, training, trained_network(training))
        else:
            every = training.recipe.validate_every
            st.caption(
                f"Every member is measured every {every:,} steps."
                if every
                else "Members are measured at the end; *Validate every … steps* does it on the way."
            )


@says_errors
def _network(document: Document, training: Training) -> None:
    """The finished network: its members, the file, the lines that load it."""
    network = trained_network(training)
    left, right = st.columns(2, gap="large")
    with left:
        _members(document, network)
    on_the_way = curves(training).on_the_way  # then the figures above have no room for another
    if on_the_way:
        with right:
            _tradeoff(document, training, network)
    with left if on_the_way else right:
        _take_away(training, network)


def _tradeoff(document: Document, training: Training, network: ElasticDocument) -> None:
    metric = task_named(document["task"]).metric
    st.plotly_chart(
        members_chart(training, network["members"], network["tier"], cost_unit(document), metric),
        config=figure_config(),
        key=f"members:{training.name}",
        alt=f"{metric.heading} of every member against its MACs",
    )


def _members(document: Document, network: ElasticDocument) -> None:
    unit, metric = cost_unit(document), task_named(document["task"]).metric
    before = {a["name"]: a["accuracy"] for a in document["anchors"]}
    trained = f"{network['tier']} (%)"
    rows = pd.DataFrame(
        {
            "member": member["name"],
            unit.name: member["macs"] / unit.scale,
            "parameters": member["params"],
            trained: 100 * member["accuracy"].get(network["tier"], float("nan")),
            "pretrained (%)": None
            if (known := before.get(member["name"])) is None
            else 100 * known,
        }
        for member in network["members"]
    )
    st.dataframe(
        rows,
        hide_index=True,
        height=table_height(len(rows)),
        placeholder="–",
        column_config={
            unit.name: number_column(rows[unit.name].to_numpy()),
            "parameters": st.column_config.NumberColumn(format="localized"),
            trained: st.column_config.NumberColumn(
                format="%.1f",
                help=f"{metric.heading} on the validation samples, of the network as it is saved.",
            ),
            "pretrained (%)": st.column_config.NumberColumn(
                format="%.1f", help="What the anchor had before."
            ),
        },
    )


def _take_away(training: Training, network: ElasticDocument) -> None:
    folder, called = training.folder, folder_name(study().name)

    def packed() -> bytes:
        return _zip(folder, called)

    st.download_button(
        f"Download {called}.zip ({size(taken_bytes(folder))})",
        packed,  # made when it is asked for
        file_name=f"{called}.zip",
        mime="application/zip",
        icon=":material/download:",
        type="primary",
        key=f"take:{training.name}",
        on_click="ignore",
    )
    st.caption("Unpack it, then:")
    st.code(python_lines(called, network["members"]), language="python", wrap_lines=True)
    st.caption("One member as a file that runs without klas:")
    member = network["members"][0]["name"]
    st.code(
        f"klas export {called} --member {member} --to onnx --out model.onnx",
        language="bash",
        wrap_lines=True,
    )
    st.caption(where_it_lies(training))


def _zip(folder: Path, called: str) -> bytes:
    """A training's folder as one file, in which it is called so."""
    content = io.BytesIO()
    write_zip(content, {f"{called}/{p.name}": p for p in sorted(folder.iterdir()) if p.is_file()})
    return content.getvalue()
