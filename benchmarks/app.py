"""How fast the app is in a real Chromium: ``python benchmarks/app.py [WHAT …]``.

Each row has the median of 20 times, the time that nine of ten stay below, and the limit that the
project has set itself for two cores. The app runs as a user starts it, with a copy of the cache
folder (``KLAS_CACHE_DIR``), which must hold the computed digits study.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import streamlit as st
from playwright.sync_api import Browser, Page, sync_playwright
from streamlit.testing.v1 import AppTest

from dashboard.controls import downloads
from dashboard.controls import selection as selection_controls
from dashboard.model import tradeoff
from klas.jobs import process
from klas.jobs.kinds import RunJob
from klas.jobs.listing import status_of
from klas.jobs.status import StageStatus, Status
from klas.results.costs import Timings
from klas.results.pair import Pair
from klas.storage.files import default_root
from klas.storage.store import Store
from klas.study import DIGITS, AnchorSpec, Stage, Study, change

ROOT = Path(__file__).resolve().parents[1]
TIMES = 20
PAGES = {"Study": "Networks between your networks", "Scores": "Stitch scores"}
PAGES |= {"Stitches": "Choose stitches", "My list": "My list"}
PAIR = ("digits_vit_small", "digits_vit_base")
BLOCKS = 24
# Nothing of the page is stale or still computed.
SETTLED = """() => !document.querySelector(
  '[data-stale="true"], [data-testid="stStatusWidget"], [data-testid="stSkeleton"]')"""
CHANGED = """before => [...document.querySelectorAll('h3')].some(
  h => h.innerText.includes('stitches chosen') && h.innerText.trim() !== before.trim())"""
AT_WORK = re.compile(r": [0-9,]+ of [0-9,]+ ")
HEADED = "text => [...document.querySelectorAll('h1')].some(h => h.innerText.trim() === text)"
SHOWS = "text => document.body.innerText.includes(text)"
DRAWN = "() => document.querySelector('[data-testid=stPlotlyChart] .main-svg') !== null"
FIGURE = "[data-testid=stPlotlyChart] .main-svg"

Row = tuple[str, list[float], float | None]


# -- the app -----------------------------------------------------------------------------------


@contextlib.contextmanager
def app(root: Path, study: Path | None = None) -> Iterator[str]:
    """The app with a cache folder; yields its address."""
    process, url = start(root, study)
    try:
        yield url
    finally:
        process.terminate()
        process.wait()


def start(root: Path, study: Path | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """Start the app as the README says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "streamlit", "run", "dashboard/app.py", f"--server.port={port}"]
    environment = os.environ | {"KLAS_CACHE_DIR": str(root)}
    if study is not None:
        environment["KLAS_STUDY"] = str(study)
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    return process, f"http://127.0.0.1:{port}"


def open_page(browser: Browser, url: str) -> Page:
    """The page of a new visitor, as soon as the server answers."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.02)  # a browser that asks all the time would take a core from the server
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.goto(url)
    return page


def headed(page: Page, heading: str) -> None:
    """Wait for the page's heading; looks in every frame, which a locator does not."""
    page.wait_for_function(HEADED, arg=heading)


def settled(page: Page, heading: str) -> None:
    """Wait until the whole page is there."""
    headed(page, heading)
    page.wait_for_function(SETTLED)


# -- what is measured --------------------------------------------------------------------------


def first_page(browser: Browser, root: Path) -> Iterator[Row]:
    """From the start of the server's process to the first page, in a browser with no cache.

    Figures and tables come last: their part of Streamlit is loaded when the first one is met.
    """
    with TemporaryDirectory() as empty:
        _, times = _starts(browser, Path(empty))
    yield "server started → first page, nothing computed", times, 3.0
    texts, times = _starts(browser, root)
    yield "server started → text of the first page, digits computed", texts, 3.0
    yield "server started → its tables and figures too", times, None


