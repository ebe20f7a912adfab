"""The comparison's figures, recomputed slowly from the scores document and the stored hits."""

import copy
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from klas.cli.tables.comparison import comparison_tables
from klas.errors import SelectionError
from klas.pipeline.run import Pipeline
from klas.results.comparison import LEVEL, budget_steps, compare
from klas.results.formats import dumps
from klas.results.pair import number, pairs_of
from klas.results.resampling import REPLICATES, SEED, ResampledStudy, Trained
from klas.study import METRICS, SETS, AnchorSpec, change
from tests.conftest import SMALL
from tests.stored import outcomes_key

SCORED = [m for m in METRICS if m not in SETS]
ALL = (0, 1, 3, 12)
"""The budgets."""
AREAS = ("auc", "auc_stitches", "area_top1", "mean_top1")
GAINS = ("gain", "greatest_gain", "saving", "greatest_saving")
SAMPLES = SMALL.data.val_samples
TAU, BUCKETS = SMALL.selection.tau, SMALL.selection.buckets


@pytest.fixture(scope="module")
def compared(comparison):
    return json.loads(dumps(comparison))


# -- the same from the document alone, slowly -----------------------------------------------


def bucket_of(pair):
    low, high = (a["macs"] for a in pair.cheap_and_costly)
    actual = []
    for macs, inside in zip(pair.macs, pair.in_space):
        place = min(int((macs - low) // ((high - low) / BUCKETS)), BUCKETS - 1)
        actual.append(place if inside and low <= macs <= high else None)
    return actual


def members(pair):
    """Bucket by bucket, the rows of its candidates."""
    label = bucket_of(pair)
    return [[row for row, b in enumerate(label) if b == wanted] for wanted in range(BUCKETS)]


def chosen_rows(pair, metric, tau=TAU):
    if metric == "snnet":
        return [row for row, c in enumerate(pair.raw["candidates"]) if c["snnet"]]
    if metric == "race":
        return sorted(row for rows in members(pair) for row in starting(pair, rows))
    gamma = [number(c["scores"]["kl"]) for c in pair.raw["candidates"]]
    actual = []
    for rows in members(pair):
        ours = [row for row in rows if gamma[row] <= (1 + tau) * min(gamma[r] for r in rows)]
        scores = pair.scores(metric)
        actual += ours if metric == "kl" else sorted(rows, key=lambda r: scores[r])[: len(ours)]
    return sorted(actual)


def starting(pair, rows):
    """Who starts in a race of a bucket: each score's best, then the deepest differences."""
    rows = sorted(rows, key=lambda r: pair.macs[r])
    taken = []
    for metric in ("kl", "theta", "cka"):
        best = min(rows, key=lambda r: pair.scores(metric)[r], default=None)
        taken += [best] * (best is not None and best not in taken)
    blocks = pair.source["blocks"], pair.target["blocks"]
    depth = {row: pair.stitches[row] / blocks for row in rows}
    while len(taken) < min(3, len(rows)):
        free = [row for row in rows if row not in taken]
        apart = {r: min(round(math.dist(depth[r], depth[t]), 9) for t in taken) for r in free}
        taken.append(max(free, key=apart.__getitem__))
    return taken


def rivals(pair):
    return [rows for rows in members(pair) if len(rows) >= 2]


def hits(scores, accuracy, groups):
    actual = 0.0
    for rows in groups:
        best = max(accuracy[row] for row in rows)
        tied = [row for row in rows if scores[row] == min(scores[r] for r in rows)]
        actual += sum(accuracy[row] == best for row in tied) / len(tied)
    return actual


def points(pair, rows, tier):
    accuracy = pair.accuracy(tier)
    return [(pair.macs[row], accuracy[row]) for row in rows]


def anchors(pair):
    return [(a["macs"], a["accuracy"]) for a in pair.cheap_and_costly]


def height(some, cost):
    return max((accuracy for macs, accuracy in some if macs <= cost), default=0.0)


def integral(function, at, low, high):
    """Of a function that is constant between the points ``at``."""
    edges = sorted({low, high, *(x for x in at if low < x < high)})
    return sum(function((a + b) / 2) * (b - a) for a, b in pairwise(edges))


def figures(pair, rows, tier):
    mine, ends = points(pair, rows, tier), anchors(pair)
    (low, floor), (high, top) = ends
    costs = [c for c, _ in mine]
    width = high - low
    both = integral(lambda c: height(mine + ends, c), costs, low, high) / width
    alone = integral(lambda c: height(mine, c), costs, low, high) / width
    return {
        "auc": (both - floor) / (top - floor),
        "auc_stitches": (alone - floor) / (top - floor),
        "area_top1": both,
        "mean_top1": sum(a for _, a in mine) / len(mine),
    }


def greatest(function, at, low, high):
    edges = sorted({low, high, *(x for x in at if low < x < high)})
    return max(function((a + b) / 2) for a, b in pairwise(edges))


def gain(pair, ours, theirs):
    """Mean and greatest."""
    (low, _), (high, _) = anchors(pair)
    costs = [c for c, _ in ours + theirs]

    def difference(c):
        return height(ours, c) - height(theirs, c)

    mean = integral(difference, costs, low, high) / (high - low)
    return mean, greatest(difference, costs, low, high)


def saving(ours, theirs):
    def price(some, accuracy):
        return min(c for c, a in some if a >= accuracy)

    def first(some):
        return height(some, min(c for c, _ in some))

    low = max(first(ours), first(theirs))
    high = min(max(a for _, a in some) for some in (ours, theirs))
    steps = [a for _, a in ours + theirs]

    def ratio(a):
        return price(theirs, a) / price(ours, a)

    mean = integral(ratio, steps, low, high) / (high - low)
    return mean, greatest(ratio, steps, low, high)


def gains_and_savings(pair, ours, theirs):
    names = ("gain", "greatest_gain", "saving", "greatest_saving")
    return dict(zip(names, gain(pair, ours, theirs) + saving(ours, theirs), strict=True))


def within_buckets(score, oracle, pair):
    """ρ and number of candidates of every bucket of three or more where it is defined."""
    return [
        (spearmanr(score[g], -oracle[g]).statistic, len(g))
        for g in members(pair)
        if len(g) >= 3 and len(set(oracle[g])) > 1
    ]


def value(figure):
    return None if figure is None else figure["value"]


# -- pair by pair ---------------------------------------------------------------------------


def test_each_method_takes_as_many_per_bucket_as_klas(compared, computed):
    for actual, pair in zip(compared["pairs"], pairs_of(computed[1]), strict=True):
        assert (actual["source"], actual["target"]) == pair.names
        assert actual["buckets"] == len(rivals(pair))
        for metric in METRICS:
            listed = actual["chosen"][metric]
            rows = chosen_rows(pair, metric)
            places = [(s["source_block"], s["target_block"]) for s in listed]
            assert places == [tuple(pair.stitches[row]) for row in rows]
            assert [s["bucket"] for s in listed] == [bucket_of(pair)[r] for r in rows] or (
                metric == "snnet"  # whose members may lie outside the space
            )
            for stitch, row in zip(listed, rows):
                assert stitch["macs"] == pair.raw["candidates"][row]["macs"]
                assert stitch["accuracy"] == {
                    **pair.raw["candidates"][row]["accuracy"],
                    "finetuned": None,
                }
                score = None if metric in SETS else pair.scores(metric)[row]
                assert stitch["score"] == score


def test_agreement_with_the_oracle(compared, computed):
    for actual, pair in zip(compared["pairs"], pairs_of(computed[1])):
        oracle, groups = pair.accuracy("tuned"), rivals(pair)
        chance = sum(np.mean([oracle[r] == oracle[rows].max() for r in rows]) for rows in groups)
        assert value(actual["chance"]) == pytest.approx(chance)
        for metric in METRICS:
            method = actual["methods"][metric]
            rows = set(chosen_rows(pair, metric))
            held = sum(any(r in rows and oracle[r] == oracle[g].max() for r in g) for g in groups)
            assert value(method["containment"]) == (None if metric == "race" else held)
            if metric in SETS:
                assert method["overlap"] is method["spearman"] is method["spearman_within"] is None
                continue
            score = pair.scores(metric)
            assert value(method["overlap"]) == pytest.approx(hits(score, oracle, groups))
            inside = pair.in_space
            rho = spearmanr(score[inside], -oracle[inside]).statistic
            assert value(method["spearman"]) == pytest.approx(rho)
            within = within_buckets(score, oracle, pair)
            if within:
                candidates = sum(n for _, n in within)
                mean = sum(r * n for r, n in within) / candidates
                assert value(method["spearman_within"]) == pytest.approx(mean)
                assert method["spearman_within"]["candidates"] == candidates
            else:
                assert method["spearman_within"] is None


def test_areas_gains_and_savings(compared, computed):
    for actual, pair in zip(compared["pairs"], pairs_of(computed[1])):
        for tier in ("zero_shot", "tuned"):
            ours = points(pair, chosen_rows(pair, "kl"), tier) + anchors(pair)
            for metric in METRICS:
                rows, got = chosen_rows(pair, metric), actual["methods"][metric][tier]
                if not rows or metric == "race":  # which chooses at tier finetuned alone
                    assert got is None
                    continue
                wanted = figures(pair, rows, tier)
                if metric == "kl":
                    wanted |= dict.fromkeys(GAINS)
                else:
                    theirs = points(pair, rows, tier) + anchors(pair)
                    wanted |= gains_and_savings(pair, ours, theirs)
                assert {k: value(v) for k, v in got.items()} == pytest.approx(wanted, abs=1e-12)


def test_snnet_has_no_set_on_one_of_the_pairs(compared):
    """So that what follows from an empty set is among what is tested here."""
    assert [] in [pair["chosen"]["snnet"] for pair in compared["pairs"]]


def test_nothing_is_trained_jointly_yet(compared):
    steps = [str(s) for s in budget_steps(SMALL)]
    assert steps == ["0", "1", "3", "12"]
    for method in compared["pairs"][0]["methods"].values():
        assert (method["finetuned"], method["budgets"]) == (None, dict.fromkeys(steps))
    for method in compared["all_pairs"]["methods"].values():
        assert (method["finetuned"], method["budgets"]) == (None, dict.fromkeys(steps))
    assert any("klas finetune --compare" in str(part) for part in comparison_tables(compared))


def test_anchors_have_their_accuracies(compared, computed):
    for actual, anchor in zip(compared["anchors"], computed[1]["anchors"], strict=True):
        assert {n: actual[n] for n in ("name", "digest", "macs", "params")} == {
            n: anchor[n] for n in ("name", "digest", "macs", "params")
        }
        assert value(actual["val"]) == anchor["accuracy"]
        assert actual["test"] is None  # measured when something is trained jointly


# -- intervals ------------------------------------------------------------------------------


def test_intervals_are_percentiles_over_drawn_blocks(compared, computed):
    store, document = computed
    pair = pairs_of(document)[2]
    stored = store.get(outcomes_key(pair, SMALL, "tuned"))
    bits = np.array([np.unpackbits(stored[f"{i}-{j}.hits"])[:SAMPLES] for i, j in pair.stitches])
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, 100, (REPLICATES, 100))
    rows = chosen_rows(pair, "random")
    random = pair.scores("random")
    replicates = {"mean_top1": [], "spearman": [], "overlap": [], "containment": []}
    for blocks in drawn:
        accuracy = bits.reshape(len(bits), 100, 3)[:, blocks].sum((1, 2)) / SAMPLES
        replicates["mean_top1"].append(accuracy[rows].mean())
        replicates["spearman"].append(spearmanr(random, -accuracy).statistic)
        replicates["overlap"].append(hits(random, accuracy, rivals(pair)))
        replicates["containment"].append(
            sum(
                any(r in rows and accuracy[r] == accuracy[g].max() for r in g) for g in rivals(pair)
            )
        )
    method = compared["pairs"][2]["methods"]["random"]
    got = {**method, "mean_top1": method["tuned"]["mean_top1"]}
    for name, values in replicates.items():
        ends = np.percentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
        assert (got[name]["low"], got[name]["high"]) == pytest.approx(tuple(ends), abs=1e-9)
        assert got[name]["low"] < got[name]["high"]


# -- over all pairs -------------------------------------------------------------------------


def test_hits_are_summed_over_all_pairs(compared):
    whole = compared["all_pairs"]
    chances = [value(pair["chance"]) for pair in compared["pairs"]]
    assert value(whole["chance"]) == pytest.approx(sum(chances))
    for metric in METRICS:
        for name in ("overlap", "containment"):
            each = [value(pair["methods"][metric][name]) for pair in compared["pairs"]]
            got = value(whole["methods"][metric][name])
            assert got == (None if None in each else pytest.approx(sum(each)))
            if got is not None:
                assert whole["methods"][metric][name]["pairs"] == len(compared["pairs"])


def test_a_pair_weighs_in_the_agreement_within_buckets_by_its_candidates(compared, computed):
    pairs, sizes = pairs_of(computed[1]), []
    for metric in SCORED:
        each = [within_buckets(p.scores(metric), p.accuracy("tuned"), p) for p in pairs]
        every = [bucket for pair in each for bucket in pair]
        sizes.append({sum(n for _, n in pair) for pair in each})
        candidates = sum(n for _, n in every)
        got = compared["all_pairs"]["methods"][metric]["spearman_within"]
        assert got["value"] == pytest.approx(sum(r * n for r, n in every) / candidates)
        assert got["candidates"] == candidates
        assert got["pairs"] == sum(bool(pair) for pair in each)
    assert all(
        len(actual) > 2 for actual in sizes
    )  # pairs of unlike weight, or it would say nothing


def test_means_are_over_the_pairs_that_every_method_has(compared):
    common = [pair for pair in compared["pairs"] if pair["chosen"]["snnet"]]
    assert 0 < len(common) < len(compared["pairs"])
    for metric in METRICS:
        for tier in ("zero_shot", "tuned"):
            got = compared["all_pairs"]["methods"][metric][tier]
            if metric == "race":
                assert got is None
                continue
            assert got["pairs"] == len(common)
            for name in (*AREAS, *GAINS):
                each = [value(pair["methods"][metric][tier][name]) for pair in common]
                wanted = None if metric == "kl" and name in GAINS else np.mean(each)
                assert value(got[name]) == pytest.approx(wanted)
                assert wanted is None or got[name]["pairs"] == len(common)
        if metric in SCORED:  # a set has no order, which takes no pair from the others
            each = [value(pair["methods"][metric]["spearman"]) for pair in compared["pairs"]]
            got = compared["all_pairs"]["methods"][metric]["spearman"]
            assert value(got) == pytest.approx(np.mean(each))


def test_klas_alone_is_judged_by_all_pairs(compared, computed):
    store, document = computed
    alone = compare(document, SMALL, store, metrics=("kl",))
    for pair, of_all in zip(alone["pairs"], compared["pairs"], strict=True):
        assert set(pair["chosen"]) == set(pair["methods"]) == {"kl"}
        assert pair["methods"]["kl"] == of_all["methods"]["kl"]
    got = alone["all_pairs"]["methods"]["kl"]["tuned"]
    for name in ("auc_stitches", "mean_top1"):
        each = [value(p["methods"]["kl"]["tuned"][name]) for p in compared["pairs"]]
        assert value(got[name]) == pytest.approx(np.mean(each))
        assert got[name]["pairs"] == len(compared["pairs"])


@pytest.mark.parametrize(
    ("trained", "shown", "joined"),
    [
        # Pair by pair the budgets of which every method has something; but of the fourth pair
        # SN-Net's set is empty, so it never counts.
        ([ALL, (0, 1, 3), ALL, ALL, (0,), ()], ALL, (0, 2)),
        ([(0, 1), (), (0,), (0, 1), (0, 1), (1,)], (0, 1), (0, 4)),
        ([(), (), (3,), (3,), (3,), (0,)], (3,), (2, 4)),
        ([()] * 6, (), ()),
    ],
)
def test_a_line_over_budgets_is_of_the_same_pairs_throughout(
    computed, monkeypatch, trained, shown, joined
):
    store, document = computed
    have = dict(zip([p.names for p in pairs_of(document)], trained, strict=True))

    def accuracy(self, pair, chosen, steps, racing):
        if not chosen.any() or steps not in have[pair.names]:
            return None
        rng = np.random.default_rng([steps, *map(len, pair.names)])
        return Trained(chosen, rng.uniform(0.2, 0.9, (REPLICATES + 1, int(chosen.sum()))))

    monkeypatch.setattr(ResampledStudy, "trained_accuracy", accuracy)
    data = SMALL.data.model_copy(update={"test": None})
    study = SMALL.model_copy(update={"data": data})
    actual = compare({**document, "data": {**document["data"], "test": None}}, study, store)
    assert [k for k, p in enumerate(actual["pairs"]) if not p["chosen"]["snnet"]] == [3]
    for metric, method in actual["all_pairs"]["methods"].items():
        for steps, got in method["budgets"].items():
            if int(steps) not in shown:
                assert not got or not any(got[name] for name in AREAS)
                continue
            assert got["pairs"] == len(joined)
            for name in AREAS:
                each = [
                    value(actual["pairs"][k]["methods"][metric]["budgets"][steps][name])
                    for k in joined
                ]
                assert value(got[name]) == pytest.approx(np.mean(each))
                assert got[name]["pairs"] == len(joined)


# -- what it depends on ---------------------------------------------------------------------


def test_the_same_twice_and_whatever_the_metric_of_the_study(compared, computed):
    store, document = computed
    assert json.loads(dumps(compare(document, SMALL, store))) == compared
    other = compare(document, change(SMALL, "selection", metric="snnet"), store)
    assert json.loads(dumps(other))["pairs"] == compared["pairs"]


def test_a_wider_tolerance_gives_every_method_more_but_snnet(compared, computed):
    store, document = computed
    wide = compare(document, change(SMALL, "selection", tau=0.6), store)
    for narrow, actual, pair in zip(compared["pairs"], wide["pairs"], pairs_of(document)):
        assert actual["chosen"]["snnet"] == narrow["chosen"]["snnet"]
        assert actual["methods"]["random"]["overlap"] == narrow["methods"]["random"]["overlap"]
        for metric in SCORED:
            places = [(s["source_block"], s["target_block"]) for s in actual["chosen"][metric]]
            rows = chosen_rows(pair, metric, tau=0.6)
            assert places == [tuple(pair.stitches[row]) for row in rows]
    sizes = [sum(len(p["chosen"]["kl"]) for p in c["pairs"]) for c in (compared, wide)]
    assert sizes[0] < sizes[1]


# -- pairs where something is undefined -----------------------------------------------------


def test_a_pair_without_candidates_is_left_out(compared, computed):
    store, document = computed
    without = copy.deepcopy(document)
    without["pairs"][1]["candidates"] = []
    for candidate in without["pairs"][3]["candidates"]:  # SN-Net's alone, outside the space
        candidate["in_space"] = False
    actual = json.loads(dumps(compare(without, SMALL, store)))
    assert actual["pairs"] == [compared["pairs"][k] for k in (0, 2, 4, 5)]


def test_no_candidates_at_all(computed):
    store, document = computed
    without = copy.deepcopy(document)
    for pair in without["pairs"]:
        pair["candidates"] = []
    with pytest.raises(SelectionError, match="there is no pair with a candidate"):
        compare(without, SMALL, store)


def test_anchors_of_equal_cost_have_no_area_but_a_mean(computed):
    store, _ = computed
    twins = (SMALL.anchors[0], AnchorSpec(name="twin", model=SMALL.anchors[0].model))
    # Every stitch costs more than the two, so only the widened range has any.
    study = change(SMALL.model_copy(update={"anchors": twins}), "selection", full=True)
    actual = compare(Pipeline(study, store, device="cpu").run(), study, store)
    actual = json.loads(dumps(actual))
    assert len(actual["pairs"]) == 2
    for pair in actual["pairs"]:
        for metric in SCORED:
            tuned = pair["methods"][metric]["tuned"]
            assert tuned["auc"] is tuned["auc_stitches"] is tuned["area_top1"] is None
            assert tuned["mean_top1"] is not None
            assert tuned["gain"] is None
    comparison_tables(actual)


# -- too early ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "value", "until", "words"),
    [
        ("fit", {"samples": 41}, "probes", "scores are not computed; run `klas run`"),
        ("tuning", {"steps": 5}, "zero_shot", "run `klas run --until tuned`"),
    ],
)
def test_too_early_says_what_to_run(computed, section, value, until, words):
    store, _ = computed
    study = change(SMALL, section, **value)
    document = Pipeline(study, store, device="cpu").run(until)
    with pytest.raises(SelectionError, match=words) as caught:
        compare(document, study, store)
    assert "\n" not in str(caught.value)
