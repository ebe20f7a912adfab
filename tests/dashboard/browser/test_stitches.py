"""The trade-off in a real Chromium: a click on a curve, the range, the file."""

import json
import re
import shutil

import pytest

from dashboard.session.address import pair_parameter
from klas.results.formats import read
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.storage.store import Store
from klas.study import change
from tests.conftest import SMALL
from tests.dashboard.server import charts, settled
from tests.stored import training_key

pytestmark = pytest.mark.slow

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect


def test_a_click_opens_a_stitch_and_tau_leaves_everything_in_its_place(
    server, page, computed, tmp_path
):
    store, document = computed
    shutil.copytree(store.root, server.cache, dirs_exist_ok=True)
    pair = pairs_of(document)[1]
    chosen = choose(pair, SMALL.selection).chosen
    rows = chosen.nonzero()[0]
    page.goto(f"{server.url}/stitches?pair={pair_parameter(pair)}&curves=&tier=tuned")
    chart = charts(page).nth(1)
    points = chart.locator(".scatterlayer .trace").nth(1).locator("path.point")
    expect(points).to_have_count(len(rows))
    expect(page.get_by_text("Click a stitch on a curve to open it here.")).to_be_visible()

    settled(page)
    # The last point that was drawn is above the others, so nothing takes its click.
    i, j = pair.stitches[rows[-1]]
    chart.evaluate("node => { node.dataset.mark = 'same' }")
    box = points.last.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_text(f"Stitch {i} → {j}:")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"cell={i}-{j}"))
    settled(page)
    assert chart.get_attribute("data-mark") == "same"
    page.get_by_role("button", name="Add to my list").first.click()
    expect(page).to_have_url(re.compile(r"list="))
    settled(page)

    # Another τ: charts and all that lies below stay where they were, with the same axes.
    def places():
        boxes = [chart.bounding_box(), page.get_by_text("What to deploy").bounding_box()]
        return [(round(b["x"]), round(b["y"]), round(b["height"])) for b in boxes]

    def axes():
        return chart.evaluate(
            "node => ['xaxis', 'yaxis'].map(a => node.layout[a].range.map(v => v.toFixed(6)))"
        )

    before = places(), axes()
    thumb = page.get_by_role("slider").first
    thumb.focus()
    thumb.press("End")
    spec = change(SMALL, "selection", tau=1.0).selection
    count = int(choose(pair, spec).chosen.sum())
    heading = page.get_by_role("heading", name=f"{count} of {pair.in_space.sum()} stitches")
    expect(heading).to_be_visible()
    expect(points).to_have_count(count)
    settled(page)
    assert (places(), axes()) == before
    ring = chart.locator(".scatterlayer .trace").last.locator("path.point")
    expect(ring).to_have_count(1)  # around the stitch that is open

    # The file is made when it is asked for: the choice of now.
    expect(page.get_by_text("--tau 1 --tau-mode")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON").click()
    download.value.save_as(tmp_path / "mine.json")
    assert len(read(tmp_path / "mine.json", "klas-stitches")["stitches"]) == count

    # On to the same stitch's page.
    page.get_by_role("link", name="Open on Scores").click()
    expect(page.get_by_role("heading", name=f"Stitch {i} → {j}")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_quick_keys_leave_control_address_and_charts_at_one_tier(server, page, computed):
    """The study's own choice is trained jointly, what τ makes of it is not."""
    shutil.copytree(computed[0].root, server.cache, dirs_exist_ok=True)
    pair = pairs_of(computed[1])[1]
    store = Store(server.cache)
    chosen = choose(pair, SMALL.selection).chosen
    top1 = {f"{i}-{j}": 0.5 for i, j in pair.places(chosen)}
    store.put(training_key(pair, chosen, SMALL), {"accuracy": top1})
    store.close()
    page.goto(f"{server.url}/stitches?pair={pair_parameter(pair)}")
    tiers = page.get_by_role("radiogroup", name="Accuracy")
    shown = tiers.get_by_role("radio", checked=True)
    expect(shown).to_have_text("finetuned")
    settled(page)
    thumb = page.get_by_role("slider").first
    thumb.focus()
    for _ in range(95):
        thumb.press("ArrowRight")
    expect(page.get_by_text("--tau 1 --tau-mode")).to_be_visible()
    settled(page)
    assert thumb.input_value() == "1"
    expect(page).to_have_url(re.compile(r"tau=1(\.0)?(&|$)"))
    assert "tier=" not in page.url
    expect(shown).to_have_text("finetuned")
    expect(page.get_by_text("Not trained jointly yet, so not drawn: KLAS")).to_be_visible()
    chart = charts(page).nth(1)
    assert chart.evaluate("node => node.data.map(trace => trace.name)") == ["anchors"]


def test_a_budget_is_answered_without_touching_the_charts(server, page, computed):
    store, document = computed
    shutil.copytree(store.root, server.cache, dirs_exist_ok=True)
    pair = pairs_of(document)[1]
    page.goto(f"{server.url}/stitches?pair={pair_parameter(pair)}&tier=tuned")
    expect(page.get_by_text("none is more accurate")).to_be_visible()
    chart = charts(page).nth(1)
    settled(page)
    chart.evaluate("node => { node.dataset.mark = 'same' }")
    field = page.get_by_label(re.compile("Budget of MACs"))
    field.fill("0")
    field.press("Enter")
    expect(page.get_by_text("Nothing costs as little as 0 MMACs")).to_be_visible()
    expect(page).to_have_url(re.compile(r"budget=0"))
    settled(page)
    assert chart.get_attribute("data-mark") == "same"
    assert json.loads(chart.evaluate("node => JSON.stringify(node.data.length)")) > 3