def _starts(browser: Browser, root: Path) -> tuple[list[float], list[float]]:
    """Seconds to the heading, and to the whole page."""
    texts, whole = [], []
    for _ in range(TIMES):
        began = time.perf_counter()
        process, url = start(root)
        page = open_page(browser, url)
        headed(page, PAGES["Study"])
        texts.append(time.perf_counter() - began)
        settled(page, PAGES["Study"])
        whole.append(time.perf_counter() - began)
        page.context.close()
        process.terminate()
        process.wait()
    return texts, whole


def page_changes(browser: Browser, root: Path) -> Iterator[Row]:
    """From the click on a page's name until it is there with its figures."""
    with app(root) as url:
        page = open_page(browser, url)
        settled(page, PAGES["Study"])
        _visit(page)  # once: what a session computes once, it has
        yield "page change", _visit(page), 0.7
        with a_job(root, "tuned"):
            page.get_by_text(AT_WORK).first.wait_for(timeout=60_000)
            yield "page change while a job computes", _visit(page), 2.0
        page.context.close()


def _visit(page: Page) -> list[float]:
    names = list(PAGES)
    times = []
    for k in range(TIMES):
        name = names[(k + 1) % len(names)]
        began = time.perf_counter()
        page.get_by_role("link", name=name, exact=True).first.click()
        settled(page, PAGES[name])
        if name in ("Scores", "Stitches"):
            page.wait_for_function(DRAWN)
        times.append(time.perf_counter() - began)
    return times


@contextlib.contextmanager
def a_job(root: Path, until: Stage) -> Iterator[str]:
    """A job of the digits study with another setting, so that it has something to compute."""
    store = Store(root)
    study = change(DIGITS, "fit", samples=DIGITS.fit.samples + 1)
    job = process.start(store, study, RunJob(until=until))
    try:
        yield job
    finally:
        process.cancel(store, job)
        while (now := status_of(store, job)) is not None and now.alive:
            time.sleep(0.1)
        store.close()


def status_changes(browser: Browser, root: Path) -> Iterator[Row]:
    """From a new status file to its figures on the page.

    A real worker is stopped, and the benchmark writes its file.
    """
    with app(root) as url, a_job(root, "tuned") as job:
        store = Store(root)
        page = open_page(browser, url)
        page.get_by_text(AT_WORK).first.wait_for(timeout=60_000)
        now = _running(store, job)
        os.kill(now.pid, signal.SIGSTOP)
        page.wait_for_function(SETTLED)
        rng = np.random.default_rng(0)
        times = []
        for k in range(TIMES):
            page.wait_for_timeout(1000 * rng.uniform(0.2, 1.0))  # anywhere between two looks
            stage = StageStatus(stage="tuned", unit="steps", done=k + 1, total=777, seconds=1)
            began = time.perf_counter()
            said = now.model_copy(update={"stages": (stage,), "updated": time.time()})
            store.write_file(root / "jobs" / job / "status.json", said.to_bytes())
            page.wait_for_function(SHOWS, arg=f"{k + 1} of 777")
            times.append(time.perf_counter() - began)
        os.kill(now.pid, signal.SIGCONT)
        page.context.close()
        store.close()
    yield "status changed → on the page", times, 1.0


def _running(store: Store, job: str) -> Status:
    while True:
        now = status_of(store, job)
        if now is not None and now.state == "running" and now.stages:
            return now
        time.sleep(0.1)


def tau(browser: Browser, root: Path) -> Iterator[Row]:
    """From the release of τ to the new choice in text, figures and table."""
    with app(root) as url:
        pair = "~".join(PAIR)
        yield "τ released → all updated, digits", _drag(browser, f"{url}/stitches?pair={pair}"), 0.4
    yield "the server's part of it, digits", _script(root), 0.03
    with TemporaryDirectory() as folder:
        study = generated_study(Path(folder))
        large = f"3 pairs × {BLOCKS} × {BLOCKS}"
        with app(Path(folder), study) as url:
            yield f"τ released → all updated, {large}", _drag(browser, f"{url}/stitches"), 0.7
        yield f"the server's part of it, {large}", _script(Path(folder), study), 0.03


