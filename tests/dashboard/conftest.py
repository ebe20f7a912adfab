"""The app in Streamlit's own test runner, and in a real browser."""

import shutil
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from klas.storage.store import Store
from tests.conftest import SMALL
from tests.dashboard.server import Server

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture
def app(tmp_path, monkeypatch):
    """Starts the app on a cache folder and the small study."""
    study = tmp_path / "small.toml"
    study.write_text(SMALL.to_toml())
    monkeypatch.setenv("KLAS_STUDY", str(study))

    def start(root, page=None, **query):
        st.cache_resource.clear()
        monkeypatch.setenv("KLAS_CACHE_DIR", str(root))
        tester = AppTest.from_file(str(APP), default_timeout=30)
        for name, value in query.items():
            tester.query_params[name] = value
        tester.run()
        if page:
            tester.switch_page(f"views/{page}.py").run()
        assert not tester.exception
        return tester

    yield start
    st.cache_resource.clear()


@pytest.fixture
def copied(computed, tmp_path):
    """A store of its own with the computed study."""
    root = tmp_path / "copied"
    shutil.copytree(computed[0].root, root)
    store = Store(root)
    yield store
    store.close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    playwright.expect.set_options(timeout=20_000)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    yield context.new_page()
    context.close()
