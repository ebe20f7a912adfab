"""Rows ``study``, ``busy``, ``job`` and ``ray``: the built-in study, cold, from start to end.

The whole of it takes minutes, so all rows but the first take a tenth of its tuning steps. The
commit before there were engines comes out of this checkout's history.
"""

import importlib.util
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
from benchmarks.ray_cluster import ray_cluster
from klas.jobs import process
from klas.jobs.kinds import RunJob
from klas.jobs.listing import is_alive
from klas.jobs.submission import job_folder
from klas.storage.store import Store
from klas.study import DIGITS, STAGES, change

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "8a2e3d30ab5bc838051caebb35b1c842ccc76ab2"
EARLIER = "the commit before there were engines"
ALONE = "without the busy loop"
COMMAND = "the command"
ONE_CORE = "engine here, one thread"
SHORT = DIGITS.tuning.steps // 10
LOOK_EVERY = 0.05  # seconds, at a job


def cold_run(folder: Path, *options: str, root: Path = ROOT, threads: int = 0) -> tuple[float, str]:
    """Seconds of ``klas run`` in an empty cache, and its document.

    Args:
        options: of the command.
        root: whose code runs.
        threads: that torch may use; 0 for as many as it likes.
    """
    environment = _as_a_user() | {"PYTHONPATH": str(root)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    with TemporaryDirectory(dir=folder) as cache:
        start = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-m", "klas", "run", *options, "--cache-dir", cache, "--json"],
            cwd=root,
            env=environment,
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


def _beside_the_commit_before(device: torch.device) -> Iterator[Sides]:
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
            seconds, documents[root] = cold_run(folder, root=root)
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


def _shorter(folder: Path, steps: int) -> str:
    """The file of the built-in study with other tuning steps."""
    file = folder / "shorter.toml"
    file.write_text(change(DIGITS, "tuning", steps=steps).to_toml(), encoding="utf-8")
    return str(file)


def _beside_a_busy_loop(device: torch.device, *, steps: int) -> Iterator[Sides]:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study = _shorter(folder, steps)

        def busy() -> float:
            with _busy_loop():
                return cold_run(folder, study)[0]

        yield Sides(ours=busy, others={ALONE: lambda: cold_run(folder, study)[0]})


@contextmanager
def _busy_loop() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            yield
        finally:
            loop.kill()


def _as_a_job(device: torch.device, *, steps: int) -> Iterator[Sides]:
    if sys.platform == "win32":
        raise NotMeasuredError("background jobs need Linux or macOS")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study = change(DIGITS, "tuning", steps=steps)

        def job() -> float:
            root = folder / "job"
            start = time.perf_counter()
            with Store(root) as store:
                started = process.start(store, study, RunJob(until="tuned"))
                while is_alive(job_folder(store, started)):
                    time.sleep(LOOK_EVERY)
            seconds = time.perf_counter() - start
            shutil.rmtree(root)
            return seconds

        file = _shorter(folder, steps)
        yield Sides(ours=job, others={COMMAND: lambda: cold_run(folder, file)[0]})


def _on_two_nodes(device: torch.device, *, steps: int) -> Iterator[Sides]:
    if importlib.util.find_spec("ray") is None:
        raise NotMeasuredError("Ray is not installed")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        study = _shorter(folder, steps)

        def two_nodes() -> float:
            with ray_cluster(folder / "nodes") as cluster:
                options = ("--engine", "ray", "--address", cluster.address)
                return cold_run(folder, study, *options)[0]

        def one_core() -> float:
            return cold_run(folder, study, "--engine", "here", threads=1)[0]

        yield Sides(ours=two_nodes, others={ONE_CORE: one_core})


ROWS = (
    Row(
        name="study",
        what="the built-in study, cold, `klas run`",
        reach={EARLIER: within(0.5)},
        sides=_beside_the_commit_before,
        sizes={"cpu": {}},
        rounds=1,
        warm_up=False,
    ),
    Row(
        name="busy",
        what="the built-in study with a tenth of the steps, cold, beside one busy loop",
        reach={ALONE: within(2.2)},
        sides=_beside_a_busy_loop,
        sizes={"cpu": {"steps": SHORT}},
        rounds=3,
        warm_up=False,
    ),
    Row(
        name="job",
        what="the built-in study with a tenth of the steps, cold, as a job of the app",
        reach={COMMAND: within(1.1)},
        sides=_as_a_job,
        sizes={"cpu": {"steps": SHORT}},
        rounds=3,
        warm_up=False,
    ),
    Row(
        name="ray",
        what="the built-in study with a tenth of the steps, cold, on two Ray nodes of one core",
        reach={ONE_CORE: within(0.6)},
        sides=_on_two_nodes,
        sizes={"cpu": {"steps": SHORT}},
        rounds=3,
        warm_up=False,
    ),
)
