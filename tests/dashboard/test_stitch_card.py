"""The scores page: an open stitch, what opens it, and studies that have little to show."""

import base64
import json
import shutil

import numpy as np
import pytest

from dashboard.diagram import in_words
from dashboard.quantities import QUANTITIES
from klas import jobs
from klas.results import choose, pairs_of
from tests.conftest import SMALL
from tests.dashboard.test_links import follow, look, panel

EVIL = "<img src=x onerror=alert(1)> ![a](http://evil.example/a.png)"


@pytest.fixture
def pair(computed):
    """The pair that the page shows at first."""
    return max(pairs_of(computed[1]), key=lambda p: p.in_space.sum())


@pytest.fixture
def changed(computed, tmp_path):
    """A copy of the store whose document was changed."""

    def make(change):
        store, document = computed
        root = tmp_path / "changed"
        shutil.copytree(store.root, root)
        copy = json.loads(json.dumps(document))
        change(copy)
        (root / "refs" / f"scores-{SMALL.results_key()}.json").write_text(json.dumps(copy))
        return root, copy

    return make


@pytest.fixture
def started(monkeypatch):
    """The tasks of jobs that pages start; none is really started."""
    tasks = []
    monkeypatch.setattr(jobs, "start", lambda store, study, task: tasks.append((study, task)))
    return tasks


def button(tester, label):
    return next(b for b in tester.button if b.label == label)


def labels(tester):
    return [b.label for b in tester.button]


def stitch_named(pair, *, chosen):
    """(i, j) of the first stitch that is chosen, or of the first that is not."""
    picked = choose(pair, SMALL.selection)
    rows = (pair.in_space & (picked.chosen == chosen)).nonzero()[0]
    return int(rows[0]), tuple(int(n) for n in pair.stitches[rows[0]])


def maps(tester):
    return [json.loads(c.proto.spec) for c in tester.get("plotly_chart")]


def ringed(tester):
    """The cells that the map draws a ring on."""
    squares = maps(tester)[0]["data"][1]
    points = squares["selectedpoints"]
    rows = np.frombuffer(base64.b64decode(points["bdata"]), points["dtype"])
    return [tuple(int(n) for n in squares["customdata"][row][:2]) for row in rows]


def test_the_selector_opens_a_stitch_without_a_mouse(app, computed, pair):
    row, (i, j) = stitch_named(pair, chosen=True)
    tester = app(computed[0].root, "scores")
    select = tester.selectbox(key="widget:cell")
    space = sorted(map(tuple, pair.stitches[pair.in_space]))
    assert select.options == ["none", *("{} → {}".format(*stitch) for stitch in space)]
    select.set_value((i, j)).run()
    assert not tester.exception
    assert panel(tester)[0] == [f"Stitch {i} → {j}"]
    assert tester.query_params == {"cell": f"{i}-{j}"}
    assert ringed(tester) == [(i, j)]
    (drawing,) = [h.proto.body for h in tester.get("html") if 'role="img"' in h.proto.body]
    assert in_words(pair, row) in drawing
    tester.selectbox(key="widget:cell").set_value(()).run()
    assert panel(tester)[0] == []
    assert tester.query_params == {}
    follow(tester, cell=f"{i}-{j}")
    assert tester.selectbox(key="widget:cell").value == (i, j)


def test_a_stitch_goes_on_the_list_and_off_again(app, computed, pair):
    _, (i, j) = stitch_named(pair, chosen=False)
    tester = look(app, computed[0].root, "scores", cell=f"{i}-{j}")
    button(tester, "Add to my list").click().run()
    word = "~".join(pair.names)
    assert tester.query_params == {"cell": f"{i}-{j}", "list": f"{word}:{i}-{j}"}
    assert "Add to my list" not in labels(tester)
    button(tester, "Remove from my list").click().run()
    assert tester.query_params == {"cell": f"{i}-{j}"}
    assert "Add to my list" in labels(tester)


def test_what_is_measured_has_no_button(app, computed, pair):
    _, (i, j) = stitch_named(pair, chosen=False)
    tester = look(app, computed[0].root, "scores", cell=f"{i}-{j}")
    assert not [label for label in labels(tester) if label.startswith(("Measure", "Train"))]
    _, (i, j) = stitch_named(pair, chosen=True)
    follow(tester, cell=f"{i}-{j}")
    assert "Train jointly" in labels(tester)


def test_a_missing_accuracy_has_a_button_that_starts_its_stage(app, changed, pair, started):
    def change(document):
        for candidate in document["pairs"][pair.index]["candidates"]:
            candidate["accuracy"]["tuned"] = None

    root, _ = changed(change)
    _, (i, j) = stitch_named(pair, chosen=True)
    tester = look(app, root, "scores", cell=f"{i}-{j}")
    assert "Measure zero_shot" not in labels(tester)
    button(tester, "Measure tuned").click().run()
    assert not tester.exception
    assert started == [(SMALL, {"kind": "run", "until": "tuned"})]


