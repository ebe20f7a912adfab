"""``python -m docs.real_networks FOLDER``: compute what is missing, in stages, and write the page.

Everything is kept in the cache, so it can be stopped and started at any time; once all is there
the page takes a minute or two.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from rich.progress import Progress

from docs.real_networks.page import OUT, page
from docs.real_networks.parts import STAGES, parts_of
from docs.real_networks.plan import plan
from docs.real_networks.studies import Zoos
from klas.results.formatting import duration
from klas.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]


def compute(real: Path, only: str | None) -> None:
    """Every part, stage by stage; those of a stage beside each other where they say so."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def work(name: str) -> None:
        command = [sys.executable, "-m", "docs.real_networks", str(real), "--part", name]
        start = time.monotonic()
        done = subprocess.run(command, env=environment, cwd=ROOT, check=False)
        if done.returncode:
            raise SystemExit(f"{name}: failed with status {done.returncode}")
        bar.console.print(f"{name}: {duration(time.monotonic() - start)}")
        bar.advance(total)

    stages = [stage for stage in STAGES if only is None or stage.name == only]
    with Progress() as bar:
        total = bar.add_task("parts", total=sum(len(stage.parts) for stage in stages))
        for stage in stages:
            with ThreadPoolExecutor(stage.at_once) as pool:
                list(pool.map(work, stage.parts))


def main() -> None:
    """Compute and write, or compute one part."""
    parser = argparse.ArgumentParser(prog="python -m docs.real_networks", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the networks and the images")
    parser.add_argument("--plan", action="store_true", help="only say what it will take")
    parser.add_argument("--part", help="only this")
    parser.add_argument("--stage", choices=[stage.name for stage in STAGES], help="only this stage")
    options = parser.parse_args()
    with closing(Store()) as store:
        zoos = Zoos(options.folder, store.root / "real-networks")
        if options.part is not None:
            parts_of(zoos)[options.part](store)
            return
        for stage, seconds in plan(zoos).items():
            print(f"{stage}: about {duration(seconds)}")
        if options.plan:
            return
        compute(options.folder.resolve(), options.stage)
        if options.stage is None:
            OUT.write_text(page(zoos, store), encoding="utf-8")
            print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
