"""The Compare page in Streamlit's own test runner: empty, partial, one pair, all, trained."""

import copy
import json

import numpy as np
import pytest

from klas.jobs.kinds import CompareJob
from klas.pipeline.run import Pipeline
from klas.results.comparison import compare
from klas.results.comparison_view import (
    below_cheap_anchor,
    curve_figure,
    entry_of,
    ranked_candidates,
)
from klas.results.formats import dumps
from klas.results.pair import pairs_of
from klas.results.resampling import REPLICATES, ResampledStudy, Trained
from klas.study import METRICS, change
from tests.conftest import SMALL
from tests.dashboard.reading import captions, table, widget
from tests.expected_text import METHODS, tally, whole, with_interval

TRAIN = "Train every method jointly"
QUICK = change(SMALL, "finetuning", steps=1)  # budgets of no step and one


def charts(tester):
    """Every chart by its key."""
    actual = {}
    for chart in tester.get("plotly_chart"):
        spec = json.loads(chart.proto.spec)
        actual[chart.proto.id.split("-")[-1]] = {t.get("name"): t for t in spec["data"]}
    return actual


def buttons(tester):
    return [b.label for b in tester.button]


def test_before_a_first_run_it_says_what_to_do(app, tmp_path):
    tester = app(tmp_path / "empty", "compare")
    assert "There are no scores yet" in tester.info[0].value


def test_without_tuned_accuracies_it_names_the_stage_to_run(app, copied, computed):
    store, document = copied, computed[1]
    store.clear("tuned")
    partial = copy.deepcopy(document)
    for pair in partial["pairs"]:
        for candidate in pair["candidates"]:
            candidate["accuracy"]["tuned"] = None
    store.set_ref(f"scores-{SMALL.results_key()}", partial)
    tester = app(store.root, "compare")
    assert "run `klas run --until tuned`" in tester.info[0].value
    assert buttons(tester) == ["Go to Study"]
    assert not tester.get("plotly_chart")


def test_one_pair_shows_curves_scores_and_the_table(app, computed, comparison):
    store, document = computed
    richest = max(pairs_of(document), key=lambda p: p.in_space.sum())
    entry = entry_of(comparison, richest.names)
    tester = app(store.root, "compare")
    drawn = charts(tester)
    assert {"curves_chart", "score_chart"} <= set(drawn)
    shown = table(tester, "method")
    assert shown["method"].tolist() == [METHODS[m] for m in METRICS]
    assert shown["chosen"].tolist() == [len(entry["chosen"][m]) for m in METRICS]
    assert shown[f"hits of {entry['buckets']}"].tolist() == [
        tally(entry["methods"][m]["overlap"]) for m in METRICS
    ]
    assert shown[f"holds of {entry['buckets']}"].tolist() == [
        tally(entry["methods"][m]["containment"]) for m in METRICS
    ]
    assert shown["mean top-1 (%)"].tolist() == [
        with_interval(curve_figure(entry["methods"][m], "tuned", "mean_top1"), scale=100, digits=1)
        for m in METRICS
    ]
    assert shown["candidates"].tolist() == [ranked_candidates(entry["methods"][m]) for m in METRICS]
    assert shown["candidates"][0] == entry["methods"]["kl"]["spearman_within"]["candidates"] > 0
    for column, name, scale, digits in (
        ("greatest gain", "greatest_gain", 100, 1),
        ("greatest saving", "greatest_saving", 1, 2),
        ("area_top1 (%)", "area_top1", 100, 1),
    ):
        assert shown[column].tolist() == [
            with_interval(
                curve_figure(entry["methods"][m], "tuned", name), scale=scale, digits=digits
            )
            for m in METRICS
        ]
    said = captions(tester)
    assert "as many candidates in each bucket" in said
    assert "300 validation samples" in said
    assert f"Chance alone hits {whole(entry['chance']['value'])} of {entry['buckets']}" in said
    assert f"Spearman's ρ {with_interval(entry['methods']['kl']['spearman'])}" in said
    widget(tester, "score").set_value("cka").run()
    assert not tester.exception
    assert f"Spearman's ρ {with_interval(entry['methods']['cka']['spearman'])}" in captions(tester)
    widget(tester, "tier").set_value("zero_shot").run()
    assert table(tester, "method")["mean top-1 (%)"].tolist() == [
        with_interval(
            curve_figure(entry["methods"][m], "zero_shot", "mean_top1"), scale=100, digits=1
        )
        for m in METRICS
    ]


def test_it_compares_with_the_selection_made_on_another_page(app, computed, comparison):
    store, document = computed
    richest = max(pairs_of(document), key=lambda p: p.in_space.sum())
    tester = app(store.root, "stitches")
    widget(tester, "tau").set_value(0.8).run()
    tester.switch_page("views/compare.py").run()
    assert not tester.exception
    study = change(SMALL, "selection", tau=0.8)
    entry = entry_of(compare(document, study, store), richest.names)
    assert table(tester, "method")["chosen"].tolist() == [len(entry["chosen"][m]) for m in METRICS]
    assert len(entry["chosen"]["kl"]) > len(entry_of(comparison, richest.names)["chosen"]["kl"])
    assert "τ = 0.8 (relative)" in captions(tester)
    assert all("--tau 0.8 --tau-mode relative" in c.value for c in tester.code)


