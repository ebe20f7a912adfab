"""My list as people use it, in a real Chromium: fill, take away, open again, the report."""

import re
import shutil

import pytest

from klas.results.formats import dumps
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from tests.conftest import SMALL
from tests.dashboard.server import settled

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect


@pytest.fixture
def page_of_list(server, page, computed):
    store, document = computed
    shutil.copytree(store.root, server.cache, dirs_exist_ok=True)
    page.goto(f"{server.url}/my_list")
    expect(page.get_by_text("Nothing is picked yet")).to_be_visible()
    return page, document


def button(page, name):
    return page.get_by_role("button", name=name)


def take_first_pair(page):
    button(page, "Take what a rule chooses").click()
    button(page, "Add them").click()
    expect(page.get_by_text("Nothing is picked yet")).to_have_count(0)
    page.keyboard.press("Escape")
    settled(page)  # what lies below, the files among it, is of the list too


def test_a_list_goes_out_and_comes_back(page_of_list, tmp_path):
    page, document = page_of_list
    pair = next(pair for pair in pairs_of(document) if pair.in_space.any())
    chosen = choose(pair, SMALL.selection).chosen
    take_first_pair(page)
    with page.expect_download() as download:
        button(page, "List as JSON").click()
    download.value.save_as(tmp_path / "out.json")
    written = stitch_list(document, SMALL.selection, pairs=[pair])
    assert (tmp_path / "out.json").read_bytes() == dumps(written)

    # Somebody else opens it: it stands there, and is taken over.
    # The uploader stays the same one, whatever the list above it shows: a file that is given
    # while the page is drawn again would go down with an uploader that is replaced.
    uploader = page.locator("input[type=file]")
    uploader.evaluate("node => { node.dataset.mark = 'same' }")
    button(page, "Empty the list").click()
    expect(page.get_by_text("Nothing is picked yet")).to_be_visible()
    settled(page)
    assert uploader.get_attribute("data-mark") == "same"
    page.set_input_files("input[type=file]", tmp_path / "out.json")
    expect(page.get_by_text(f"out.json: {chosen.sum()} stitches")).to_be_visible()
    button(page, f"Add its {chosen.sum()} stitches to mine").click()
    expect(page.get_by_text("Nothing is picked yet")).to_have_count(0)
    expect(page.get_by_text("At equal cost both lists reach the same accuracy")).to_be_visible()

    # The address alone brings the list to another browser.
    expect(page).to_have_url(re.compile("list="))
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(button(page, "List as JSON")).to_be_visible()


def test_a_file_of_50_megabytes_is_refused(page_of_list, tmp_path):
    page, _ = page_of_list
    (tmp_path / "big.json").write_bytes(b"[" + b"0," * 25_000_000 + b"0]")
    page.set_input_files("input[type=file]", tmp_path / "big.json")
    expect(page.get_by_text("must be 5.0MB or smaller")).to_be_visible()
    take_first_pair(page)  # and the page goes on


def test_the_report_opens_from_the_disk_without_a_network(page_of_list, browser, tmp_path):
    page, document = page_of_list
    take_first_pair(page)
    with page.expect_download() as download:
        button(page, "Report of the study as HTML").click()
    download.value.save_as(tmp_path / "report.html")

    context = browser.new_context(offline=True, accept_downloads=True)
    report = context.new_page()
    errors = []
    report.on("pageerror", lambda error: errors.append(str(error)))
    report.goto((tmp_path / "report.html").as_uri())
    expect(report.get_by_role("heading", name="small", exact=True)).to_be_visible()
    pairs = [pair for pair in pairs_of(document) if pair.in_space.any()]
    expect(report.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    expect(report.locator(".js-plotly-plot")).to_have_count(5 + 4 * len(pairs))
    with report.expect_download() as picture:
        report.locator("#gamma-0 button", has_text="SVG").click()
    picture.value.save_as(tmp_path / "gamma.svg")
    assert (tmp_path / "gamma.svg").read_text().startswith("<svg")
    assert errors == []
    context.close()
