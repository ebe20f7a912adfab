"""Picking anchors and making a study, as a user does it: a real server, a real Chromium."""

import re

import pytest

from klas.storage.store import Store
from klas.study import load_study
from tests.dashboard.server import settled
from tests.small_catalogue import NETWORKS, put_catalogue

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
HEADER, ROW = 35, 35  # pixels of the table, which is drawn on a canvas


def tick(page, row):
    """Tick the box of one row of the table."""
    table = page.get_by_test_id("stDataFrame")
    expect(table).to_have_count(1)  # the old one is gone
    expect(table.locator("canvas").first).to_be_visible()
    settled(page)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + HEADER + ROW * row + ROW // 2)


def heading(page, name):
    return page.get_by_role("heading", name=name, exact=True)


@pytest.mark.slow
def test_a_study_is_made_opened_by_its_link_and_duplicated(server, browser, page, tmp_path):
    store = Store(server.cache)
    put_catalogue(store)
    store.close()
    for name in ("train", "val"):
        (tmp_path / name).mkdir()

    # Ticked rows are picked; a search in between does not lose them.
    page.goto(f"{server.url}/anchors")
    expect(heading(page, "No anchors picked yet")).to_be_visible()
    tick(page, 0)
    expect(heading(page, "1 anchors picked")).to_be_visible()
    page.get_by_placeholder("swin tiny").fill("swin")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 4 networks")).to_be_visible()
    tick(page, 0)
    expect(heading(page, "2 anchors picked")).to_be_visible()
    page.get_by_placeholder("swin tiny").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_text("4 of 4 networks")).to_be_visible()
    expect(heading(page, "2 anchors picked")).to_be_visible()
    tick(page, 2)
    expect(heading(page, "3 anchors picked")).to_be_visible()
    tick(page, 0)  # the table shows what is picked: this one comes off again
    expect(heading(page, "2 anchors picked")).to_be_visible()
    settled(page)

    # A slip is a sentence; the form keeps what was typed.
    page.get_by_label("Name", exact=True).fill("zoo")
    page.get_by_label("Training images", exact=True).fill(str(tmp_path / "absent"))
    page.get_by_label("Validation images", exact=True).fill(str(tmp_path / "val"))
    page.get_by_role("button", name="Make study").click()
    expect(page.get_by_text("there is no folder")).to_be_visible()
    page.get_by_label("Training images", exact=True).fill(str(tmp_path / "train"))
    page.get_by_role("button", name="Make study").click()
    expect(heading(page, "Study: zoo")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?study=zoo$"))
    study = load_study(server.cache / "studies" / "zoo.toml")
    assert {a.model for a in study.anchors} == {NETWORKS[2].tag, NETWORKS[3].tag}

    # The choice stays from page to page, and the link means the same to anybody.
    page.get_by_role("link", name="Scores", exact=True).first.click()
    expect(page.get_by_text("There are no scores yet")).to_be_visible()
    expect(page).to_have_url(re.compile(r"scores\?study=zoo$"))
    page.get_by_role("button", name="Go to Study").click()
    expect(heading(page, "Study: zoo")).to_be_visible()
    link = page.url
    other = browser.new_page()
    other.goto(link)
    expect(heading(other, "Study: zoo")).to_be_visible()
    other.close()

    # A copy is opened at once.
    page.get_by_role("button", name="Duplicate").click()
    page.get_by_label("Name of the copy").fill("zoo copy")
    page.get_by_label("Name of the copy").press("Enter")
    page.get_by_role("button", name="Save the copy").click()
    expect(heading(page, "Study: zoo copy")).to_be_visible()
    assert load_study(server.cache / "studies" / "zoo copy.toml").anchors == study.anchors

    expect(page.get_by_test_id("stException")).to_have_count(0)
    libraries = server.loaded_libraries()
    assert "torch" not in libraries
    assert "timm" not in libraries
