"""The view of every pair: its tier, its table, its budget over all that is chosen."""

import copy

import numpy as np
import pytest

from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.results.selections import choose
from tests.conftest import SMALL
from tests.dashboard.reading import budget_table, look, said, widget
from tests.dashboard.timing import MACHINE, time_pairs

FRONT = "on the front"


@pytest.fixture
def pairs(computed):
    return pairs_of(computed[1])


def table(tester):
    return next(d for d in tester.dataframe if FRONT in d.value.columns)


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_budget_is_over_every_anchor_and_all_that_is_chosen(app, computed, pairs, cost):
    document = computed[1]
    able = [(a["accuracy"], -a[cost], a["name"], None) for a in document["anchors"]]
    for p in pairs:
        for k in np.flatnonzero(choose(p, SMALL.selection).chosen):
            c = p.raw["candidates"][k]
            name = f"{c['source_block']} → {c['target_block']}"
            able.append((c["accuracy"]["tuned"], -c[cost], name, p.name))
    tester = look(app, computed[0].root, "stitches", pair="all", cost=cost)
    assert widget(tester, "cost").value == cost
    scale = pairs[0].unit.scale if cost == "macs" else 1e3
    for budget in (float(np.median([-c for _, c, *_ in able])), max(-c for _, c, *_ in able)):
        shown = float(f"{1.001 * budget / scale:.6g}")
        widget(tester, "budget").set_value(shown).run()
        paid = [x for x in able if -x[1] <= shown * scale]
        best = max(paid, key=lambda x: x[:2])
        row = budget_table(tester).loc["within the budget"]
        assert row["network"] == best[2]
        assert row["top-1 (%)"] == pytest.approx(100 * best[0])
        assert (row["pair"] or None) == best[3]
        assert f"Of the {len(paid)} measured networks of this study" in said(tester)
    widget(tester, "budget").set_value(0.0).run()
    assert "Nothing costs as little as 0 " in said(tester)


def test_latency_is_offered_once_every_pair_is_timed_on_one_machine(app, computed, pairs):
    store = computed[0]

    def offered():
        tester = look(app, store.root, "stitches", pair="all", cost="latency", budget="14")
        return tester, widget(tester, "cost").options

    time_pairs(store, pairs[1:])
    time_pairs(store, pairs[:1], {**MACHINE, "device": "another one"})
    try:
        tester, options = offered()
        assert "latency" not in options
        assert widget(tester, "cost").value == "macs"
        assert "budget" not in tester.query_params  # 14 ms are no 14 MMACs
        time_pairs(store, pairs[:1])
        tester, options = offered()
        assert "latency" in options
        assert "14 ms" in said(tester)
        assert "this processor" in said(tester)
        assert budget_table(tester)["ms"]["within the budget"] <= 14
    finally:
        store.set_ref(f"latency-{SMALL.results_key()}", [])


def test_the_tier_stays_with_tau_and_what_is_not_measured_comes_last(app, computed, pairs):
    pair = max(pairs, key=lambda p: int(p.in_space.sum()))
    chosen = choose(pair, SMALL.selection).chosen
    Pipeline(SMALL, computed[0], device="cpu").finetune(pair, chosen)
    tester = look(app, computed[0].root, "stitches", pair="all")
    assert widget(tester, "tier").value == "finetuned"
    shown = table(tester).value
    assert table(tester).proto.placeholder == "–"
    assert set(shown[FRONT]) <= {"✓", "–"}
    unknown = shown["finetuned (%)"].isna()
    assert unknown.any()
    assert not unknown.all()
    order = list(zip(unknown, shown[FRONT] != "✓", shown[pair.unit.name]))
    assert order == sorted(order)
    # The one pair's anchors count too, so a ✓ has nothing at most as costly that is as accurate.
    for _, row in shown[shown[FRONT] == "✓"].iterrows():
        rivals = shown[shown[pair.unit.name] < row[pair.unit.name]]["finetuned (%)"]
        assert not (rivals >= row["finetuned (%)"]).any()
    widget(tester, "tau").set_value(0.97).run()
    assert not tester.exception
    assert (choose(pair, SMALL.selection.model_copy(update={"tau": 0.97})).chosen != chosen).any()
    assert widget(tester, "tier").value == "finetuned"  # by no hand but the reader's
    assert "tier" not in tester.query_params
    assert "no chosen stitch is measured at tier finetuned" in said(tester)


def test_the_front_comes_first_however_costly_it_is(app, computed, pairs):
    store, document = computed
    changed = copy.deepcopy(document)
    pair = max(pairs, key=lambda p: int(p.in_space.sum()))
    rows = np.flatnonzero(choose(pair, SMALL.selection).chosen)
    best = int(rows[pair.macs[rows].argmax()])
    changed["pairs"][pair.index]["candidates"][best]["accuracy"]["tuned"] = 1.0
    name = f"scores-{SMALL.results_key()}"
    store.set_ref(name, changed)
    try:
        shown = table(look(app, store.root, "stitches", pair="all", tier="tuned")).value
        assert shown[FRONT].tolist() == ["✓"] + ["–"] * (len(shown) - 1)
        assert shown["stitch"][0] == "{} → {}".format(*pair.stitches[best])
        assert shown[pair.unit.name][1:].is_monotonic_increasing
        assert shown[pair.unit.name][0] > shown[pair.unit.name][1]
    finally:
        store.set_ref(name, document)
