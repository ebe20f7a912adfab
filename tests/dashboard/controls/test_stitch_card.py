"""The scores page: an open stitch, what opens it, and studies that have little to show."""

import base64
import json
import shutil

import numpy as np
import pytest

from dashboard.charts.diagram import alt_text
from dashboard.text.quantities import SHOWN, quantity
from klas.jobs import process
from klas.jobs.kinds import FinetuneJob, RunJob
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.storage.store import Store
from tests.conftest import SMALL
from tests.dashboard.reading import button, follow, labels, look, panel, widget
from tests.stored import training_key

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
    """The studies and jobs that pages start; none is really started."""
    asked = []
    monkeypatch.setattr(process, "start", lambda store, study, job: asked.append((study, job)))
    return asked


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
    return [tuple(squares["customdata"][row][:2]) for row in rows]


def test_the_selector_opens_a_stitch_without_a_mouse(app, computed, pair):
    row, (i, j) = stitch_named(pair, chosen=True)
    tester = app(computed[0].root, "scores")
    select = widget(tester, "cell")
    space = sorted(map(tuple, pair.stitches[pair.in_space]))
    assert select.options == ["none", *("{} → {}".format(*stitch) for stitch in space)]
    select.set_value((i, j)).run()
    assert not tester.exception
    assert panel(tester)[0] == [f"Stitch {i} → {j}"]
    assert tester.query_params == {"cell": f"{i}-{j}"}
    assert ringed(tester) == [(i, j)]
    (drawing,) = [h.proto.body for h in tester.get("html") if 'role="img"' in h.proto.body]
    assert alt_text(pair, row) in drawing
    widget(tester, "cell").set_value(()).run()
    assert panel(tester)[0] == []
    assert tester.query_params == {}
    follow(tester, cell=f"{i}-{j}")
    assert widget(tester, "cell").value == (i, j)


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
    assert started == [(SMALL, RunJob(until="tuned"))]


def test_joint_training_is_the_very_job_of_the_stitches_page(app, computed, pair, started):
    _, (i, j) = stitch_named(pair, chosen=True)
    tester = look(app, computed[0].root, "scores", cell=f"{i}-{j}")
    button(tester, "Train jointly").click().run()
    ((study, job),) = started
    assert job == FinetuneJob(pair=pair.names, metrics=("kl", "snnet"))
    assert study.selection == SMALL.selection


@pytest.mark.parametrize("name", SHOWN[1:-1])
def test_every_quantity_has_its_map_its_words_and_its_address(app, computed, pair, name):
    tester = app(computed[0].root, "scores")
    widget(tester, "show").set_value(name).run()
    assert not tester.exception
    assert not tester.error
    assert tester.query_params == {"show": name}
    what = quantity(name, pair)
    title = next(s for s in tester.subheader if what.reading in s.value)
    assert title.help == what.explanation
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
    assert started == [(SMALL, RunJob(until="tuned"))]
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


@pytest.mark.parametrize("show", ["score", "macs", "cuts"])
@pytest.mark.parametrize("metric", ["kl", "random"])
def test_a_pair_whose_scores_were_interrupted_is_a_sentence(app, changed, metric, show):
    def change(document):
        entry = document["pairs"][1]
        entry["theta"] = entry["theta_target"] = None
        for candidate in entry["candidates"]:
            candidate["scores"] = dict.fromkeys(candidate["scores"])

    root, document = changed(change)
    word = "~".join(pairs_of(document)[1].names)
    tester = look(app, root, "scores", metric=metric, show=show, pair=word, cell="1-1")
    assert not tester.error
    assert tester.info[0].value == (
        "The scores: not computed for this pair yet. Run the stage **scores**."
    )
    assert "Compute up to scores" in labels(tester)


@pytest.fixture
def trained(computed, pair, tmp_path):
    """A copy of the store with a joint training of what is chosen; its accuracies."""
    root = tmp_path / "trained"
    shutil.copytree(computed[0].root, root)
    chosen = choose(pair, SMALL.selection).chosen
    actual = {f"{i}-{j}": 0.5 + 0.01 * k for k, (i, j) in enumerate(pair.places(chosen))}
    store = Store(root)
    store.put(training_key(pair, chosen, SMALL), {"accuracy": actual})
    store.close()
    return root, actual


def test_a_joint_training_has_its_map_of_the_chosen_cells_alone(app, trained):
    root, actual = trained
    tester = app(root, "scores")
    assert "Accuracy: finetuned" in widget(tester, "show").options
    widget(tester, "show").set_value("finetuned").run()
    assert not tester.exception
    assert tester.query_params == {"show": "finetuned"}
    cells, squares = maps(tester)[0]["data"][:2]
    z = np.frombuffer(base64.b64decode(cells["z"]["bdata"]), cells["z"]["dtype"])
    assert sorted(z[np.isfinite(z)]) == pytest.approx([100 * a for a in actual.values()])
    for facts in squares["customdata"]:
        top1 = actual.get(f"{facts[0]}-{facts[1]}")
        told = "not measured" if top1 is None else f"{100 * top1:.1f} %"
        assert facts[5] == f"top-1 after joint training: {told}<br>"
    title = next(s for s in tester.subheader if "finetuned" in s.value)
    assert "trained jointly" in title.help
    assert f"of {len(actual)} chosen stitches" in tester.get("plotly_chart")[0].proto.alt
    # With another choice, which is not trained, the score is shown.
    follow(tester, show="finetuned", tau="0.9", buckets="1")
    assert "Accuracy: finetuned" not in widget(tester, "show").options
    assert widget(tester, "show").value == "score"
    assert any("not trained jointly" in c.value for c in tester.caption)
    assert maps(tester)


def test_every_symbol_of_the_page_is_explained_with_its_formula(app, computed):
    tester = app(computed[0].root, "scores")
    words = " ".join(m.value for m in tester.markdown)
    for name in ("**Ω**", "**Σ**", "**Θ(P, Q) = mean KL(P ‖ Q)**"):
        assert name in words
    assert any("Omega" in m.value and "Gamma" in m.value for m in tester.latex)
    (marks,) = [c for c in tester.caption if "chosen with τ" in c.value]
    assert "score ≤ (1 + τ) · lowest" in marks.help
    assert "w = (high − low) / B" in marks.help
    follow(tester, tau_mode="absolute", cell="1-1")
    (marks,) = [c for c in tester.caption if "chosen with τ" in c.value]
    assert "score ≤ τ" in marks.help
    formulas = next(d for d in tester.dataframe if "formula" in d.value.columns)
    told = json.loads(formulas.proto.columns)["formula"]["help"]
    for name in ("Θ: mean KL(P ‖ Q)", "Ω = Θ(", "Σ = Θ("):
        assert name in told


def test_without_a_joint_training_no_map_of_it_is_offered(app, computed):
    tester = app(computed[0].root, "scores")
    assert "Accuracy: finetuned" not in widget(tester, "show").options


def test_a_pair_without_stitches_says_so_and_still_shows_its_cuts(app, changed):
    def change(document):
        document["pairs"] = document["pairs"][:1]
        document["pairs"][0]["candidates"] = []

    tester = look(app, changed(change)[0], "scores")
    assert "no stitch to choose from" in tester.info[0].value
    assert widget(tester, "cell").options == ["none"]
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
