"""A job's process: ``python -m klas.cli.worker FOLDER STORE``.

:mod:`klas.jobs.process` starts it.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import numpy as np
from numpy.typing import NDArray

from klas.cli.export_job import export_stored
from klas.cli.train_job import estimate_training, train_stored
from klas.errors import JobError, KlasError, SelectionError
from klas.jobs.data_roots import refuse_elsewhere
from klas.jobs.kinds import (
    CatalogueJob,
    CompareJob,
    DeviceJob,
    EstimateJob,
    ExportJob,
    FinetuneJob,
    FullValJob,
    LatencyJob,
    PicturesJob,
    RunJob,
    TrainJob,
    UnknownJob,
)
from klas.jobs.queue import DeviceSlot, device_slots, devices_for, is_free, visible_gpus
from klas.jobs.status import EstimateAnswer, StatusFile
from klas.jobs.submission import Submission, job_id, read_submission
from klas.results.accuracies import Racing
from klas.results.pair import Document, Pair, pairs_of
from klas.results.refs import stored_scores
from klas.results.result import layers_at
from klas.results.selections import choose, own_or_fair_share, racing_in
from klas.results.trainings import joint_training
from klas.selection.space import PairNames
from klas.storage.store import Store
from klas.study import Metric, Study, parse_study

if TYPE_CHECKING:
    import torch

    from klas.deploy.training.ranks import Ranks
    from klas.pipeline.run import Pipeline

NICENESS = 10  # so that the app stays quick; on Linux it lowers the priority on the disk too


def main(folder: Path, root: Path) -> int:
    """As a process of its own: one that gives way to the page and ends what it does when told."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(OSError, AttributeError):  # Windows has none
        os.nice(NICENESS)
    return answer(folder, root)


def answer(folder: Path, root: Path) -> int:
    """Wait for a device if the job needs one, and do it; the exit status is the command's."""
    submission = read_submission(folder)
    if submission is None:
        print(f"{folder}: there is no job in this folder", file=sys.stderr)
        return 1
    store = Store(root)
    status = StatusFile(folder, store, submission.submitted)
    try:
        if (folder / "cancel").exists():  # asked for before the signal could be heard
            raise KeyboardInterrupt
        _work(store, folder.name, submission, status)
    except KlasError as error:
        status.write("failed", str(error))
        return 1
    except KeyboardInterrupt:
        status.write("cancelled")
        return 130
    except Exception as error:
        traceback.print_exc()  # to the job's log
        status.write("failed", f"unexpected {type(error).__name__}: {error}; the log says more")
        return 1
    finally:
        store.close()
    status.write("done")
    return 0


def _work(store: Store, name: str, submission: Submission, status: StatusFile) -> None:
    match submission.spec:
        case UnknownJob(problem=problem):
            raise JobError(problem)
        case CatalogueJob():
            from klas.pipeline.catalogue import build_catalogue

            status.begin()
            with store.at_work("a job that builds the catalogue"):
                build_catalogue(store, status)
        case ExportJob() as job:
            status.begin()
            slots = device_slots("cpu", ())
            busy = not any(is_free(store, slot) for slot in slots)
            with _at_work(store, submission):
                answer = export_stored(store, name, _study(submission, store), job, status)
            status.answer = answer.model_copy(update={"beside_other_work": busy})
        case EstimateJob(of=of):
            status.begin()
            slots = device_slots(submission.device, visible_gpus())
            free = [slot for slot in slots if is_free(store, slot)]
            taken = free or slots[:1]
            with _at_work(store, submission):
                if isinstance(of, TrainJob):
                    study = _study(submission, store)
                    training = job_id(study, of)
                    ranks = _alone(taken, submission, status)
                    estimated = estimate_training(store, training, study, of, status, ranks)
                else:
                    estimated = _estimate(_pipeline(taken, submission, store, status), of)
            status.answer = estimated.model_copy(update={"beside_other_work": not free})
        case TrainJob() as job:
            status.write("queued")
            with (
                devices_for(store, name, submission.device, most=1) as slots,
                _at_work(store, submission),
            ):
                status.begin()
                ranks = _alone(slots, submission, status)
                train_stored(store, name, _study(submission, store), job, status, ranks)
        case DeviceJob() as job:
            status.write("queued")
            with (
                devices_for(store, name, submission.device) as slots,
                _at_work(store, submission),
            ):
                status.begin()
                _compute(_pipeline(slots, submission, store, status), job)
        case never:
            assert_never(never)


def _study(submission: Submission, store: Store) -> Study:
    study = parse_study(submission.study or {}, "job")
    refuse_elsewhere(study, store)
    return study


def _at_work(store: Store, submission: Submission) -> contextlib.AbstractContextManager[None]:
    study = _study(submission, store)
    return store.at_work(f"a job on study {study.name}", study.results_key())


def _pipeline(
    slots: Sequence[DeviceSlot], submission: Submission, store: Store, status: StatusFile
) -> "Pipeline":
    study = _study(submission, store)
    # torch takes seconds to import: the status file is there before it.
    from klas.pipeline.run import Pipeline

    wish, devices = _wish(slots, submission)
    pipeline = Pipeline(study, store, device=wish, devices=devices, progress=status)
    _say_device(status, pipeline.context.device)
    status.workers = lambda: pipeline.workers
    status.workers_bytes = lambda: pipeline.memory_bytes
    return pipeline


