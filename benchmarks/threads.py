"""Row ``threads``: what processes can gain over threads where most of a study's time goes.

Nine tenths of the built-in study are steps of tuning that lead into its largest network.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

import klas.digits  # noqa: F401 - registers the built-in networks
from benchmarks.harness import Row, Sides, within
from benchmarks.stitch_case import open_case
from klas.measures.training import tune

ROOT = Path(__file__).resolve().parent.parent
ONE_PROCESS = "one process of two threads"
ONE_THREAD = "one process of one thread"


def step_seconds(steps: int) -> float:
    """Seconds of a step of all stitches of digits small → base, after a first one."""
    device = torch.device("cpu")
    case = open_case(
        device, "digits_vit_small", "digits_vit_base", images=512, steps=steps, batch=128
    )

    def run() -> float:
        start = time.perf_counter()
        tune(
            case.family,
            case.views,
            objective=case.objective,
            steps=steps,
            lr=1e-2,
            tick=lambda n: None,
            precision=case.precision,
        )
        return (time.perf_counter() - start) / steps

    run()
    return run()


def _steps(device: torch.device, *, steps: int) -> Iterator[Sides]:
    def side_by_side(processes: int, threads: int) -> float:
        """Seconds for one step of one process, if so many are at it."""
        code = f"from benchmarks.threads import step_seconds; print(step_seconds({steps}))"
        # Not by torch.set_num_threads: with that, two threads are 1.4 times as slow.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        begun = [
            subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE
            )
            for _ in range(processes)
        ]
        each = [float(process.communicate()[0]) for process in begun]
        return sum(each) / len(each) / processes

    yield Sides(
        ours=lambda: side_by_side(2, 1),
        others={
            ONE_PROCESS: lambda: side_by_side(1, 2),
            ONE_THREAD: lambda: side_by_side(1, 1),
        },
    )


ROWS = (
    Row(
        name="threads",
        what="a step of tuning, digits small → base, by two processes of one thread",
        reach={ONE_PROCESS: within(), ONE_THREAD: within()},
        sides=_steps,
        sizes={"cpu": {"steps": 4}},
        rounds=3,
        warm_up=False,
    ),
)
