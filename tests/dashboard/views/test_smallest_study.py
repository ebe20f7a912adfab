"""A study with one pair, one bucket and one candidate: every page shows something sensible."""

import json

import pytest

from dashboard.model.list_entries import entry_of
from klas.pipeline.context import Context
from klas.pipeline.run import Pipeline
from klas.results.formats import dumps
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from klas.study import METRICS, change
from tests.conftest import SMALL
from tests.dashboard.reading import press, session, table, widget
from tests.expected_text import METHODS


@pytest.fixture(scope="module")
def smallest(computed):
    """Such a study, computed; its store's root and its pair."""
    store, document = computed
    richest = max(pairs_of(document), key=lambda p: int(p.in_space.sum()))
    middle = richest.places(choose(richest, SMALL.selection).chosen)[0]
    anchors = tuple(a for a in SMALL.anchors if a.name in richest.names)
    study = change(
        SMALL.model_copy(
            update={"name": "smallest", "anchors": anchors, "pairs": (richest.names,)}
        ),
        "selection",
        buckets=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "candidates", lambda *_: [(middle, True, False)])
        actual = Pipeline(study, store, device="cpu").run()
    (pair,) = pairs_of(actual)
    assert len(pair.macs) == 1
    return store.root, study, pair


@pytest.fixture
def opened(app, smallest, tmp_path):
    """Opens a page of the app on that study."""
    root, study, _ = smallest

    def show(page):
        (tmp_path / "small.toml").write_text(study.to_toml())
        tester = app(root, page)
        assert not tester.error
        assert not tester.warning
        return tester

    return show


def press_well(tester, label):
    press(tester, label)
    assert not tester.error


def name_of(pair):
    return "{} → {}".format(*pair.stitches[0])


def charts(tester):
    return [json.loads(c.proto.spec)["data"] for c in tester.get("plotly_chart")]


def test_scores_show_its_cell_its_card_and_the_best(opened, smallest):
    _, _, pair = smallest
    tester = opened("scores")
    assert list(table(tester, "stitch")["stitch"]) == [name_of(pair)]
    widget(tester, "cell").set_value(pair.places(pair.in_space)[0]).run()
    assert not tester.exception
    assert f"Stitch {name_of(pair)}" in [s.value for s in tester.subheader]
    assert set(table(tester, "rank in its bucket")["rank in its bucket"]) == {"1 of 1"}
    (cells,) = [t for t in charts(tester)[0] if t["type"] == "heatmap"]
    assert (cells["x"], cells["y"]) == ([pair.stitches[0][1]], [pair.stitches[0][0]])


def test_stitches_show_one_chosen_and_its_rivals(opened, smallest):
    _, _, pair = smallest
    tester = opened("stitches")
    assert "1 of 1 stitches chosen" in [s.value for s in tester.subheader]
    assert list(table(tester, "bucket")["stitch"]) == [name_of(pair)]
    names = {t.get("name") for t in charts(tester)[1]}
    assert {"KLAS (Γ) (1)", "CKA (1)", "anchors"} <= names
    assert "All pairs" not in widget(tester, "pair").options
    widget(tester, "tau").set_value(1.0).run()
    assert list(table(tester, "bucket")["stitch"]) == [name_of(pair)]
    press_well(tester, "Add the one to my list")
    assert session(tester).choices["list"] == (entry_of(pair, 0),)


def test_my_list_takes_it_and_compares_it_with_itself(opened, smallest):
    _, study, pair = smallest
    tester = opened("my_list")
    press_well(tester, "Add them")
    assert list(table(tester, "stitch")["stitch"]) == [name_of(pair)]
    theirs = dumps(stitch_list(pair.document, study.selection))
    tester.file_uploader[0].set_value(("theirs.json", theirs, "application/json")).run()
    assert not tester.exception
    assert not tester.error
    assert list(table(tester, "in both")["in both"]) == [1, 1]
    assert charts(tester)


def test_compare_has_a_line_for_every_method(opened, smallest):
    tester = opened("compare")
    assert not [i.value for i in tester.info if "nothing can be compared" in i.value]
    assert list(table(tester, "method")["method"]) == [METHODS[metric] for metric in METRICS]
    assert charts(tester)
