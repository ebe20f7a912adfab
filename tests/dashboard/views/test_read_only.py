"""Every page on a read-only cache."""

import pytest

from tests.dashboard.conftest import APP
from tests.dashboard.reading import press
from tests.readonly import read_only

PAGES = sorted(path.stem for path in (APP.parent / "views").glob("[!_]*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_what_is_stored_and_says_that_nothing_can_be_added(
    app, copied, monkeypatch, page
):
    copied.close()
    with read_only(copied.root, monkeypatch):
        tester = app(copied.root, None if page == "study" else page)
        assert not tester.exception
        assert not tester.error
    assert any("is read-only" in info.value for info in tester.info)


def test_a_button_that_would_free_says_why_it_cannot(app, copied, monkeypatch):
    copied.close()
    with read_only(copied.root, monkeypatch):
        tester = app(copied.root, "cache")
        press(tester, next(b.label for b in tester.button if b.label.startswith("Yes, free")))
        (error,) = tester.error
        assert r"is read\-only\; nothing can be added or deleted" in error.value
