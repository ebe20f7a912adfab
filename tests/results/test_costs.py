"""The axes of cost, and where a machine's times are found."""

import copy

import numpy as np
import pytest

from klas.results.costs import COSTS, costs_of, envelope_along
from klas.results.pair import pairs_of
from klas.results.result import Machine
from klas.results.timings import note_timings, timings_of
from tests.conftest import SMALL, method_envelope
from tests.stored import latency_key

HERE = {"device": "a processor", "threads": 2, "torch": "2.0"}


@pytest.fixture
def pair(computed):
    return pairs_of(computed[1])[0]


def spread(median, passes=5):
    return {"median_ms": median, "low_ms": 0.9 * median, "high_ms": 1.2 * median, "passes": passes}


def result(pair, machine=HERE):
    return {
        "machine": machine,
        "batch": 1,
        "stitches": {f"{i}-{j}": spread(10.0 * i + j) for i, j in pair.stitches},
        "anchors": {name: spread(len(name)) for name in pair.names},
    }


def test_macs_and_parameters_are_the_documents(pair):
    for name in ("macs", "params"):
        costs = costs_of(pair, name)
        assert costs.stitches.tolist() == [c[name] for c in pair.raw["candidates"]]
        assert costs.anchors == {a["name"]: a[name] for a in (pair.source, pair.target)}
    assert costs_of(pair, "macs").title == "MMACs (the papers' MFLOPs)"
    assert costs_of(pair, "params").title == "thousand parameters"


def test_large_networks_are_shown_in_millions_of_parameters(computed):
    document = copy.deepcopy(computed[1])
    document["anchors"][0]["params"] = 5_000_000
    assert costs_of(pairs_of(document)[0], "params").unit.scale == 1e6


def test_times_are_found_by_candidate_and_machine(pair, store):
    assert timings_of(store, SMALL, pair) == []
    store.put(latency_key(pair, SMALL, HERE), result(pair))
    assert timings_of(store, SMALL, pair) == []  # nobody noted that this study has them
    note_timings(store, SMALL, pair, Machine(**HERE))
    (actual,) = timings_of(store, SMALL, pair)
    expected = [10.0 * i + j for i, j in pair.stitches]
    assert actual.median.tolist() == expected
    assert actual.low.tolist() == pytest.approx([0.9 * m for m in expected])
    assert actual.high.tolist() == pytest.approx([1.2 * m for m in expected])
    assert actual.passes.tolist() == [5] * len(expected)
    assert actual.where == "a processor, 2 threads, torch 2.0"
    costs = costs_of(pair, "latency", actual)
    assert costs.title == "median forward time at batch 1 (ms)"
    assert costs.anchors == {name: float(len(name)) for name in pair.names}


def test_a_machine_is_noted_once_and_what_is_gone_from_the_store_is_not_there(pair, store):
    one = {**HERE, "threads": 1}
    for machine in (HERE, one, HERE):
        store.put(latency_key(pair, SMALL, machine), result(pair, machine))
        note_timings(store, SMALL, pair, Machine(**machine))
    assert [t.machine["threads"] for t in timings_of(store, SMALL, pair)] == [2, 1]
    store.clear("latency")
    assert timings_of(store, SMALL, pair) == []
    note_timings(store, SMALL, pair, Machine(**HERE))  # the note stands, the result does not
    assert timings_of(store, SMALL, pair) == []


def test_the_key_tells_machines_pairs_and_weights_apart(computed):
    first, second = pairs_of(computed[1])[:2]
    document = copy.deepcopy(computed[1])
    document["anchors"][0]["digest"] = "another"
    changed = next(p for p in pairs_of(document) if p.names == first.names)
    keys = [
        latency_key(first, SMALL, HERE),
        latency_key(first, SMALL, {**HERE, "threads": 1}),
        latency_key(first, SMALL, {**HERE, "torch": "3"}),
        latency_key(first, SMALL, {**HERE, "device": "another"}),
        latency_key(second, SMALL, HERE),
        latency_key(changed, SMALL, HERE),
    ]
    assert len({key.digest for key in keys}) == len(keys)
    assert latency_key(first, SMALL, dict(HERE)).digest == keys[0].digest
    assert {key.stage for key in keys} == {"latency"}


@pytest.mark.parametrize("name", [c for c in COSTS if c != "latency"])
def test_an_envelope_takes_the_best_within_every_cost(pair, name):
    costs, accuracy = costs_of(pair, name), pair.accuracy("tuned")
    actual = envelope_along(costs, pair, pair.in_space, accuracy)
    anchors = [(costs.anchors[a["name"]], a["accuracy"]) for a in pair.measured_anchors]
    points = [*zip(costs.stitches[pair.in_space], accuracy[pair.in_space]), *anchors]
    for limit in sorted({cost for cost, _ in points}):
        assert actual.at(limit) == max(a for c, a in points if c <= limit)
    if name == "macs":
        plain = method_envelope(pair, pair.in_space, accuracy)
        assert actual.costs.tolist() == plain.costs.tolist()


def test_what_has_no_cost_or_no_accuracy_is_on_no_envelope(pair, store):
    store.put(latency_key(pair, SMALL, HERE), result(pair))
    note_timings(store, SMALL, pair, Machine(**HERE))
    costs = costs_of(pair, "latency", timings_of(store, SMALL, pair)[0])
    accuracy = pair.accuracy("tuned").copy()
    accuracy[:] = np.nan
    only_anchors = envelope_along(costs, pair, pair.in_space, accuracy)
    assert set(only_anchors.costs) <= set(costs.anchors.values())
    accuracy[0] = 2.0  # the best of all, were its cost known
    costs.stitches[0] = np.nan
    assert envelope_along(costs, pair, pair.in_space, accuracy).accuracies.max() < 2.0
