"""Rows ``study``, ``busy`` and ``job``: the built-in study, cold, from start to end.

They take minutes each. The commit before there were engines comes out of this checkout's history.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.harness import Claim, NotMeasuredError, Row, Sides, within
from klas.jobs import process
from klas.jobs.kinds import RunJob
from klas.jobs.listing import is_alive
from klas.jobs.submission import job_folder
from klas.storage.store import Store
from klas.study import DIGITS, STAGES, Stage

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "8a2e3d30ab5bc838051caebb35b1c842ccc76ab2"
EARLIER = "the commit before there were engines"
ALONE = "without the busy loop"
COMMAND = "the command"
LOOK_EVERY = 0.05  # seconds, at a job


def cold_run(root: Path, folder: Path, until: Stage) -> tuple[float, str]:
    """Seconds of ``klas run`` in an empty cache, by the code under ``root``, and its document."""
    with TemporaryDirectory(dir=folder) as cache:
        start = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-m", "klas", "run", "--until", until, "--cache-dir", cache, "--json"],
            cwd=root,
            env=_as_a_user() | {"PYTHONPATH": str(root)},
            capture_output=True,
            encoding="utf-8",
        )
        seconds = time.perf_counter() - start
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return seconds, ran.stdout


def _as_a_user() -> dict[str, str]:
    """The environment without what a developer may have set about threads."""
    return {n: value for n, value in os.environ.items() if not n.endswith("_NUM_THREADS")}


def _beside_the_commit_before(device: torch.device, *, until: Stage) -> Iterator[Sides]:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        earlier = folder / "earlier"
        earlier.mkdir()
        archived = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True)
        if archived.returncode:
            raise NotMeasuredError("this is no checkout with the earlier commit in its history")
        subprocess.run(["tar", "-x", "-C", str(earlier)], input=archived.stdout, check=True)
        documents: dict[Path, str] = {}

        def run(root: Path) -> float:
            seconds, documents[root] = cold_run(root, folder, until)
            return seconds

        def difference() -> list[Claim]:
            ours, theirs = (_means(documents[root]) for root in (ROOT, earlier))
            each = [abs(ours[pair] - theirs[pair]) for pair in ours if pair in theirs]
            what = f"mean accuracy of a pair at {STAGES[-1]}: the largest difference"
            return [Claim(what, max(each), 0.01)] if each else []

        yield Sides(
            ours=lambda: run(ROOT), others={EARLIER: lambda: run(earlier)}, claims=difference
        )


def _means(document: str) -> dict[tuple[str, str], float]:
    """Every pair's mean accuracy at the last tier."""
    means = {}
    for pair in json.loads(document)["pairs"]:
        values = [c["accuracy"][STAGES[-1]] for c in pair["candidates"]]
        known = [value for value in values if value is not None]
        if known:
            means[pair["source"], pair["target"]] = sum(known) / len(known)
    return means


def _beside_a_busy_loop(device: torch.device, *, until: Stage) -> Iterator[Sides]:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def busy() -> float:
            with _busy_loop():
                return cold_run(ROOT, folder, until)[0]

        yield Sides(ours=busy, others={ALONE: lambda: cold_run(ROOT, folder, until)[0]})


@contextmanager
def _busy_loop() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            yield
        finally:
            loop.kill()


def _as_a_job(device: torch.device, *, until: Stage) -> Iterator[Sides]:
    if sys.platform == "win32":
        raise NotMeasuredError("background jobs need Linux or macOS")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def job() -> float:
            root = folder / "job"
            start = time.perf_counter()
            with Store(root) as store:
                started = process.start(store, DIGITS, RunJob(until=until))
                while is_alive(job_folder(store, started)):
                    time.sleep(LOOK_EVERY)
            seconds = time.perf_counter() - start
            shutil.rmtree(root)
            return seconds

        yield Sides(ours=job, others={COMMAND: lambda: cold_run(ROOT, folder, until)[0]})


ROWS = (
    Row(
        name="study",
        what="the built-in study, cold, `klas run`",
        reach={EARLIER: within(0.5)},
        sides=_beside_the_commit_before,
        sizes={"cpu": {"until": "tuned"}},
        rounds=1,
        warm_up=False,
    ),
    Row(
        name="busy",
        what="the built-in study, cold, beside one busy loop",
        reach={ALONE: within(2.2)},
        sides=_beside_a_busy_loop,
        sizes={"cpu": {"until": "tuned"}},
        rounds=1,
        warm_up=False,
    ),
    Row(
        name="job",
        what="the built-in study, cold, as a job of the app",
        reach={COMMAND: within(1.1)},
        sides=_as_a_job,
        sizes={"cpu": {"until": "zero_shot"}},
        rounds=3,
        warm_up=False,
    ),
)