def _drag(browser: Browser, url: str) -> list[float]:
    page = open_page(browser, url)
    settled(page, PAGES["Stitches"])
    page.locator(FIGURE).first.wait_for()
    track = page.locator("[data-testid=stSlider]").first
    times = []
    for k in range(TIMES + 1):
        before = page.get_by_role("heading", name="stitches chosen").inner_text()
        box = track.bounding_box()
        assert box is not None
        thumb = page.get_by_role("slider").first.bounding_box()
        assert thumb is not None
        page.mouse.move(thumb["x"] + thumb["width"] / 2, thumb["y"] + thumb["height"] / 2)
        page.mouse.down()
        wanted = box["x"] + box["width"] * (0.15, 0.5)[k % 2]
        page.mouse.move(wanted, thumb["y"], steps=5)
        began = time.perf_counter()
        page.mouse.up()
        page.wait_for_function(CHANGED, arg=before)
        page.wait_for_function(SETTLED)
        times.append(time.perf_counter() - began)
        page.wait_for_timeout(100)
    page.context.close()
    return times[1:]


def _script(root: Path, study: Path | None = None) -> list[float]:
    """From reading τ to the last element that depends on it, in Streamlit's own test runner.

    That runner runs whole pages, while a browser runs the fragment alone. What the fragment has
    from an earlier run, the arrays that the pair was read into, is therefore kept.
    """
    first, last = selection_controls.selection_controls, downloads.selection_downloads
    made, sheets = tradeoff.Sheet, {}
    began, ended = [], []

    def reads_tau(*arguments: Any) -> Any:
        began.append(time.perf_counter())
        return first(*arguments)

    def makes_the_last(*arguments: Any) -> None:
        last(*arguments)
        ended.append(time.perf_counter())

    def read_once(*, pair: Pair, timings: Timings | None = None) -> tradeoff.Sheet:
        return sheets.setdefault(pair.names, made(pair=pair, timings=timings))

    with (
        patch.dict(os.environ, KLAS_CACHE_DIR=str(root)),
        patch.object(selection_controls, "selection_controls", reads_tau),
        patch.object(downloads, "selection_downloads", makes_the_last),
        patch.object(tradeoff, "Sheet", read_once),
    ):
        os.environ.pop("KLAS_STUDY", None)
        if study is not None:
            os.environ["KLAS_STUDY"] = str(study)
        st.cache_resource.clear()
        tester = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60).run()
        tester.switch_page("views/stitches.py").run()
        for k in range(TIMES + 4):
            tester.slider[0].set_value((0.3, 0.1)[k % 2]).run()
    return [end - start for start, end in zip(began, ended)][-TIMES:]


# -- a generated study -------------------------------------------------------------------------


def generated_study(root: Path) -> Path:
    """The file of a study of 3 pairs of 24 blocks each, with a document of random figures."""
    names = ("first", "second", "third")
    anchors = tuple(AnchorSpec(name=n, model="digits_vit_tiny") for n in names)
    study = DIGITS.model_copy(update={"name": "generated", "anchors": anchors})
    store = Store(root)
    store.set_ref(f"scores-{study.results_key()}", generated_document(study))
    store.close()
    path = root / "generated.toml"
    path.write_text(study.to_toml(), encoding="utf-8")
    return path


