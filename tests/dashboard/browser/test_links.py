"""A link as people use it: opened in a real Chromium, changed by clicks, undone with Back."""

import re
import shutil
from urllib.parse import parse_qs, urlsplit

import pytest

from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.study import change
from tests.conftest import SMALL
from tests.dashboard.server import charts, settled

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect


def click_cell(chart, page, pair, row):
    """Click the middle of a stitch's cell."""
    settled(page)
    squares = chart.locator(".scatterlayer .trace").first.locator("path.point")
    place = pair.in_space[:row].sum()
    box = squares.nth(int(place)).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_a_link_opens_its_view_and_follows_the_reader(server, browser, page, computed):
    store, document = computed
    shutil.copytree(store.root, server.cache, dirs_exist_ok=True)
    pair = pairs_of(document)[1]
    rows = pair.in_space.nonzero()[0]
    (i, j), (k, m) = pair.stitches[rows[0]], pair.stitches[rows[-1]]
    word = "~".join(pair.names)

    page.goto(f"{server.url}/scores?pair={word}&tau=0.8&metric=mse&cell={i}-{j}")
    expect(page.get_by_role("heading", name=f"Stitch {i} → {j}")).to_be_visible()
    expect(page.get_by_text("τ = 0.8")).to_be_visible()
    expect(page.get_by_role("heading", name="MSE of (i, j)")).to_be_visible()
    chart = charts(page).first
    ring = chart.locator(".scatterlayer .trace").first.locator("path.point")
    expect(ring.first).to_have_css("opacity", "1")
    settled(page)
    said = parse_qs(urlsplit(page.url).query)
    assert said == {"pair": [word], "tau": ["0.8"], "metric": ["mse"], "cell": [f"{i}-{j}"]}

    # A click opens another stitch; the map itself stays the very same element.
    chart.evaluate("node => { node.dataset.mark = 'same' }")
    click_cell(chart, page, pair, rows[-1])
    expect(page.get_by_role("heading", name=f"Stitch {k} → {m}")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"cell={k}-{m}"))
    expect(ring.last).to_have_css("opacity", "1")
    expect(ring.first).to_have_css("opacity", "0")
    settled(page)
    assert chart.get_attribute("data-mark") == "same"

    # Back gives the first one again.
    page.go_back()
    expect(page.get_by_role("heading", name=f"Stitch {i} → {j}")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"cell={i}-{j}"))
    expect(ring.first).to_have_css("opacity", "1")
    expect(ring.last).to_have_css("opacity", "0")
    click_cell(chart, page, pair, rows[-1])
    expect(page.get_by_role("heading", name=f"Stitch {k} → {m}")).to_be_visible()

    # The next page shows the same pair, τ and score, and its address says so.
    page.get_by_role("link", name="Stitches", exact=True).first.click()
    thumb = page.get_by_role("slider").first
    expect(thumb).to_have_value("0.8")
    spec = change(SMALL, "selection", tau=0.8, metric="mse").selection
    count = int(choose(pair, spec).chosen.sum())
    expect(page.get_by_role("heading", name=f"{count} of {len(rows)} stitches")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/stitches\?.*tau=0\.8"))
    settled(page)
    thumb.focus()
    thumb.press("Home")
    expect(page).to_have_url(re.compile(r"tau=0(&|$)"))
    expect(page.get_by_text("--metric mse --tau 0 --tau-mode")).to_be_visible()

    # Someone else opens that link, while this session goes on with its own.
    context = browser.new_context()
    other = context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("slider").first).to_have_value("0")
    expect(other.get_by_text("--metric mse --tau 0 --tau-mode")).to_be_visible()
    settled(other)
    other.get_by_role("slider").first.press("End")
    expect(other).to_have_url(re.compile(r"tau=1(&|$)"))
    context.close()
    expect(thumb).to_have_value("0")


def test_a_hostile_link_runs_nothing_and_loads_nothing(server, page, computed):
    shutil.copytree(computed[0].root, server.cache, dirs_exist_ok=True)
    asked, dialogs = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    evil = "![a](http://evil.example/a.png)<img src=x onerror=alert(1)>"
    page.goto(f"{server.url}/stitches?tau=abc&buckets=-3&study=digits&tier={evil}")
    page.goto(f"{server.url}/stitches?tau=abc&buckets=-3&pair={evil}&tier={evil}")
    expect(page.get_by_role("heading", name="stitches chosen")).to_be_visible()
    for sentence in ("tau=abc", "buckets=-3", "pair=![a]", "tier=![a]"):
        expect(page.get_by_test_id("stAlert").get_by_text(sentence).first).to_be_visible()
    expect(page.get_by_test_id("stAlert").locator("img, a")).to_have_count(0)
    expect(page).to_have_url(f"{server.url}/stitches")
    settled(page)
    assert not dialogs
    own = (server.url, server.url.replace("http", "ws"), "data:", "blob:")
    assert not [url for url in asked if not url.startswith(own)]
    icons = page.locator("link[rel*=icon]")  # of the tab: headless, it is not asked for
    assert icons.get_attribute("href").startswith(own)
