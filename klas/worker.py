"""A job's process: ``python -m klas.worker FOLDER STORE``. Started by :mod:`klas.jobs`."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from klas.errors import KlasError
from klas.jobs import StageStatus, State, Status, peak_memory_bytes
from klas.results import choose, pairs_of
from klas.store import Store
from klas.study import change, parse_study

WRITE_EVERY = 0.25  # seconds between two status files
NICENESS = 5  # the app beside it stays quick


class StatusFile:
    """A progress that is kept in the job's status file."""

    def __init__(self, folder: Path, store: Store, started: float) -> None:
        self._path = folder / "status.json"
        self._store = store
        self._started = started
        self._stages: list[StageStatus] = []
        self._stage_began = time.monotonic()
        self._label = ""
        self._written = 0.0
        self.device = ""

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
        """Replace the status file."""
        last = self._stages[-1] if self._stages else None
        rate = last.done / last.seconds if last and last.seconds and last.done else None
        left = (last.total - last.done) / rate if last and rate and last.total else None
        status = Status(
            state=state,
            pid=os.getpid(),
            started=self._started,
            updated=time.time(),
            stages=tuple(self._stages),
            label=self._label,
            rate=rate,
            seconds_left=left,
            device=self.device,
            memory_bytes=peak_memory_bytes(),
            error=error,
        )
        self._store.write_file(self._path, status.to_bytes())
        self._written = time.monotonic()


def main(folder: Path, root: Path) -> int:
    """Do the job; the exit status is that of the command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    store = Store(root)
    status = StatusFile(folder, store, time.time())
    status.write("running")
    try:
        raw = json.loads((folder / "job.json").read_bytes())
        _work(raw["study"], raw["task"], store, status)
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


def _work(
    raw_study: dict[str, Any] | None, task: dict[str, Any], store: Store, status: StatusFile
) -> None:
    # torch takes seconds to import: the status file is there before it.
    if raw_study is None:
        from klas.networks.catalogue import build_catalogue

        build_catalogue(store, status)
        return
    from klas.pipeline import Pipeline

    study = parse_study(raw_study, "job")
    device = os.environ.get("KLAS_DEVICE", "auto")  # `klas dashboard --device` says it
    pipeline = Pipeline(study, store, device=device, progress=status)
    status.device = str(pipeline.bench.device)
    if task["kind"] == "run":
        pipeline.run(task["until"])
        return
    document = pipeline.run("scores")
    by_name = {(p.source["name"], p.target["name"]): p for p in pairs_of(document)}
    if task["kind"] == "full_val":
        from klas.full_val import measure_full_val

        for pair in (by_name[tuple(names)] for names in task["pairs"]):
            chosen = choose(pair, study.selection).chosen
            if chosen.any():
                measure_full_val(pipeline, pair, chosen, task["tier"])
        return
    if task["kind"] == "compare":
        diverged = pipeline.finetune_methods([by_name[tuple(names)] for names in task["pairs"]])
        if diverged:
            raise KlasError("; ".join(diverged))
        return
    pair = by_name[tuple(task["pair"])]
    for metric in task["metrics"]:
        chosen = choose(pair, change(study, "selection", metric=metric).selection).chosen
        if chosen.any():
            pipeline.finetune(pair, chosen)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