def generated_document(study: Study) -> dict[str, Any]:
    """Random figures in the form of a scores document."""
    rng = np.random.default_rng(0)
    layouts = [{"channels": 64, "grid": [14, 14], "prefix": 1, "form": "NLC"}] * (BLOCKS + 1)
    anchors = [
        {
            "name": spec.name,
            "model": spec.model,
            "digest": f"{k:064x}",
            "source": None,
            "splitter": "fx-blocks-1",
            "transform": {"input_size": [3, 224, 224], "mean": [0.5], "std": [0.5]}
            | {"crop": 0.9, "interpolation": "bicubic"},
            "columns": None,
            "weights": {"tag": spec.model, "sha256": f"{k:064x}"},
            "blocks": BLOCKS,
            "cuts": [f"blocks.{n}" for n in range(BLOCKS + 1)],
            "layouts": layouts,
            "macs": 10 ** (9 + k),
            "params": 10 ** (6 + k),
            "accuracy": 0.7 + 0.1 * k,
            "probe_accuracy": np.linspace(0.1, 0.7 + 0.1 * k, BLOCKS + 1).tolist(),
            "probe_converged": [True] * (BLOCKS + 1),
        }
        for k, spec in enumerate(study.anchors)
    ]
    split = {"ref": "x", "fingerprint": "x", "samples": 5000, "images": 5000, "seed": 0}
    split["left_out"] = []
    return {
        "format": "klas-scores",
        "version": 1,
        "study": study.model_dump(mode="json"),
        "made_with": {"klas": "0", "torch": "0", "timm": "0", "splitter": "fx-blocks-1"},
        "task": "classification",
        "accuracy_metric": "top1",
        "anchors": anchors,
        "data": {"train": split, "val": split, "test": None},
        "fit": study.fit.model_dump(mode="json"),
        "precision": "float32",
        "pairs": [_generated_pair(rng, *pair) for pair in ((0, 1), (0, 2), (1, 2))],
    }


def _generated_pair(rng: np.random.Generator, f: int, g: int) -> dict[str, Any]:
    names = ("first", "second", "third")
    theta = rng.uniform(0.1, 3, (BLOCKS + 1, BLOCKS + 1))
    own = rng.uniform(0.1, 1, (BLOCKS + 1, BLOCKS + 1))
    costs = 10.0 ** np.array([9 + f, 9 + g])
    candidates = [
        {
            "source_block": i,
            "target_block": j,
            "in_space": j < BLOCKS,
            "snnet": abs(i - j) <= 1,
            "macs": int(costs[0] * i / BLOCKS + costs[1] * (1 - j / BLOCKS)),
            "params": int((costs[0] * i + costs[1] * (BLOCKS - j)) / 1000),
            "scores": {
                "kl": theta[i, j] / own[j, j + 1] if j < BLOCKS else None,
                "theta": theta[i, j],
                **{m: float(rng.uniform(0.1, 1)) for m in ("theta_ce", "cka", "mse", "ce", "dm")},
            },
            "accuracy": {t: float(rng.uniform(0.2, 0.9)) for t in ("zero_shot", "tuned")},
        }
        for i in range(1, BLOCKS + 1)
        for j in range(1, BLOCKS)
    ]
    return {
        "source": names[f],
        "target": names[g],
        "theta_output": float(rng.uniform(0.5, 2)),
        "theta": theta.tolist(),
        "theta_target": own.tolist(),
        "candidates": candidates,
    }


WHAT: dict[str, Callable[[Browser, Path], Iterator[Row]]] = {
    "start": first_page,
    "pages": page_changes,
    "status": status_changes,
    "tau": tau,
}


def main() -> int:
    """Measure and print a table; exit status 1 if a median passes its limit."""
    parser = argparse.ArgumentParser(prog="python benchmarks/app.py", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*WHAT, []], help="all of it by default")
    chosen = parser.parse_args().what or list(WHAT)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    passed = 0
    print(f"| what | median of {TIMES} (s) | nine of ten (s) | limit (s) |\n|---|--:|--:|--:|")
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        root = Path(folder) / "cache"
        shutil.copytree(default_root(), root)
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for name in chosen:
            for label, times, limit in WHAT[name](browser, root):
                median = statistics.median(times)
                passed += limit is not None and median > limit
                tenth = statistics.quantiles(times, n=10)[-1]
                wanted = "" if limit is None else f"{limit:g}"
                print(f"| {label} | {median:.3f} | {tenth:.3f} | {wanted} |", flush=True)
        browser.close()
    return int(passed > 0)


if __name__ == "__main__":
    sys.exit(main())
