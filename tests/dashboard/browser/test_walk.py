"""The app as a user meets it: a real server, a real Chromium, the whole walk."""

import json
import re

import pytest

from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.storage.store import Store
from klas.study import STAGES, FinetuningSpec, change
from tests.conftest import SMALL
from tests.dashboard.server import Server, charts, settled

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
LONG = 240_000  # milliseconds, for what computes

STUDY = SMALL.model_copy(
    update={
        "anchors": tuple(
            a for a in SMALL.anchors if a.name in ("digits_vit_tiny", "digits_vit_small")
        ),
        "finetuning": FinetuningSpec(steps=4, batch=16),
    }
)
"""One pair, the cheapest: 12 stitches are enough to walk through."""


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path, STUDY)
    yield running
    running.stop()


def open_view(page, name, heading):
    page.get_by_role("link", name=name, exact=True).first.click()
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()


def expect_chosen(page, pair, tau):
    """Wait for the count that the library says for this τ."""
    count = choose(pair, change(STUDY, "selection", tau=tau).selection).chosen.sum()
    expect(page.get_by_role("heading", name="stitches chosen")).to_have_text(
        re.compile(rf"^{count} of ")
    )
    return count


def test_the_whole_walk(server, page, tmp_path):
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Networks between your networks")).to_be_visible()

    # One button computes everything, with live progress.
    page.get_by_role("button", name="Compute everything").click()
    progress = re.compile(rf"({'|'.join(STAGES)}): [\d,]+ of [\d,]+")
    expect(page.get_by_text(progress)).to_be_visible(timeout=LONG)
    expect(page.get_by_text("are scored and measured")).to_be_visible(timeout=LONG)
    expect(page.get_by_role("heading", name="Anchors")).to_be_visible()
    with Store(server.cache) as store:
        document = store.get_ref(f"scores-{STUDY.results_key()}")

    # The map of Γ: hovering explains a cell.
    open_view(page, "Scores", "Stitch scores")
    chart = charts(page).first
    cells = chart.locator(".heatmaplayer image").first
    expect(cells).to_be_attached()
    expect(page.get_by_text("Done: Compute")).to_be_visible()  # its job stood above the map
    settled(page)
    box = cells.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(chart.locator(".hoverlayer")).to_contain_text("Γ = Ω / Σ")

    # τ: the choice follows the slider, by keyboard and by mouse.
    open_view(page, "Stitches", "Choose stitches")
    settled(page)
    (pair,) = pairs_of(document)
    before = expect_chosen(page, pair, STUDY.selection.tau)
    thumb = page.get_by_role("slider").first
    thumb.focus()
    thumb.press("End")
    expect(thumb).to_have_value("1")
    assert expect_chosen(page, pair, 1.0) > before
    settled(page)
    grip = thumb.locator("xpath=../..").bounding_box()  # the input itself is hidden
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(0, grip["y"], steps=5)
    page.mouse.up()
    expect(thumb).to_have_value("0")
    expect(page.get_by_text("--tau 0 --tau-mode")).to_be_visible()
    assert expect_chosen(page, pair, 0.0) <= before

    # Joint training of the selection and of SN-Net's set, then the verdict in words.
    page.get_by_role("radio", name="finetuned").or_(
        page.get_by_role("button", name="finetuned")
    ).first.click()
    page.get_by_role("button", name="Train jointly").click()
    expect(page.get_by_text("Not trained jointly yet")).to_have_count(0, timeout=LONG)
    expect(page.get_by_text(re.compile("At equal cost"))).to_be_visible(timeout=LONG)
    # What lies below is new too, also the file that is offered.
    settled(page)

    # The list that the page offers is the one that the command writes.
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON").click()
    mine = tmp_path / "mine.json"
    download.value.save_as(mine)
    done = server.klas(
        "select", server.study, "--pair", *pair.names, "--tau", 0, "--out", tmp_path / "theirs.json"
    )
    assert done.returncode == 0, done.stderr
    assert mine.read_bytes() == (tmp_path / "theirs.json").read_bytes()
    assert server.klas("check", mine).returncode == 0
    listed = json.loads(mine.read_bytes())["stitches"]
    assert all(s["accuracy"]["finetuned"] is not None for s in listed)

    # Back at the start: nothing broke, and torch stayed out of the app's process.
    open_view(page, "Study", "Networks between your networks")
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert "torch" not in server.loaded_libraries()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_readers_theme(server, browser, theme):
    context = browser.new_context(color_scheme=theme)
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Networks between your networks")).to_be_visible()
    shade = re.compile(r"rgb\((2\d\d|1[3-9]\d)," if theme == "light" else r"rgb\(\d\d?,")
    expect(page.locator(".stApp")).to_have_css("background-color", shade)
    context.close()
