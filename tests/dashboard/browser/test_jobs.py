"""Jobs in a real browser: they outlive tabs, the server and what befalls their workers."""

import os
import re
import signal
from contextlib import suppress

import pytest

from klas.jobs import process
from klas.jobs.kinds import RunJob
from klas.jobs.listing import all_jobs, status_of
from klas.storage.locks import try_lock
from klas.storage.store import Store
from tests.dashboard.server import Server
from tests.jobs.workers import QUICK, running

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
LONG = 120_000  # milliseconds, for what computes


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts the app on one store and the quick study, again and again."""
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    servers = []

    def start():
        servers.append(Server(tmp_path))
        servers[-1].study.write_text(QUICK.to_toml())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
    store = Store(tmp_path / "cache")
    for job in running(store):
        os.kill(status_of(store, job).pid, signal.SIGKILL)
    store.close()


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def store(server):
    opened = Store(server.cache)
    yield opened
    opened.close()


@pytest.fixture
def device(store):
    """The device as another worker holds it: jobs wait until it is closed."""
    with (store.root / "locks" / "device-cpu.lock").open("a") as lock:
        assert try_lock(lock)
        yield lock


def button(page, name):
    return page.get_by_role("button", name=name)


def open_page(page, server, until):
    """The Study page, with a stage chosen."""
    page.goto(server.url)
    choice = page.get_by_role("radio", name=until).or_(
        page.get_by_role("button", name=re.compile(f"{until}$"))
    )
    choice.first.click()
    expect(button(page, f"Compute up to {until}")).to_be_visible()


def test_a_job_outlives_the_server_and_two_tabs_start_it_once(
    server, serve, store, device, browser, page
):
    open_page(page, server, "probes")
    other = browser.new_page()
    open_page(other, server, "probes")
    button(page, "Compute up to probes").click()
    # At once, unless that tab, which looks now and then, knows of the job already.
    with suppress(playwright.TimeoutError):
        button(other, "Compute up to probes").click(timeout=2_000)
    expect(page.get_by_text("in the queue, next")).to_be_visible()
    expect(other.get_by_text("in the queue, next")).to_be_visible()
    (job,) = running(store)
    worker = status_of(store, job).pid
    other.close()

    server.process.kill()
    page.goto(serve().url)
    expect(page.get_by_text("in the queue, next")).to_be_visible()
    assert status_of(store, job).pid == worker

    # It computes, and the page fills without a reload.
    device.close()
    expect(page.get_by_test_id("stToast")).to_contain_text(
        "Done: Compute up to probes", timeout=LONG
    )
    expect(page.get_by_text("Which pairs go together")).to_be_visible()
    expect(page.get_by_text("Not computed yet.")).to_have_count(0)
    assert status_of(store, job).pid == worker


def test_a_tab_at_rest_shows_what_others_begin_and_finish(server, store, page):
    open_page(page, server, "anchors")
    job = process.start(store, QUICK, RunJob(until="anchors"))
    expect(page.get_by_text("Which pairs go together")).to_be_visible(timeout=LONG)
    assert [one.id for one in all_jobs(store)] == [job]


def test_a_job_is_cancelled_resumed_killed_and_resumed(server, store, page):
    open_page(page, server, "anchors")
    button(page, "Compute up to anchors").click()
    button(page, "Cancel").click()
    expect(page.get_by_text("Compute up to anchors: cancelled.")).to_be_visible()

    button(page, "Start again").click()
    expect(page.get_by_text("Loading the networks")).to_be_visible()
    (job,) = running(store)
    os.kill(status_of(store, job).pid, signal.SIGKILL)
    expect(page.get_by_text("was killed, or crashed")).to_be_visible()

    button(page, "Start again").click()
    expect(page.get_by_text("Which pairs go together")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("Computed up to anchors")).to_be_visible()
    expect(page.get_by_text("was killed, or crashed")).to_have_count(0)
