"""Every page in Streamlit's own test runner: empty, partial and full."""

import json

import pytest

from dashboard.controls.tour import STOPS
from dashboard.text.quantities import HELD_BEST
from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.results.refs import scores_ref
from klas.results.selections import choose
from klas.storage.store import Store
from klas.study import change
from tests.conftest import SMALL
from tests.dashboard.reading import command, press, widget


def headings(tester):
    return [s.value for s in tester.subheader]


@pytest.mark.parametrize("page", ["scores", "stitches"])
def test_before_a_first_run_each_page_says_what_to_do(app, tmp_path, page):
    tester = app(tmp_path / "empty", page)
    assert "There are no scores yet" in tester.info[0].value


def test_the_first_page_offers_to_compute(app, tmp_path):
    tester = app(tmp_path / "empty")
    assert tester.button[0].label == "Compute everything"
    assert headings(tester) == ["Study: small"]


def test_a_partial_run_shows_what_there_is(app, tmp_path):
    store = Store(tmp_path / "partial")
    Pipeline(SMALL, store, device="cpu").run("anchors")
    store.close()
    tester = app(tmp_path / "partial")
    assert tester.button[0].label == "Compute everything"
    assert "Anchors" in headings(tester)
    assert "Not computed yet." in [c.value for c in tester.caption]


def test_a_full_run_shows_the_anchors_as_the_document_has_them(app, computed):
    store, document = computed
    tester = app(store.root)
    table = tester.dataframe[0].value
    assert table["anchor"].tolist() == [a["name"] for a in document["anchors"]]
    assert table["top-1 (%)"].tolist() == pytest.approx(
        [100 * a["accuracy"] for a in document["anchors"]]
    )
    assert "Compute everything" not in [b.label for b in tester.button]


def test_files_that_are_no_images_are_told_of(app, copied):
    name = scores_ref(SMALL.results_key())
    document = copied.get_ref(name)
    document["data"]["train"]["passed_over"] = {".heic": 2, ".txt": 1}
    copied.set_ref(name, document)
    (said,) = (i.value for i in app(copied.root).info)
    assert said.startswith("Files whose names are not those of images were left out: ")
    assert said.endswith(": 2 .heic, 1 .txt beside the training images.")


def test_what_to_know_before_trusting_a_study_is_said_on_its_page(app, copied):
    name = scores_ref(SMALL.results_key())
    document = copied.get_ref(name)
    document["pairs"][0]["diverged"] = [[1, 1], [2, 1]]
    copied.set_ref(name, document)
    (said,) = (w.value for w in app(copied.root).warning)
    assert "the tuning of 2 of" in said
    assert "1 → 1" in said
    document["anchors"][0]["probe_converged"][1] = False
    copied.set_ref(name, document)
    (said,) = (w.value for w in app(copied.root).warning)
    assert [line[:2] for line in said.splitlines()] == ["- ", "- "]


def shown_stitches(tester):
    table = next(d.value for d in tester.dataframe if "stitch" in d.value.columns)
    return set(table["stitch"])


def expected(pair, **values):
    chosen = choose(pair, change(SMALL, "selection", **values).selection).chosen
    return {f"{i} → {j}" for i, j in pair.stitches[chosen]}


def test_the_table_follows_tau_buckets_binning_and_pair(app, computed):
    store, document = computed
    pairs = pairs_of(document)
    tester = app(store.root, "stitches")
    richest = max(pairs, key=lambda p: p.in_space.sum())
    assert shown_stitches(tester) == expected(richest)
    widget(tester, "tau").set_value(0.8).run()
    assert shown_stitches(tester) == expected(richest, tau=0.8)
    widget(tester, "buckets").set_value(2).run()
    assert shown_stitches(tester) == expected(richest, tau=0.8, buckets=2)
    widget(tester, "pair").set_value(pairs[2].name).run()
    assert shown_stitches(tester) == expected(pairs[2], tau=0.8, buckets=2)
    assert not tester.exception


def test_a_choice_made_on_one_page_is_kept_on_the_next(app, computed):
    tester = app(computed[0].root, "stitches")
    widget(tester, "tau").set_value(0.5).run()
    tester.switch_page("views/scores.py").run()
    assert any("τ = 0.5" in c.value for c in tester.caption)
    tester.switch_page("views/stitches.py").run()
    assert widget(tester, "tau").value == 0.5


def every_chosen(tester):
    """The table of all pairs' choices."""
    return next(d.value for d in tester.dataframe if {"pair", "stitch"} <= {*d.value.columns})


@pytest.mark.parametrize("metric", ["theta", "theta_ce", "cka", "mse", "ce", "dm", "random"])
def test_any_score_can_choose_and_the_command_says_which(app, computed, metric):
    store, document = computed
    richest = max(pairs_of(document), key=lambda p: p.in_space.sum())
    tester = app(store.root, "stitches")
    widget(tester, "metric").set_value(metric).run()
    assert not tester.exception
    assert widget(tester, "metric").help.endswith(HELD_BEST)
    assert shown_stitches(tester) == expected(richest, metric=metric)
    assert f"--metric {metric} " in command(tester, "klas select")
    widget(tester, "pair").set_value("All pairs").run()
    table = every_chosen(tester)
    assert len(table) == sum(len(expected(p, metric=metric)) for p in pairs_of(document))
    tester.switch_page("views/scores.py").run()
    assert widget(tester, "metric").value == metric