def test_joint_training_is_the_very_job_of_the_stitches_page(app, computed, pair, started):
    _, (i, j) = stitch_named(pair, chosen=True)
    tester = look(app, computed[0].root, "scores", cell=f"{i}-{j}")
    button(tester, "Train jointly").click().run()
    ((study, task),) = started
    assert task == {"kind": "finetune", "pair": list(pair.names), "metrics": ["kl", "snnet"]}
    assert study.selection == SMALL.selection


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_has_its_map_its_words_and_its_address(app, computed, name):
    tester = app(computed[0].root, "scores")
    tester.selectbox(key="widget:show").set_value(name).run()
    assert not tester.exception
    assert not tester.error
    assert tester.query_params == {"show": name}
    what = QUANTITIES[name]
    title = next(s for s in tester.subheader if what.reading in s.value)
    assert title.help == what.words
    (chart,) = maps(tester)
    assert chart["data"][0]["type"] == "heatmap"
    alternative = tester.get("plotly_chart")[0].proto.alt
    assert what.reading in alternative
    assert alternative in [c.value for c in tester.caption]


def test_what_is_not_measured_says_so_in_place_of_the_map(app, changed, pair, started):
    def change(document):
        for candidate in document["pairs"][pair.index]["candidates"]:
            candidate["accuracy"]["tuned"] = None

    root, _ = changed(change)
    tester = look(app, root, "scores", show="tuned")
    assert "tuned top-1 (%): not computed for this pair yet." in tester.info[0].value
    assert not maps(tester)
    button(tester, "Compute up to tuned").click().run()
    assert started == [(SMALL, {"kind": "run", "until": "tuned"})]
    assert maps(follow(tester, show="zero_shot"))


def test_a_score_that_is_not_computed_says_so(app, changed, pair):
    def change(document):
        for candidate in document["pairs"][pair.index]["candidates"]:
            candidate["scores"]["dm"] = None

    root, _ = changed(change)
    tester = look(app, root, "scores", metric="dm", cell="1-1")
    assert "DM: not computed for this pair yet." in tester.info[0].value
    assert "Compute up to scores" in labels(tester)
    follow(tester, cell="1-1")
    titles, (scores,) = panel(tester)
    assert titles == ["Stitch 1 → 1"]
    assert dict(zip(scores["score"], scores["rank in its bucket"]))["DM"] == "–"


def test_a_pair_without_stitches_says_so_and_still_shows_its_cuts(app, changed):
    def change(document):
        document["pairs"] = document["pairs"][:1]
        document["pairs"][0]["candidates"] = []

    tester = look(app, changed(change)[0], "scores")
    assert "no stitch to choose from" in tester.info[0].value
    assert tester.selectbox(key="widget:cell").options == ["none"]
    assert maps(follow(tester, show="cuts"))


def test_one_pair_with_one_stitch_in_one_bucket(app, changed):
    def change(document):
        document["pairs"] = document["pairs"][:1]
        del document["pairs"][0]["candidates"][1:]

    tester = look(app, changed(change)[0], "scores", buckets="1", cell="1-1")
    assert panel(tester)[0] == ["Stitch 1 → 1"]
    assert maps(tester)
    assert not tester.error


def test_infinite_scores_are_shown_as_such(app, changed, pair):
    def change(document):
        for candidate in document["pairs"][pair.index]["candidates"]:
            candidate["scores"]["kl"] = "inf"

    tester = look(app, changed(change)[0], "scores", cell="1-1")
    assert "Γ: no value is finite." in [c.value for c in tester.caption]
    _, (scores,) = panel(tester)
    assert scores["value"][0] == float("inf")
    assert maps(tester)


def test_names_with_markup_in_them_are_text(app, changed):
    def change(document):
        names = {a["name"]: f"{EVIL} {k}" for k, a in enumerate(document["anchors"])}
        for anchor in document["anchors"]:
            anchor["name"] = names[anchor["name"]]
            anchor["cuts"] = [EVIL] * len(anchor["cuts"])
        for pair in document["pairs"]:
            pair.update(source=names[pair["source"]], target=names[pair["target"]])

    root, _ = changed(change)
    tester = look(app, root, "scores", cell="1-1")
    assert panel(tester)[0] == ["Stitch 1 → 1"]
    for element in [*tester.markdown, *tester.caption, *tester.subheader]:
        assert "![a](http" not in element.value
        assert "<img" not in element.value.replace("\\<img", "")
    drawing = next(h.proto.body for h in tester.get("html") if 'role="img"' in h.proto.body)
    assert "<img" not in drawing
    assert "<img" not in tester.get("plotly_chart")[0].proto.spec
