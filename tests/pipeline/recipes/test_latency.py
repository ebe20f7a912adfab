"""Forward times on this machine: what is timed, in which order, where it is kept."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from klas.jobs import process
from klas.jobs.kinds import LatencyJob
from klas.jobs.listing import all_jobs
from klas.networks.family import layer_states
from klas.networks.stitch import Stitch
from klas.pipeline.recipes import latency
from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.results.result import Fit, Machine
from klas.results.timings import timings_of
from klas.storage.store import Store
from tests.conftest import SMALL
from tests.jobs.workers import finished, wait_for


class Record:
    """A progress that remembers the stages that were begun."""

    def __init__(self):
        self.stages = []

    def start(self, stage, unit, total):
        self.stages.append((stage, total))

    def label(self, text):
        pass

    def advance(self, amount):
        pass


class Clock:
    """Time that passes only where work is done."""

    def __init__(self):
        self.now = 0.0
        self.ran = []

    def __call__(self):
        return self.now

    def work(self, name, seconds):
        def run():
            self.ran.append(name)
            self.now += next(seconds)

        return run


def steady(seconds):
    return itertools.repeat(seconds)


def test_a_slow_network_has_five_passes_and_a_quick_one_its_share_of_the_time():
    clock = Clock()
    runs = {
        "slow": clock.work("slow", steady(3.0)),
        "quick": clock.work("quick", steady(0.01)),
        "instant": clock.work("instant", steady(0.0)),
    }
    actual = latency.time_runs(runs, lambda n: None, seconds=1.0, clock=clock)
    assert {name: len(times) for name, times in actual.items()} == {
        "slow": latency.ROUNDS,
        "quick": latency.ROUNDS * 20,
        "instant": latency.ROUNDS * latency.MOST_PASSES,
    }
    assert actual["slow"] == pytest.approx(3.0)
    assert actual["quick"] == pytest.approx(0.01)


def test_in_every_round_each_has_one_turn_in_another_order():
    clock, names, ticks = Clock(), [f"{i}-1" for i in range(6)], []
    runs = {name: clock.work(name, steady(1.0)) for name in names}
    latency.time_runs(runs, ticks.append, seconds=0.1, clock=clock)
    assert sum(ticks) == latency.ROUNDS * len(names)
    warm_up = latency.WARM_UP + 1  # and the pass that tells how many there will be
    assert clock.ran[: warm_up * 6] == [n for n in names for _ in range(warm_up)]
    timed = clock.ran[warm_up * 6 :]
    assert timed[::2] == timed[1::2]  # a pass that does not count before the one that does
    turns = np.array(timed[::2]).reshape(latency.ROUNDS, 6)
    assert all(sorted(turn) == names for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1


def test_what_comes_before_a_turn_does_not_count():
    clock = Clock()
    first_is_slow = itertools.chain([9.0] * latency.WARM_UP, [1.0], itertools.cycle([5.0, 1.0]))
    runs = {"cold": clock.work("cold", first_is_slow)}
    actual = latency.time_runs(runs, lambda n: None, seconds=0.1, clock=clock)
    assert actual["cold"].tolist() == [1.0] * latency.ROUNDS


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(latency, "NETWORK_SECONDS", 0.0)
    real = latency.time_runs
    monkeypatch.setattr(latency, "time_runs", lambda runs, tick: real(runs, tick, seconds=0.0))


@pytest.fixture
def pipeline(computed):
    return Pipeline(SMALL, computed[0], device="cpu", progress=Record())


def first_call(run):
    """The network that a run calls, and what it is given."""
    calls = []
    hook = register_module_forward_pre_hook(lambda module, given: calls.append((module, *given)))
    run()
    hook.remove()
    return calls[0]


def test_every_candidate_and_anchor_is_timed_as_the_network_that_it_is(
    computed, pipeline, quickly, monkeypatch
):
    pair = pairs_of(computed[1])[0]
    seen, real = [], latency.time_runs

    def watched(runs, tick):
        seen.extend(map(first_call, runs.values()))
        return real(runs, tick)

    monkeypatch.setattr(latency, "time_runs", watched)
    actual = pipeline.latency(pair)
    assert set(actual["stitches"]) == {f"{i}-{j}" for i, j in pair.stitches}
    assert set(actual["anchors"]) == set(pair.names)
    assert actual["batch"] == 1
    assert actual["machine"] == latency.machine(torch.device("cpu")).to_json()
    assert actual["machine"]["threads"] == torch.get_num_threads()
    for times in [*actual["stitches"].values(), *actual["anchors"].values()]:
        assert 0 < times["low_ms"] <= times["median_ms"] <= times["high_ms"]
        assert times["passes"] == latency.ROUNDS
    assert len(seen) == len(pair.macs) + 2
    source, target = pair.names
    fitted = layer_states(pipeline.context.read(Fit(source=source, target=target)))
    stitched = [(n, image) for n, image in seen if isinstance(n, Stitch)]
    assert len(stitched) == len(pair.macs)
    for (network, image), (i, j) in zip(stitched, pair.everywhere):
        assert image.shape[0] == 1
        assert not network.training
        assert len(network.front) == i
        assert len(network.back) == pair.target["blocks"] - j
        assert torch.equal(network.layer.weight, fitted[i, j]["weight"])


def test_it_is_found_again_and_not_measured_twice(computed, pipeline, quickly, monkeypatch):
    store, document = computed
    pair = pairs_of(document)[1]
    first = pipeline.latency(pair)
    monkeypatch.setattr(latency, "time_runs", None)
    assert pipeline.latency(pair) == first
    (times,) = timings_of(store, SMALL, pair)
    assert times.median.tolist() == [
        first["stitches"][f"{i}-{j}"]["median_ms"] for i, j in pair.stitches
    ]
    assert times.anchors == {n: t["median_ms"] for n, t in first["anchors"].items()}
    totals = [total for stage, total in pipeline.context.progress.stages if stage == "latency"]
    assert totals == [latency.ROUNDS * (len(pair.macs) + 2), 0]
    assert store.get_ref(f"scores-{SMALL.results_key()}") == document  # no time is in it


def machines(store, pair):
    return [Machine(**times.machine) for times in timings_of(store, SMALL, pair)]


def test_another_machine_is_measured_too_and_the_last_one_comes_first(
    computed, pipeline, quickly, monkeypatch
):
    store, document = computed
    pair = pairs_of(document)[2]
    pipeline.latency(pair)
    here = latency.machine(torch.device("cpu"))
    elsewhere = replace(here, device="another")
    monkeypatch.setattr("klas.pipeline.run.machine", lambda device: elsewhere)
    pipeline.latency(pair)
    assert [t.machine for t in timings_of(store, SMALL, pair)] == [
        elsewhere.to_json(),
        here.to_json(),
    ]
    monkeypatch.setattr("klas.pipeline.run.machine", lambda device: here)
    pipeline.latency(pair)
    assert [t.machine for t in timings_of(store, SMALL, pair)] == [
        here.to_json(),
        elsewhere.to_json(),
    ]
    assert timings_of(store, SMALL, pairs_of(document)[3]) == []


@pytest.mark.slow
def test_interrupted_it_keeps_the_pairs_that_are_done(computed, tmp_path, quickly):
    shutil.copytree(computed[0].root, tmp_path / "cache")
    store = Store(tmp_path / "cache")
    first, second = pairs_of(computed[1])[3:5]

    class Interrupt(Record):
        def advance(self, amount):
            if len(self.stages) == 2:
                raise KeyboardInterrupt

    pipeline = Pipeline(SMALL, store, device="cpu", progress=Interrupt())
    pipeline.latency(first)
    with pytest.raises(KeyboardInterrupt):
        pipeline.latency(second)
    assert timings_of(store, SMALL, first)
    assert timings_of(store, SMALL, second) == []
    again = Pipeline(SMALL, store, device="cpu", progress=Record())
    for pair in (first, second):
        again.latency(pair)
    assert [total > 0 for _, total in again.context.progress.stages] == [False, True]
    assert timings_of(store, SMALL, second)
    store.close()


def test_a_headless_source_has_no_time_of_its_own(computed, pipeline, quickly, monkeypatch):
    pair = pairs_of(computed[1])[5]
    source = pipeline.context.anchors[pair.names[0]]
    monkeypatch.setattr(source, "info", replace(source.info, classes=0))
    actual = pipeline.latency(pair)
    assert set(actual["anchors"]) == {pair.names[1]}
    assert len(actual["stitches"]) == len(pair.macs)


@pytest.mark.slow
def test_a_worker_times_a_pair_in_its_turn(computed, monkeypatch):
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    store, document = computed
    pair = min(pairs_of(document), key=lambda p: len(p.macs))
    job = process.start(store, SMALL, LatencyJob(pairs=(pair.names,)))
    assert all_jobs(store)[0].status.state in ("queued", "running")
    status = wait_for(store, job, finished)
    assert status.state == "done", status.error
    assert status.stages[-1].stage == "latency"
    assert timings_of(store, SMALL, pair)