def test_snnets_set_is_no_score_and_stands_beside_klas(app, computed, tmp_path):
    store, document = computed
    tester = app(store.root, "stitches")
    own = change(SMALL, "selection", metric="snnet")
    (tmp_path / "small.toml").write_text(own.to_toml())
    tester.run()
    assert widget(tester, "metric").value == "kl"
    assert "snnet" not in widget(tester, "metric").options
    richest = max(pairs_of(document), key=lambda p: p.in_space.sum())
    assert shown_stitches(tester) == expected(richest)
    assert "--metric kl" in command(tester, "klas select")


def test_the_heatmap_is_on_the_scores_page(app, computed):
    tester = app(computed[0].root, "scores")
    specs = [json.loads(c.proto.spec) for c in tester.get("plotly_chart")]
    assert specs[0]["data"][0]["type"] == "heatmap"


def test_a_broken_study_file_is_a_sentence_not_a_traceback(app, tmp_path, monkeypatch):
    tester = app(tmp_path / "empty")
    (tmp_path / "small.toml").write_text("name = [[[")
    tester.run()
    assert not tester.exception
    assert "not valid TOML" in tester.error[0].value


def test_all_pairs_share_one_front(app, computed):
    store, document = computed
    pairs = pairs_of(document)
    tester = app(store.root, "stitches")
    widget(tester, "pair").set_value("All pairs").run()
    assert not tester.exception
    table = every_chosen(tester)
    chosen = {(p.name, s) for p in pairs for s in expected(p)}
    assert set(zip(table["pair"], table["stitch"])) == chosen
    (chart,) = [json.loads(c.proto.spec) for c in tester.get("plotly_chart")]
    names = [trace["name"] for trace in chart["data"]]
    assert names[0] == "Pareto front"
    assert all(any(n.startswith(p.name) for n in names) for p in pairs)
    anchors = next(t for t in chart["data"] if t["name"] == "anchors")
    assert set(anchors["text"]) == {a["name"] for a in document["anchors"]}
    widget(tester, "tau").set_value(0.8).run()
    table = every_chosen(tester)
    assert len(table) == sum(len(expected(p, tau=0.8)) for p in pairs)
    assert "--pair" not in command(tester, "klas select")


def test_another_page_shows_one_pair_after_all_pairs(app, computed):
    tester = app(computed[0].root, "stitches")
    widget(tester, "pair").set_value("All pairs").run()
    tester.switch_page("views/scores.py").run()
    assert not tester.exception
    assert "All pairs" not in widget(tester, "pair").options


def test_what_is_chosen_can_be_measured_on_every_validation_image(app, computed):
    store, document = computed
    pair = pairs_of(document)[1]
    tester = app(store.root, "stitches")
    widget(tester, "pair").set_value(pair.name).run()
    label = "Measure what is chosen on all 10,000 validation images"
    assert label in [b.label for b in tester.button]
    assert "--full-val" not in command(tester, "klas select")
    chosen = choose(pair, SMALL.selection).chosen
    actual = Pipeline(SMALL, store, device="cpu").full_validation(pair, chosen, "tuned")
    tester.run()
    assert label not in [b.label for b in tester.button]
    assert "--full-val --tier tuned" in command(tester, "klas select")
    gaps = [
        100 * (actual["accuracy"][f"{i}-{j}"] - seen)
        for (i, j), seen in zip(pair.stitches[chosen], pair.accuracy("tuned")[chosen])
    ]
    words = f"{sum(gaps) / len(gaps):+.1f} points on average against the 300"
    assert any(words in caption.value for caption in tester.caption)


def test_the_built_in_study_has_a_guided_path_until_it_is_hidden(app, computed, monkeypatch):
    way = "**A tour of the app, on the built-in study**"
    tester = app(computed[0].root)
    assert way not in [m.value for m in tester.markdown]
    monkeypatch.setattr("klas.study.DIGITS", SMALL)
    tester = app(computed[0].root)
    assert way in [m.value for m in tester.markdown]
    next(b for b in tester.button if b.label == "Hide").click().run()
    assert not tester.exception
    assert way not in [m.value for m in tester.markdown]


def test_the_guided_path_leads_from_page_to_page(app, computed, monkeypatch):
    monkeypatch.setattr("klas.study.DIGITS", SMALL)
    tester = app(computed[0].root)
    press(tester, STOPS[0].name)
    for k, stop in enumerate(STOPS):
        assert not tester.exception
        assert [t.value for t in tester.title] == [stop.heading]
        assert f"**{k + 1} of {len(STOPS)}.** {stop.task}" in [m.value for m in tester.markdown]
        if k + 1 < len(STOPS):
            press(tester, f"Next: {STOPS[k + 1].name}")
    press(tester, "End the tour")
    assert not [m for m in tester.markdown if m.value.startswith("**5 of 5.**")]
    tester.switch_page("views/study.py").run()
    assert "**A tour of the app, on the built-in study**" not in [m.value for m in tester.markdown]
