"""A list is trained in a real Chromium, from the button to the network that is taken away."""

import re
import shutil
import zipfile

import pytest

import klas
from klas.jobs import process
from klas.results.pair import pairs_of
from klas.storage.store import Store
from klas.study import change
from tests.conftest import SMALL
from tests.dashboard.server import Server, charts, settled
from tests.jobs.workers import finished, wait_for
from tests.jobs.workers import running as running_jobs

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
LONG = 240_000  # milliseconds, for what computes


@pytest.fixture
def server(tmp_path, computed, monkeypatch):
    """The app on the computed study with a short recipe."""
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    short = change(SMALL, "training", steps=6, batch=16, validate_every=3, log_every=1)
    shutil.copytree(computed[0].root, tmp_path / "cache")
    running = Server(tmp_path, short)
    yield running
    running.stop()
    store = Store(running.cache)
    for job in running_jobs(store):
        process.cancel(store, job)
        wait_for(store, job, finished)
    store.close()


def test_a_list_of_two_pairs_is_trained_and_taken_away(server, page, computed, tmp_path):
    pairs = [pair for pair in pairs_of(computed[1]) if pair.everywhere][:2]
    entries = [(*pair.names, *pair.everywhere[0]) for pair in pairs]
    listed = ";".join(f"{f}~{g}:{i}-{j}" for f, g, i, j in entries)
    page.goto(f"{server.url}/my_list?list={listed}")
    fold = page.get_by_test_id("stExpander").filter(has_text="Train these stitches")
    expect(fold).to_be_visible(timeout=LONG)
    settled(page)
    fold.locator("summary").click()
    expect(page.get_by_text("2 stitches of 2 pairs and")).to_be_visible()
    fold.get_by_role("button", name=re.compile("Train$")).click()
    expect(page.get_by_text("Trained in")).to_be_visible(timeout=LONG)
    expect(charts(page)).not_to_have_count(0)
    take = page.get_by_role("button", name=re.compile("Download small-trained.zip"))
    with page.expect_download(timeout=LONG) as download:
        take.click()
    download.value.save_as(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        packed.extractall(tmp_path)
    network = klas.load(tmp_path / "small-trained")
    names = {f"{f}:{i}-{g}:{j}" for f, g, i, j in entries}
    assert names <= {member.name for member in network.members}
    assert all("trained" in member.accuracy for member in network.members)
