"""A job's process: ``python -m klas.cli.worker FOLDER STORE``, started by :mod:`klas.jobs`."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import KlasError, SelectionError, StoreError
from klas.jobs.process import QUEUED_KINDS, StageStatus, State, Status
from klas.jobs.queue import is_free, places, turn, visible_gpus
from klas.memory import peak_memory_bytes
from klas.results.pair import Pair, pairs_of
from klas.results.selections import choose, own_or_fair_share
from klas.results.trainings import joint_training
from klas.storage.store import Store
from klas.study import Metric, Study, parse_study

if TYPE_CHECKING:
    from klas.pipeline.run import Pipeline

WRITE_EVERY = 0.25  # seconds between two status files
NICENESS = 5  # the app beside it stays quick; on Linux the disk's queue follows it


class StatusFile:
    """A progress that is kept in the job's status file."""

    def __init__(self, folder: Path, store: Store, started: float) -> None:
        self._path = folder / "status.json"
        self._store = store
        self._started = started
        self._began: float | None = None
        self._stages: list[StageStatus] = []
        self._stage_began = time.monotonic()
        self._label = ""
        self._written = 0.0
        self.device = ""
        self.device_bytes: Callable[[], int] = int  # 0, until there is a device
        self.answer: dict[str, Any] | None = None

    def begin(self) -> None:
        """The job's turn has come."""
        self._began = time.time()
        self.write("running")

    def start(self, stage: str, unit: str, total: int) -> None:
        """A stage begins."""
        self._stages.append(StageStatus(stage=stage, unit=unit, done=0, total=total, seconds=0.0))
        self._stage_began = time.monotonic()
        self._label = ""
        self.write("running")

    def label(self, text: str) -> None:
        """What is in hand."""
        self._label = text
        self.write("running")

    def advance(self, amount: int) -> None:
        """So many units more."""
        last = self._stages[-1]
        self._stages[-1] = StageStatus(
            stage=last.stage,
            unit=last.unit,
            done=last.done + amount,
            total=last.total,
            seconds=time.monotonic() - self._stage_began,
        )
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write("running")

    def write(self, state: State, error: str = "") -> None:
        """Replace the status file.

        If that fails the job goes on: what it computes matters more, and the log says what went
        wrong.
        """
        last = self._stages[-1] if self._stages else None
        rate = last.done / last.seconds if last and last.seconds and last.done else None
        left = (last.total - last.done) / rate if last and rate and last.total else None
        status = Status(
            state=state,
            pid=os.getpid(),
            started=self._started,
            updated=time.time(),
            began=self._began,
            stages=tuple(self._stages),
            label=self._label,
            rate=rate,
            seconds_left=left,
            device=self.device,
            memory_bytes=peak_memory_bytes(),
            device_bytes=self.device_bytes(),
            error=error,
            answer=self.answer,
        )
        self._written = time.monotonic()
        try:
            self._store.write_file(self._path, status.to_bytes())
        except StoreError as problem:
            print(error or problem, file=sys.stderr)


