"""Train the stitches of a list: the recipe, what it takes, the button, the same as a command.

Written once, for every page from which a list of stitches is taken away.
"""

from collections.abc import Sequence

import streamlit as st

from dashboard.controls.command_lines import train_command
from dashboard.controls.heading import says_errors
from dashboard.controls.jobs import estimate, start_button
from dashboard.controls.recipe import recipe_fields
from dashboard.model.list_entries import Entry
from dashboard.model.trainings import differing, network_bytes, train_job
from dashboard.session.resources import store, study
from dashboard.text.trainings import what_is_trained
from klas.jobs.listing import status_of
from klas.jobs.submission import job_id
from klas.results.pair import Document
from klas.storage.files import file_name
from klas.storage.sealed import read_seal
from klas.storage.trained import training_folder


def train_stitches(document: Document, stitches: Sequence[Entry], listed: str) -> None:
    """A fold with all that there is to choose, and the button.

    Args:
        listed: the name of the file that the page offers with the same stitches.
    """
    if stitches:
        with st.expander("Train these stitches", icon=":material/model_training:"):
            _training(document, stitches, listed)


@says_errors
def _training(document: Document, stitches: Sequence[Entry], listed: str) -> None:
    recipe = recipe_fields()
    job = train_job(stitches, recipe)
    st.caption(what_is_trained(job.stitches, recipe, network_bytes(document, job.stitches)))
    name = job_id(study(), job)
    if read_seal(training_folder(store(), name)) is not None:
        st.markdown("It is trained: see **Trained networks** on **My list**.")
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            status = status_of(store(), name)
            begun = training_folder(store(), name).exists()
            label = "Go on training" if begun else "Train"
            start_button(label, study(), job, icon=":material/model_training:")
            if status is None or not status.alive:
                estimate(study(), job)
        st.caption(
            "Its curves, and then the network, are on **My list** under **Trained networks**."
        )
    st.caption("The same from the command line, on several GPUs by `torchrun`:")
    own = f"{file_name(study().name)}-training.toml"
    other = bool(differing(study(), recipe).keys() - {"steps"})
    st.code(train_command(recipe, listed, own if other else None), language="bash", wrap_lines=True)
    if other:
        st.download_button(
            f"Download {own}",
            study().model_copy(update={"training": recipe}).to_toml(),
            file_name=own,
            mime="application/toml",
            icon=":material/download:",
            help="The study with this recipe.",
            on_click="ignore",
        )