def test_all_pairs_show_agreement_instead_of_curves(app, computed, comparison):
    tester = app(computed[0].root, "compare")
    widget(tester, "pair").set_value("All pairs").run()
    assert not tester.exception
    drawn = charts(tester)
    assert "agreement_chart" in drawn
    assert "curves_chart" not in drawn
    buckets = sum(p["buckets"] for p in comparison["pairs"])
    methods = comparison["all_pairs"]["methods"]
    assert table(tester, "method")[f"hits of {buckets}"].tolist() == [
        tally(methods[m]["overlap"]) for m in METRICS
    ]
    assert "Curves and areas here: 5 of 6 pairs" in captions(tester)  # one has no SN-Net set
    widget(tester, "tier").set_value("finetuned").run()
    assert not tester.exception
    assert "--pair" not in "".join(c.value for c in tester.code)


def test_where_no_stitch_reaches_the_cheap_anchor_it_says_why_figures_are_alike(
    app, computed, comparison, monkeypatch
):
    store, document = computed
    comparison = copy.deepcopy(comparison)
    richest = max(pairs_of(document), key=lambda p: p.in_space.sum())
    entry = entry_of(comparison, richest.names)
    said = below_cheap_anchor(comparison, [entry], "tuned")
    tester = app(store.root, "compare")
    assert f"{said} **auc_stitches**" in captions(tester)
    areas = table(tester, "method").set_index("method")["auc"]
    assert areas.pop("race") == "–"  # at this tier it has none
    assert {cell.split()[0] for cell in areas} == {"0.00"}
    widget(tester, "pair").set_value("All pairs").run()
    every = below_cheap_anchor(comparison, comparison["pairs"], "tuned")
    assert every in captions(tester)
    entry["chosen"]["dm"][0]["accuracy"]["tuned"] = 0.999
    monkeypatch.setattr("klas.results.comparison.compare", lambda *_: comparison)
    assert "below the cheap anchor" not in captions(app(store.root, "compare"))


def test_what_is_trained_meanwhile_fills_the_page(app, copied, computed, tmp_path, monkeypatch):
    store, document = copied, computed[1]
    (tmp_path / "small.toml").write_text(QUICK.to_toml())  # what is shown, from its next run on
    (pair,) = [p for p in pairs_of(document) if p.names == ("digits_vit_tiny", "digits_vit_small")]
    tester = app(store.root, "compare")
    widget(tester, "pair").set_value(pair.name).run()
    widget(tester, "tier").set_value("finetuned").run()
    assert "budget_chart" not in charts(tester)
    assert "curves_chart" not in charts(tester)
    assert any("Still to be trained" in i.value for i in tester.info)
    assert f"--compare --pair {' '.join(pair.names)}" in tester.code[0].value

    started = []
    monkeypatch.setattr(
        "klas.jobs.process.start", lambda *job: started.append(job) or "0123456789abcdef"
    )
    next(b for b in tester.button if b.label == TRAIN).click().run()
    ((_, study, job),) = started
    assert job == CompareJob(pairs=(pair.names,))
    assert study == QUICK

    assert Pipeline(QUICK, store, device="cpu").finetune_methods([pair]) == []
    tester.run()
    assert not tester.exception
    assert TRAIN not in buttons(tester)
    drawn = charts(tester)
    entry = entry_of(compare(document, QUICK, store), pair.names)
    assert len(drawn["budget_chart"]["CKA"]["x"]) == 2
    assert "at each budget all were trained for the same number of steps" in captions(tester)
    assert f"KLAS (Γ) ({len(entry['chosen']['kl'])})" in drawn["curves_chart"]
    assert table(tester, "method")["mean top-1 (%)"].tolist() == [
        with_interval(entry["methods"][m]["finetuned"]["mean_top1"], scale=100, digits=1)
        for m in METRICS
    ]
    assert "200 samples of the test split" in captions(tester)
    widget(tester, "budget_figure").set_value("auc_stitches").run()
    assert not tester.exception
    widget(tester, "pair").set_value("All pairs").run()
    assert not tester.exception
    assert "Mean over 1 of 6 pairs" in captions(tester)
    assert TRAIN in buttons(tester)


def test_midway_the_line_over_budgets_is_of_the_pairs_that_have_them_all(
    app, copied, computed, monkeypatch
):
    store, document = copied, computed[1]
    budgets = dict(zip([p.names for p in pairs_of(document)], [(0, 1, 3, 12), (0, 1), (0, 1, 3)]))

    def accuracy(self, pair, chosen, steps, racing):
        if not chosen.any() or steps not in budgets.get(pair.names, ()):
            return None
        rng = np.random.default_rng([steps, *map(len, pair.names)])
        return Trained(chosen, rng.uniform(0.2, 0.9, (REPLICATES + 1, int(chosen.sum()))))

    monkeypatch.setattr(ResampledStudy, "trained_accuracy", accuracy)
    whole = compare(document, SMALL, store)["pairs"][0]["methods"]
    tester = app(store.root, "compare")
    widget(tester, "pair").set_value("All pairs").run()
    assert not tester.exception
    assert "Mean over 1 of 6 pairs: those with every budget shown" in captions(tester)
    for metric in METRICS:
        means = [100 * b["mean_top1"]["value"] for b in whole[metric]["budgets"].values()]
        assert charts(tester)["budget_chart"][METHODS[metric]]["y"] == pytest.approx(means)


def test_the_file_is_what_the_command_writes(app, computed, comparison, monkeypatch):
    given = []
    monkeypatch.setattr("streamlit.download_button", lambda label, data, **_: given.append(data))
    tester = app(computed[0].root, "compare")
    assert given[-1] == dumps(comparison)
    assert tester.code[-1].value.startswith("klas compare ")
    assert "--out comparison-small.json" in tester.code[-1].value
