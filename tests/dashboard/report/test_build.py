"""The report of a study: everything that the pages show, and what is missing by its name."""

import copy
import json
import re
from html import unescape

import pytest

from dashboard.report.build import study_report, unscored
from dashboard.report.comparison import ALL_PAIRS, budget_figures
from klas.pipeline.run import Pipeline
from klas.results.accuracies import finetuned_accuracy
from klas.results.anchor_notes import anchor_notes
from klas.results.comparison import compare
from klas.results.comparison_view import entry_of, ranked_candidates
from klas.results.formats import dumps
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from klas.study import METRICS, SETS, change
from tests.conftest import SMALL
from tests.expected_text import METHODS, percent, tally, with_interval
from tests.marked_costs import mark_costs


def report(store, document, study=SMALL, own=None, spec=None):
    return study_report(document, study, spec or study.selection, own, store).decode()


def figures(page):
    """Every figure by its place in the address: its traces."""
    specs = re.findall(
        r'<figure id="([\w-]+)">.*?<script type="application/json">(.*?)</script>', page
    )
    return {name: json.loads(spec)["data"] for name, spec in specs}


def rows(page, title):
    """The cells of the tables with a title, line by line."""
    tables = re.findall(r"<table>(.*?)</table>", page, flags=re.S)
    return [
        [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", line)]
        for text in tables
        if title in text
        for line in re.findall(r"<tr>(.*?)</tr>", text.split("<tbody>")[1])
    ]


def stitchable(document):
    return [pair for pair in pairs_of(document) if pair.in_space.any()]


def test_it_has_every_pair_and_loads_nothing(computed):
    store, document = computed
    study = SMALL.model_copy(update={"name": "<script>alert(1)</script>"})
    made = json.loads(dumps(stitch_list(document, SMALL.selection)))
    page = report(store, document, study, made)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"""(src|href)=["']?(http|//)""", page.split("</head>")[1])
    drawn = figures(page)
    pairs = stitchable(document)
    each = [f"{name}-{p.index}" for p in pairs for name in ("gamma", "choice", "curve", "score")]
    assert set(drawn) == {"anchors", "probes", "front", "agreement", "list", *each}
    for pair in pairs:
        assert f'href="#pair-{pair.index}">{pair.name}</a>' in page
        for i, j in pair.places(choose(pair, SMALL.selection).chosen):
            assert f"<td>{i} → {j}</td>" in page
    for anchor in document["anchors"]:
        assert f"<td>{anchor['name']}</td>" in page
        assert f"{anchor['params']:,}" in page
    for library, version in document["made_with"].items():
        assert library == "splitter" or f"{library} {version}" in page
    assert "buckets = 4" in page


def test_an_anchor_may_be_called_anything(computed):
    store, document = computed
    name, evil = document["anchors"][0]["name"], "</script><script>alert('1')</script> & co"
    document = json.loads(json.dumps(document).replace(f'"{name}"', json.dumps(evil)))
    page = report(store, document)
    assert "<script>alert" not in page
    assert page.count("<script") == page.count("</script>")
    cells = [row[0] for row in rows(page, "last probe")]
    assert cells == [a["name"] for a in document["anchors"]]
    assert evil in cells
    assert len(figures(page)["anchors"]) > len(cells)  # a marker each, and lines between them


def test_curves_are_of_all_methods_and_the_legend_switches_them(computed):
    store, document = computed
    pair = max(stitchable(document), key=lambda p: p.in_space.sum())
    traces = figures(report(store, document))[f"curve-{pair.index}"]
    seen = {t["legendgroup"]: t.get("visible", True) for t in traces if t.get("legendgroup")}
    others = set(METRICS) - {"race"}  # which has stitches of its own at tier finetuned alone
    assert seen == {m: True if m in ("kl", "cka", "snnet") else "legendonly" for m in others}


