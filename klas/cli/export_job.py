"""The work of an export job: from the store's layers to one file that can be downloaded."""

import shutil
from pathlib import Path

from klas.jobs.kinds import ExportJob
from klas.jobs.status import ExportAnswer, StatusFile
from klas.results.export_formats import EXPORT_FORMATS, refuse_missing_extra
from klas.results.result import FinetunedWeights
from klas.storage.exports import storing_export
from klas.storage.files import file_name, write_zip
from klas.storage.store import Store
from klas.study import Study


def export_stored(
    store: Store, name: str, study: Study, job: ExportJob, status: StatusFile
) -> ExportAnswer:
    """Build a network from what the store holds, and write it to the job's folder of exports.

    Args:
        name: the job's, and that of its folder.

    Raises:
        KlasError: it is not stored at that tier, an anchor has changed, or it can't be exported.
    """
    refuse_missing_extra(job.to)
    # torch takes seconds to import: the status file is there before it.
    from klas.deploy.export.export import export, loading_lines
    from klas.deploy.export.fused import fused
    from klas.deploy.export.stored import stored_network

    status.device = "cpu"
    status.label("building the network")
    network = stored_network(store, study, job.member, job.tier, _training(job, study))
    if job.fused:
        network = fused(network)
    called = _file_name(study, job)
    with storing_export(store, name) as folder:
        status.label("writing it and comparing the outputs")
        made = export(network, job.to, folder / called)
        if len(list(folder.iterdir())) > 1 or (folder / called).is_dir():
            status.label("packing it")
            _pack(folder, f"{Path(called).name}.zip")
    return ExportAnswer(
        difference=made.difference,
        milliseconds=made.milliseconds,
        machine=made.machine,
        macs=network.member.macs,
        params=network.member.params,
        python=loading_lines(job.to, Path(called)),
    )


def _training(job: ExportJob, study: Study) -> FinetunedWeights | None:
    """The joint training whose weights are wanted; None where none is named."""
    if job.pair is None or not job.trained:
        return None
    source, target = job.pair
    return FinetunedWeights(
        source=source,
        target=target,
        stitches=job.trained,
        finetuning=study.finetuning,
        racing=job.racing,
    )


def _file_name(study: Study, job: ExportJob) -> str:
    """Says what it is."""
    parts = (study.name, job.member, job.tier or "pretrained", *(["fused"] * job.fused))
    return file_name("-".join(parts)) + EXPORT_FORMATS[job.to].ending


def _pack(folder: Path, name: str) -> None:
    """One file of all that lies in a folder, which goes."""
    inside = sorted(folder.rglob("*"))
    files = {str(path.relative_to(folder)): path for path in inside if path.is_file()}
    write_zip(folder / name, files)
    for path in inside:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
