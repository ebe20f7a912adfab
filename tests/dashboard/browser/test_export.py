"""From a stitch on a page to a file in the downloads, in a real Chromium."""

import shutil
import zipfile

import pytest
import torch

import klas
from klas.deploy.export.stored import stored_network
from klas.results.pair import pairs_of
from klas.results.selections import choose
from tests.conftest import SMALL

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
LONG = 120_000  # milliseconds, for what computes


def test_a_stitch_is_exported_downloaded_and_loaded(server, page, computed, tmp_path):
    store, document = computed
    shutil.copytree(store.root, server.cache, dirs_exist_ok=True)
    pair = max(pairs_of(document), key=lambda p: p.in_space.sum())
    (i, j), *_ = pair.places(choose(pair, SMALL.selection).chosen)
    page.goto(f"{server.url}/scores?cell={i}-{j}")
    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_role("button", name="Export to safetensors").click()
    download_button = page.get_by_role("button", name="Download small-")
    expect(download_button).to_be_visible(timeout=LONG)
    expect(page.get_by_text("Largest difference of any output")).to_be_visible()
    with page.expect_download() as download:
        download_button.click()
    download.value.save_as(tmp_path / "network.zip")
    with zipfile.ZipFile(tmp_path / "network.zip") as packed:
        packed.extractall(tmp_path)
    (folder,) = tmp_path.glob("small-*-tuned")
    source, target = pair.names
    expected = stored_network(store, SMALL, f"{source}:{i}-{target}:{j}", "tuned")
    images = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(klas.load(folder)(images), expected(images))