def test_the_comparison_is_the_document_of_the_compare_command(computed, comparison):
    store, document = computed
    page = report(store, document)
    buckets = sum(p["buckets"] for p in comparison["pairs"])
    places = [*comparison["pairs"], {**comparison["all_pairs"], "buckets": buckets}]
    expected = [
        [
            METHODS[m],
            *([] if "chosen" not in place else [str(len(place["chosen"][m]))]),
            tally(place["methods"][m]["overlap"]),
            tally(place["methods"][m]["containment"]),
            with_interval(place["methods"][m]["spearman"]),
            with_interval(place["methods"][m]["spearman_within"]),
            str(ranked_candidates(place["methods"][m])),
        ]
        for place in places
        for m in METRICS
    ]
    assert rows(page, "Agreement with the best") == expected
    methods = comparison["all_pairs"]["methods"]
    (best,) = [r for r in rows(page, "Curves, tier tuned, 300 validation samples, mean over 5")
               if r[0] == METHODS["cka"]]  # fmt: skip
    assert best[1:] == [
        with_interval(methods["cka"]["tuned"]["mean_top1"], scale=100, digits=1),
        with_interval(methods["cka"]["tuned"]["auc"]),
        with_interval(methods["cka"]["tuned"]["auc_stitches"]),
        with_interval(methods["cka"]["tuned"]["gain"], scale=100, digits=1),
        with_interval(methods["cka"]["tuned"]["greatest_gain"], scale=100, digits=1),
        with_interval(methods["cka"]["tuned"]["saving"]),
        with_interval(methods["cka"]["tuned"]["greatest_saving"]),
    ]
    text = unescape(page)
    assert f"In how many of {buckets} buckets of 6 pairs" in text
    hits = {m: methods[m]["overlap"] for m in METRICS if m not in SETS}
    best = max(hits, key=lambda m: hits[m]["value"])
    for m in ("kl", "cka", best):
        assert f"{METHODS[m]} in {tally(hits[m])}" in text
    assert f"Most often: {METHODS[best]}." in text
    assert "ρ within buckets pools the buckets of all pairs" in text
    assert "<th>greatest gain</th><th>saving of KLAS (×)</th><th>greatest saving</th>" in page
    assert "tier finetuned" not in page


def test_it_follows_the_selection_and_says_where_the_study_has_another(computed):
    store, document = computed
    spec = SMALL.selection.model_copy(update={"tau": 0.8, "metric": "mse"})
    page = report(store, document, spec=spec)
    assert "chosen with τ = 0.8 (relative) in 4 buckets" in page
    assert "other than the study's own" in unescape(page)
    assert "other than the study's own" not in unescape(report(store, document))
    pair = max(stitchable(document), key=lambda p: p.in_space.sum())
    klas = choose(pair, spec.model_copy(update={"metric": "kl"}))
    title = f"{klas.chosen.sum()} of {pair.in_space.sum()} stitches chosen"
    assert {f"{i} → {j}" for i, j in pair.places(klas.chosen)} <= {r[0] for r in rows(page, title)}


@pytest.mark.slow
def test_what_is_trained_jointly_is_there_with_its_split(copied, computed):
    study = change(SMALL, "finetuning", steps=1)
    pair = stitchable(computed[1])[0]
    Pipeline(study, copied, device="cpu").finetune_methods([pair])
    document = computed[1]
    page = report(copied, document, study)
    entry = entry_of(compare(document, study, copied), pair.names)
    picked = choose(pair, SMALL.selection)
    on_val = finetuned_accuracy(copied, pair, picked.chosen, study)
    on_test = {
        (s["source_block"], s["target_block"]): s["accuracy"]["finetuned"]
        for s in entry["chosen"]["kl"]
    }
    assert page.count("<th>finetuned</th><th>finetuned, test split</th>") == 1
    title = f"{picked.chosen.sum()} of {pair.in_space.sum()} stitches chosen"
    shown = {row[0]: row[-2:] for row in rows(page, title)}
    for row in picked.chosen.nonzero()[0]:
        i, j = pair.stitches[row].tolist()
        assert shown[f"{i} → {j}"] == [percent(on_val[row]), percent(on_test[i, j])]
    drawn = figures(page)
    assert f"finetuned-{pair.index}" in drawn
    assert {f"budget-mean-top1-{pair.index}", "budget-mean-top1-all"} <= set(drawn)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert sum("training, mean over 1 pair, 200 samples" in text for text in captions) == 2
    assert sum("training, 200 samples" in text for text in captions) == 2  # the pair's own
    assert "at each budget all were trained for the same number of steps" in page
    assert "Curves, tier finetuned, 200 samples of the test split, which no choice saw" in page