def _alone(slots: Sequence[DeviceSlot], submission: Submission, status: StatusFile) -> "Ranks":
    """This process, as what trains alone on the first of some devices."""
    from klas.deploy.training.ranks import Ranks
    from klas.networks.device import pick_device

    device = pick_device(_wish(slots, submission)[0])
    _say_device(status, device)
    return Ranks(device=device)


def _wish(slots: Sequence[DeviceSlot], submission: Submission) -> tuple[str, list[str]]:
    """The device to compute on, and all that were taken."""
    import torch

    # A GPU may be there that this installation of torch can't use.
    named = [slot.device for slot in slots]
    usable = torch.cuda.is_available() or not named[0].startswith("cuda")
    return (named[0], named) if usable else (submission.device, [])


def _say_device(status: StatusFile, on: "torch.device") -> None:
    from klas.networks.device import peak_device_bytes

    status.device = str(on)
    status.device_bytes = lambda: peak_device_bytes(on)


def _compute(
    pipeline: "Pipeline",
    job: RunJob | FinetuneJob | CompareJob | FullValJob | PicturesJob | LatencyJob,
) -> None:
    match job:
        case RunJob(until=stage):
            pipeline.run(stage)
        case FinetuneJob(pair=names, metrics=metrics):
            (pair,) = _named(pipeline.run("scores"), [names])
            for chosen, racing in _choices(pair, pipeline.study, metrics):
                pipeline.finetune(pair, chosen, racing)
        case CompareJob(pairs=names):
            diverged = pipeline.finetune_methods(_named(pipeline.run("scores"), names))
            if diverged:
                raise KlasError("; ".join(diverged))
        case FullValJob(pairs=names, tier=tier):
            for pair in _named(pipeline.run("scores"), names):
                spec = pipeline.study.selection
                selection = choose(pair, spec)
                if selection.chosen.any():
                    racing = racing_in(selection, spec.metric)
                    pipeline.full_validation(pair, selection.chosen, tier, racing)
        case PicturesJob(pair=names, place=place, tier=tier):
            (pair,) = _named(_document(pipeline), [names])
            finetuning = pipeline.study.finetuning
            layers = layers_at(names, tier, finetuning, job.trained, job.racing)
            pipeline.pictures(pair, layers, place)
        case LatencyJob(pairs=names):
            for pair in _named(pipeline.run("scores"), names):
                pipeline.latency(pair)
        case never:
            assert_never(never)


def _estimate(
    pipeline: "Pipeline", of: RunJob | FinetuneJob | CompareJob | FullValJob
) -> EstimateAnswer:
    """What another job would take."""
    from klas.pipeline import estimate

    study = pipeline.study
    match of:
        case RunJob(until=stage):
            run = estimate.estimate(pipeline, stage)
            return EstimateAnswer(
                seconds=run.seconds, disk_bytes=run.disk_bytes, memory_bytes=run.memory_bytes
            )
        case FinetuneJob(pair=names, metrics=metrics):
            (pair,) = _named(_document(pipeline), [names])
            choices = _choices(pair, study, metrics)
            wanted = [
                joint_training(pair, chosen, study.finetuning, racing) for chosen, racing in choices
            ]
            trainings = [estimate.training_seconds(pipeline, wanted)]
        case CompareJob(pairs=names):
            pairs = _named(_document(pipeline), names)
            trainings = [estimate.comparison_seconds(pipeline, pair) for pair in pairs]
        case FullValJob(pairs=names, tier=tier):
            pairs = _named(_document(pipeline), names)
            metric = study.selection.metric
            chosen = [(pair, choose(pair, study.selection)) for pair in pairs]
            seconds = [
                estimate.full_val_seconds(
                    pipeline, pair, selection.chosen, tier, racing_in(selection, metric)
                )
                for pair, selection in chosen
                if selection.chosen.any()
            ]
            return EstimateAnswer(seconds=sum(seconds))
        case never:
            assert_never(never)
    return EstimateAnswer(
        trainings=sum(count for count, _ in trainings), seconds=sum(s for _, s in trainings)
    )


def _document(pipeline: "Pipeline") -> Document:
    document = stored_scores(pipeline.store, pipeline.study)
    if document is None:
        name = pipeline.study.name
        raise SelectionError(f"study {name}: there are no scores yet; compute them first")
    return document


def _named(document: Document, wanted: Sequence[PairNames]) -> list[Pair]:
    by_names = {pair.names: pair for pair in pairs_of(document)}
    for names in wanted:
        if names not in by_names:
            raise SelectionError(f"{' → '.join(names)}: the study has no such pair")
    return [by_names[names] for names in wanted]


def _choices(
    pair: Pair, study: Study, metrics: Sequence[Metric]
) -> list[tuple[NDArray[np.bool_], Racing]]:
    """What each method chooses from a pair beside the study's selection; none of them empty.

    Of each also the buckets in which that races, if it does.
    """
    own, ours = study.selection.metric, choose(pair, study.selection)
    chosen = [
        (own_or_fair_share(pair, ours, own, metric), racing_in(ours, metric)) for metric in metrics
    ]
    return [(mask, racing) for mask, racing in chosen if mask.any()]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
