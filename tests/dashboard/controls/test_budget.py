"""The budget picker: what it offers, what it says, and its field in Streamlit's test runner."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.model.deployment import (
    Deployable,
    Network,
    better,
    deployable_of_pair,
    deployable_of_study,
    joined,
)
from dashboard.model.tradeoff import Curve
from dashboard.session.accuracies import best_tier
from dashboard.text.budget import basis_of_pair, basis_of_study, measured_as, too_little
from klas.pipeline.run import Pipeline
from klas.results.costs import costs_of
from klas.results.pair import Choice, pairs_of
from klas.results.selections import choose, fair_share
from tests.conftest import SMALL
from tests.dashboard.reading import budget_table, look, said, widget

few = st.integers(0, 5).map(float)
networks = st.lists(st.tuples(few, few), max_size=8)


def offered(points, tier="tuned"):
    names = [Network(name=f"n{k}", cost=c, accuracy=a / 5) for k, (c, a) in enumerate(points)]
    return Deployable(networks=names, tier=tier)


def field(tester):
    return widget(tester, "budget")


@pytest.fixture
def pairs(computed):
    return pairs_of(computed[1])


@pytest.fixture
def pair(pairs):
    return max(pairs, key=lambda p: int(p.in_space.sum()))


@given(networks, networks, few)
def test_another_network_is_named_only_where_it_is_the_better_buy(own, others, budget):
    best = offered(own).pick(budget)
    than = None if best is None else offered(own).networks[best.best]
    actual = better(than, offered(others), budget)
    able = [(a / 5, -c) for c, a in others if c <= budget]
    mine = (-1.0, 0.0) if than is None else (than.accuracy, -than.cost)
    if not able or max(able) <= mine:
        assert actual is None
    else:
        assert (actual.accuracy, -actual.cost) == max(able)


def test_of_a_joint_training_every_method_offers_its_own_weights(pair):
    costs = costs_of(pair, "macs")
    none = np.full(len(pair.macs), np.nan)
    tiers = {"zero_shot": none, "tuned": np.full(len(none), 0.99), "finetuned": None}
    trained = []
    for metric, height, rows in (("kl", 0.5, [0, 1]), ("cka", 0.6, [1, 2])):
        accuracy = none.copy()
        accuracy[rows] = height
        trained.append(Curve(metric, np.isin(np.arange(len(none)), rows), accuracy))
    actual = deployable_of_pair(pair, costs, tiers, "finetuned", trained)
    assert [(n.row, n.method, n.accuracy) for n in actual.stitches] == [
        (0, "kl", 0.5),
        (1, "kl", 0.5),
        (1, "cka", 0.6),
        (2, "cka", 0.6),
    ]
    assert len(actual.networks) == 4 + len(pair.measured_anchors)
    assert (
        measured_as(actual.stitches[2], actual.tier)
        == "tier finetuned, trained with the choice of CKA"
    )
    # Without a training there are the anchors alone, whatever another tier has.
    assert not deployable_of_pair(pair, costs, tiers, "finetuned").stitches
    assert best_tier(tiers) == "tuned"


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_offer_of_all_pairs_has_every_anchor_once_and_what_is_chosen(computed, pairs, cost):
    document = computed[1]
    choices = [
        Choice(pair=p, chosen=choose(p, SMALL.selection).chosen, accuracy=p.accuracy("tuned"))
        for p in pairs
    ]
    costs = joined(document, [costs_of(p, cost) for p in pairs])
    actual = deployable_of_study(document, choices, costs, "tuned", "kl")
    expected = [(a["name"], float(a[cost]), a["accuracy"]) for a in document["anchors"]]
    for p in pairs:
        for k in np.flatnonzero(choose(p, SMALL.selection).chosen):
            c = p.raw["candidates"][k]
            name = f"{c['source_block']} → {c['target_block']}"
            expected.append((name, float(c[cost]), c["accuracy"]["tuned"]))
    assert [(n.name, n.cost, n.accuracy) for n in actual.networks] == expected


def test_the_words_say_what_an_answer_is_over(pair):
    stitch = Network(name="1 → 2", cost=3.0, accuracy=0.5, pair=pair, row=0, method="kl")
    anchor = Network(name="a", cost=1.0, accuracy=0.4)
    both = Deployable(networks=[anchor, stitch], tier="finetuned")
    assert basis_of_pair(both, "kl", 0.05, {"kl": 1, "cka": 12, "snnet": 7}) == (
        "Picked from the pair's anchors, the 1 stitch that KLAS (Γ) chose at τ = 0.05, the 12 "
        "stitches of CKA and the 7 stitches of SN-Net's set, each choice trained jointly by itself."
    )
    assert basis_of_pair(both, "kl", 0.13, {"snnet": 7}).endswith(
        "trained jointly. What KLAS (Γ) chose at τ = 0.13 is not trained yet."
    )
    assert "and the 8 stitches of the race, each" in basis_of_pair(
        both, "kl", 0.05, {"kl": 1, "race": 8}
    )
    tuned = Deployable(networks=[stitch], tier="tuned")  # no anchor has a head
    assert basis_of_pair(tuned, "kl", 0.05, {}) == "Picked from the pair's 1 stitch, at tier tuned."
    assert basis_of_study(both, "kl", 0.05, 3) == (
        "Picked from 1 anchor and 1 of the 3 stitches that KLAS (Γ) chose at τ = 0.05, at tier "
        "finetuned, trained jointly pair by pair; the other 2 are not measured."
    )
    alone = Deployable(networks=[anchor, anchor], tier="tuned")
    assert basis_of_study(alone, "kl", 0.05, 3) == (
        "Picked from 2 anchors; no chosen stitch is measured at tier tuned."
    )
    nothing = Deployable(networks=[], tier="tuned")
    assert too_little(costs_of(pair, "macs"), nothing, 1.0) == (
        "Nothing is measured at tier tuned, so there is nothing to choose from."
    )


@pytest.mark.parametrize("where", ["all", None])
def test_a_budget_below_zero_is_a_sentence_in_place_of_an_answer(app, computed, where):
    tester = look(app, computed[0].root, "stitches", **({"pair": where} if where else {}))
    start = field(tester).value
    assert "Deploy **" in said(tester)
    field(tester).set_value(-3.0).run()
    assert not tester.exception
    assert "Type a budget of 0 or more." in said(tester)
    assert "Deploy **" not in said(tester)
    assert "Nothing costs" not in said(tester)
    assert field(tester).value == -3
    assert "budget" not in tester.query_params  # an address could not bring it back
    field(tester).set_value(start).run()
    assert "Deploy **" in said(tester)
    assert tester.query_params["budget"] == f"{start:.6g}"


def test_a_better_buy_elsewhere_is_named_with_the_way_to_all_pairs(app, computed, pairs):
    # Of the pair of the two cheapest anchors, within the budget of a costlier one of the study.
    ranked = sorted(computed[1]["anchors"], key=lambda a: a["macs"])
    own = next(p for p in pairs if p.names == (ranked[0]["name"], ranked[1]["name"]))
    budget = f"{1.01 * ranked[-1]['macs'] / own.unit.scale:.6g}"
    tester = look(app, computed[0].root, "stitches", pair="~".join(own.names), budget=budget)
    able = [(a["accuracy"], -a["macs"], a["name"]) for a in ranked]
    for other in pairs:
        chosen = choose(other, SMALL.selection).chosen
        able += [
            (a, -m, "{} → {}".format(*s))
            for a, m, s in zip(
                other.accuracy("tuned")[chosen], other.macs[chosen], other.stitches[chosen]
            )
        ]
    best = max(able)
    inside = [*own.accuracy("tuned"), ranked[0]["accuracy"], ranked[1]["accuracy"]]
    assert best[0] > max(inside)  # else this tries nothing
    assert f"Within the same budget an anchor of the study, **{best[2]}" in said(tester).replace(
        "\\", ""
    )
    tester.button(key="budget:all").click().run()
    assert not tester.exception
    assert tester.query_params["pair"] == "all"
    assert field(tester).value == float(budget)
    assert budget_table(tester)["network"]["within the budget"] == best[2]
    assert not [b for b in tester.button if b.key == "budget:all"]


def test_a_study_of_one_pair_has_no_way_to_all_pairs(app, copied, computed, pairs):
    ranked = sorted(computed[1]["anchors"], key=lambda a: a["macs"])
    own = next(p for p in pairs if p.names == (ranked[0]["name"], ranked[1]["name"]))
    copied.set_ref(f"scores-{SMALL.results_key()}", {**computed[1], "pairs": [own.raw]})
    budget = f"{1.01 * ranked[-1]['macs'] / own.unit.scale:.6g}"
    tester = look(app, copied.root, "stitches", budget=budget)
    assert "Within the same budget an anchor of the study" in said(tester)
    assert not [b for b in tester.button if b.key == "budget:all"]


def test_at_tier_finetuned_the_drawn_methods_count_and_the_training_is_named(app, computed, pair):
    picked = choose(pair, SMALL.selection)
    stages = Pipeline(SMALL, computed[0], device="cpu")
    by_method = {
        m: stages.finetune(pair, fair_share(pair, picked, m))["accuracy"] for m in ("snnet", "cka")
    }
    root = computed[0].root
    tester = look(app, root, "stitches", tier="finetuned", curves="snnet", budget="99")
    assert "What KLAS (Γ) chose at τ = 0.05 is not trained yet." in said(tester)
    count = len(by_method["snnet"]) + 2
    assert f"Of the {count} measured networks of this pair" in said(tester)
    tester = look(app, root, "stitches", tier="finetuned", curves="snnet~cka", budget="99")
    count += len(by_method["cka"])
    assert f"Of the {count} measured networks of this pair" in said(tester)
    # The dearest step up of the front that is a stitch says whose training it is of.
    names = {a["name"] for a in computed[1]["anchors"]}
    macs = {"{}-{}".format(*s): m for s, m in zip(pair.stitches, pair.macs)}
    dearest = max(m for accuracy in by_method.values() for m in map(macs.get, accuracy))
    able = [(a, -macs[s], s, m) for m, accuracy in by_method.items() for s, a in accuracy.items()]
    able += [(a["accuracy"], -a["macs"], a["name"], None) for a in pair.cheap_and_costly]
    able = [x for x in able if -x[1] <= dearest]
    field(tester).set_value(dearest / pair.unit.scale + 1e-6).run()
    best = max(able, key=lambda x: x[:2])
    row = budget_table(tester).loc["within the budget"]
    assert row["network"] == best[2].replace("-", " → ") or row["network"] in names
    assert row["top-1 (%)"] == pytest.approx(100 * best[0])


def test_a_tier_without_a_measured_stitch_is_a_guess_and_says_which_tier_is_measured(
    app, computed, pair
):
    tester = look(app, computed[0].root, "stitches", tier="finetuned", curves="mse", tau="0.9")
    words = said(tester)
    assert "has been measured at tier finetuned, so this is a guess by the score alone" in words
    assert "choose the tier tuned above" in words


def test_without_heads_and_accuracies_all_pairs_say_that_there_is_nothing(app, computed):
    store, document = computed
    bare = copy.deepcopy(document)
    for anchor in bare["anchors"]:
        anchor["accuracy"] = None
    for entry in bare["pairs"]:
        for candidate in entry["candidates"]:
            candidate["accuracy"] = {"zero_shot": None, "tuned": None}
    name = f"scores-{SMALL.results_key()}"
    store.set_ref(name, bare)
    try:
        tester = look(app, store.root, "stitches", pair="all")
        assert not tester.exception
        assert not tester.error
        assert "Nothing is measured at tier zero_shot" in said(tester)
    finally:
        store.set_ref(name, document)