def without_tuned(document, pair):
    for candidate in document["pairs"][pair.index]["candidates"]:
        candidate["accuracy"]["tuned"] = None


def test_a_pair_that_is_not_tuned_is_left_out_of_the_comparison_by_name(computed):
    store, document = computed[0], copy.deepcopy(computed[1])
    pair = stitchable(document)[0]
    without_tuned(document, pair)
    page = report(store, document)
    assert f"Without {pair.name}, which are not measured at tier tuned." in page
    assert f"score-{pair.index}" not in figures(page)
    assert "tier zero_shot" in page
    for pair in stitchable(document):
        without_tuned(document, pair)
    page = report(store, document)
    assert "There is no comparison here: it needs every candidate" in unescape(page)
    assert "agreement" not in figures(page)
    assert f"gamma-{pair.index}" in figures(page)


def test_a_pair_without_scores_is_named_and_the_others_are_there(computed):
    store, document = computed[0], copy.deepcopy(computed[1])
    gone, *others = stitchable(document)
    assert unscored(document) == []
    document["pairs"][gone.index]["theta"] = None
    for candidate in document["pairs"][gone.index]["candidates"]:
        candidate["scores"] = dict.fromkeys(candidate["scores"])
    assert unscored(document) == [gone.name]
    page = report(store, document)
    assert f"their scores are not computed yet: {gone.name}." in page
    drawn = figures(page)
    assert f"gamma-{gone.index}" not in drawn
    assert all(f"curve-{pair.index}" in drawn for pair in others)
    assert "agreement" in drawn


@pytest.mark.parametrize("edited", [False, True])
def test_the_list_says_how_it_came_about_and_by_which_score(computed, edited):
    store, document = computed
    spec = SMALL.selection.model_copy(update={"metric": "mse"})
    pair = stitchable(document)[0]
    by_hand = [choose(pair, SMALL.selection).chosen] if edited else None
    made = stitch_list(document, spec, pairs=[pair], by_hand=by_hand)
    page = report(store, document, own=made)
    assert "<th>MSE</th>" in page
    assert ("Edited by hand; scores and buckets are those of MSE" in page) == edited
    assert ("As MSE chooses with τ" in page) != edited


def test_buckets_of_one_candidate_are_no_contest(computed):
    store, document = computed
    spec = SMALL.selection.model_copy(update={"buckets": 1000})
    page = report(store, document, spec=spec)
    assert "No bucket holds two candidates" in page
    assert "agreement" in figures(page)


def test_the_budgets_over_all_pairs_say_of_how_many_each_figure_is():
    """Means and areas may be of other pairs: those where every method has the figure."""

    def areas(mean, area):
        ends = {"value": 0.5, "low": 0.4, "high": 0.6}
        return {"mean_top1": ends | {"pairs": mean}, "auc_stitches": ends | {"pairs": area}}

    methods = {m: {"budgets": {"0": areas(3, 2), "12": areas(3, 2)}} for m in METRICS}
    comparison = {
        "task": "classification",
        "finetuned_on": "val",
        "bootstrap": {"level": 0.95},
        "data": {"val": {"samples": 7}},
    }
    mean, area = budget_figures(comparison, {"methods": methods}, ALL_PAIRS)
    assert "mean over 3 pairs, 7 validation samples" in mean.caption
    assert "mean over 2 pairs, 7 validation samples" in area.caption
    alone = next(iter(budget_figures(comparison, {"source": "a", "methods": methods}, "0")))
    assert "mean over" not in alone.caption


def test_deployed_costs_and_lower_bounds_are_in_the_report(computed):
    store, document = computed
    marked = mark_costs(document)
    page = report(store, marked)
    convnet = next(row for row in rows(page, "deployed parameters") if "digits_convnet" in row)
    assert convnet[4:6] == ["1.23", "56,789"]
    assert all(note in unescape(page) for note in anchor_notes(marked["anchors"]))
    assert "deployed" not in report(store, document)
