"""The work of a training job: from stitches of a study to an elastic network in the cache."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from klas.cli.train import announce
from klas.deploy.training.log import NOTE
from klas.errors import SelectionError
from klas.jobs.kinds import TrainJob
from klas.jobs.status import EstimateAnswer, StatusFile
from klas.results.documents.stitches import StitchList
from klas.results.formats import write
from klas.results.pair import pairs_of
from klas.results.refs import stored_scores
from klas.results.stitch_list import stitch_list
from klas.storage.sealed import seal
from klas.storage.store import Store
from klas.storage.trained import LIST, training_folder
from klas.study import Study

if TYPE_CHECKING:
    from klas.deploy.training.ranks import Ranks


def train_stored(
    store: Store, name: str, study: Study, job: TrainJob, status: StatusFile, ranks: "Ranks"
) -> None:
    """Train in the job's folder, from its checkpoint if there is one.

    Args:
        name: the job's, and that of its folder.

    Raises:
        KlasError: anything that does not fit, or the training diverged. A folder in which no step
            was begun goes.
    """
    from klas.deploy.training.run import train_list

    folder = training_folder(store, name)
    try:
        if not (folder / LIST).exists():
            write(_list_of(store, study, job), folder / LIST)
        train_list(
            folder / LIST,
            folder,
            ranks=ranks,
            store=store,
            progress=status,
            announce=lambda known: announce(known, ranks),
            study=_with_recipe(study, job),
        )
        seal(folder)
    finally:
        if not (folder / NOTE).exists():
            shutil.rmtree(folder, ignore_errors=True)


def estimate_training(
    store: Store, name: str, study: Study, job: TrainJob, status: StatusFile, ranks: "Ranks"
) -> EstimateAnswer:
    """What :func:`train_stored` takes for the steps that are left.

    Raises:
        KlasError: anything that does not fit.
    """
    from klas.deploy.training.run import expect_training

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / LIST
        write(_list_of(store, study, job), path)
        known = expect_training(
            path,
            training_folder(store, name),
            ranks=ranks,
            store=store,
            progress=status,
            study=_with_recipe(study, job),
        )
    takes = known.expected
    assert takes is not None, "what is looked at before it begins is not finished"
    return EstimateAnswer(
        seconds=takes.seconds,
        disk_bytes=takes.disk_bytes,
        memory_bytes=takes.memory_bytes,
        notes=known.notes or None,
    )


def _with_recipe(study: Study, job: TrainJob) -> Study:
    return study.model_copy(update={"training": job.recipe})


def _list_of(store: Store, study: Study, job: TrainJob) -> StitchList:
    """The job's stitches as a list.

    Raises:
        SelectionError: the study has no scores, or no such stitch.
    """
    document = stored_scores(store, study)
    if document is None:
        raise SelectionError(f"study {study.name}: there are no scores yet; compute them first")
    wanted = set(job.stitches)
    pairs, masks = [], []
    for pair in pairs_of(document):
        mask = np.array([(*pair.names, *place) in wanted for place in pair.everywhere], dtype=bool)
        wanted -= {(*pair.names, *place) for place in pair.places(mask)}
        if mask.any():
            pairs.append(pair)
            masks.append(mask)
    if wanted:
        source, target, i, j = min(wanted)
        raise SelectionError(f"{source} → {target}: the study has no stitch {i} → {j}")
    spec = study.selection
    if not all(pair.is_scored(spec.metric) for pair in pairs):
        spec = spec.model_copy(update={"metric": "snnet"})  # which needs no scores
    return stitch_list(document, spec, pairs=pairs, by_hand=masks)