def main(folder: Path, root: Path) -> int:
    """Wait for the job's turn and do it; the exit status is that of the command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    # The page beside it needs a core. To be said before torch starts its threads.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() - 1)))
    store = Store(root)
    raw = json.loads((folder / "job.json").read_bytes())
    status = StatusFile(folder, store, raw["submitted"])
    try:
        if (folder / "cancel").exists():  # asked for before the signal could be heard
            raise KeyboardInterrupt
        if raw["task"]["kind"] in QUEUED_KINDS:
            status.write("queued")
            with turn(store, folder.name) as place:
                status.begin()
                _work(raw, place.device, store, status)
        else:
            status.begin()
            _beside(raw, store, status)
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


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _beside(raw: dict[str, Any], store: Store, status: StatusFile) -> None:
    """What does not wait: the catalogue, and an estimate on a free device, else beside a worker."""
    if raw["study"] is None:
        from klas.pipeline.catalogue import build_catalogue

        build_catalogue(store, status)
        return
    found = places(raw["device"], visible_gpus())
    free = [place for place in found if is_free(store, place)]
    status.answer = {"beside_other_work": not free}
    _work(raw, (free or found)[0].device, store, status)


def _work(raw: dict[str, Any], device: str, store: Store, status: StatusFile) -> None:
    study, task = parse_study(raw["study"], "job"), raw["task"]
    # torch takes seconds to import: the status file is there before it.
    pipeline = _pipeline(study, device, raw["device"], store, status)
    if task["kind"] == "run":
        pipeline.run(task["until"])
    elif task["kind"] == "estimate":
        status.answer = {**(status.answer or {}), **_estimate(pipeline, task["of"])}
    elif task["kind"] == "full_val":
        _full_val(pipeline, task)
    elif task["kind"] == "latency":
        _latency(pipeline, task)
    elif task["kind"] == "compare":
        pairs = _by_names(pipeline.run("scores"))
        diverged = pipeline.finetune_methods([pairs[tuple(names)] for names in task["pairs"]])
        if diverged:
            raise KlasError("; ".join(diverged))
    else:
        pair = _by_names(pipeline.run("scores"))[tuple(task["pair"])]
        for chosen in _choices(pair, study, task["metrics"]):
            pipeline.finetune(pair, chosen)


def _pipeline(study: Study, device: str, wish: str, store: Store, status: StatusFile) -> "Pipeline":
    import torch

    from klas.networks.device import peak_device_bytes
    from klas.pipeline.run import Pipeline

    # A GPU may be there that this installation of torch can't use.
    usable = torch.cuda.is_available() or not device.startswith("cuda")
    pipeline = Pipeline(study, store, device=device if usable else wish, progress=status)
    on = pipeline.context.device
    status.device = str(on)
    status.device_bytes = lambda: peak_device_bytes(on)
    return pipeline


def _by_names(document: dict[str, Any]) -> dict[tuple[str, ...], Pair]:
    return {pair.names: pair for pair in pairs_of(document)}


def _full_val(pipeline: "Pipeline", task: dict[str, Any]) -> None:
    pairs = _by_names(pipeline.run("scores"))
    for pair in (pairs[tuple(names)] for names in task["pairs"]):
        chosen = choose(pair, pipeline.study.selection).chosen
        if chosen.any():
            pipeline.full_validation(pair, chosen, task["tier"])


def _latency(pipeline: "Pipeline", task: dict[str, Any]) -> None:
    pairs = _by_names(pipeline.run("scores"))
    for names in task["pairs"]:
        pipeline.latency(pairs[tuple(names)])


def _estimate(pipeline: "Pipeline", of: dict[str, Any]) -> dict[str, Any]:
    """What another task will take."""
    from klas.pipeline import estimate

    if of["kind"] == "run":
        return asdict(estimate.estimate(pipeline, of["until"]))
    study = pipeline.study
    document = pipeline.store.get_ref(f"scores-{study.results_key()}")
    if document is None:
        raise SelectionError(f"study {study.name}: there are no scores yet; compute them first")
    pairs = _by_names(document)
    if of["kind"] == "finetune":
        pair = pairs[tuple(of["pair"])]
        choices = _choices(pair, study, of["metrics"])
        wanted = [joint_training(pair, chosen, study.finetuning) for chosen in choices]
        found = [estimate.training_seconds(pipeline, wanted)]
    elif of["kind"] == "compare":
        found = [estimate.comparison_seconds(pipeline, pairs[tuple(n)]) for n in of["pairs"]]
    else:
        chosen = {n: choose(pairs[n], study.selection).chosen for n in map(tuple, of["pairs"])}
        seconds = [
            estimate.full_val_seconds(pipeline, pairs[n], mask, of["tier"])
            for n, mask in chosen.items()
            if mask.any()
        ]
        return {"seconds": sum(seconds)}
    return {"trainings": sum(n for n, _ in found), "seconds": sum(s for _, s in found)}


def _choices(pair: Pair, study: Study, metrics: Sequence[Metric]) -> list[NDArray[np.bool_]]:
    """What each method takes of a pair, where that is anything, beside the study's selection."""
    own, ours = study.selection.metric, choose(pair, study.selection)
    chosen = [own_or_fair_share(pair, ours, own, metric) for metric in metrics]
    return [mask for mask in chosen if mask.any()]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
