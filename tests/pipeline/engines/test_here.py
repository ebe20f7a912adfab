"""Engines: what is missing comes after its needs, and what lands is the study's at once."""

import random
import shutil
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.errors import DivergedError, KlasError, StoreError
from klas.pipeline.context import Context
from klas.pipeline.engines.engine import missing, units
from klas.pipeline.engines.here import Here
from klas.pipeline.recipes.recipe import Recipe, no_cost, undivided
from klas.pipeline.run import Pipeline
from klas.results.keys import Keys
from klas.results.pair import pairs_of
from klas.results.refs import scores_ref, stored_scores
from klas.results.result import (
    Cka,
    Features,
    Fit,
    ProbeAccuracy,
    Probes,
    TestOutcomes,
    Theta,
    Tuned,
    Validation,
    ZeroShot,
    finetuned,
    outcomes_of,
)
from klas.results.stages import stages_done
from klas.results.trainings import joint_training
from klas.results.usage import claimed, usage
from klas.storage.contents import Contents
from klas.storage.saved_studies import save_study
from klas.storage.store import Store
from tests.conftest import SMALL
from tests.results.written_study import DIGESTS, DOCUMENT, ENDS, SOME, STUDY

WRITTEN = [*DIGESTS]
subsets = st.frozensets(st.sampled_from(WRITTEN))


def stored(results):
    """As much of a context as it takes to know what is there."""
    return SimpleNamespace(has=results.__contains__)


def reachable(wanted, there):
    """Of what is wanted and all that it needs what is not there, without any order."""
    seen = set()
    waiting = list(wanted)
    while waiting:
        result = waiting.pop()
        if result not in there and result not in seen:
            seen.add(result)
            waiting += result.needs
    return seen


@given(wanted=st.lists(st.sampled_from(WRITTEN)), there=subsets)
def test_what_is_missing_comes_once_and_after_its_needs(wanted, there):
    results = list(missing(wanted, stored(there)))
    assert len(set(results)) == len(results)
    assert set(results) == reachable(wanted, there)
    had = set(there)
    for result in results:
        assert {*result.needs} <= had
        had.add(result)
    assert {*wanted} <= had


def test_of_a_stored_result_nothing_is_asked_that_it_was_made_from():
    tuned = Tuned(**ENDS)
    assert list(missing([tuned], stored({tuned}))) == []
    assert list(missing([tuned], stored({}))) == [Fit(**ENDS), tuned]
    assert list(missing([finetuned(SOME)], stored({outcomes_of(SOME, "val")}))) == [finetuned(SOME)]


def test_what_was_made_meanwhile_is_not_made_again():
    there = set()
    todo = missing([Fit(**ENDS), ZeroShot(**ENDS), Cka(**ENDS)], stored(there))
    assert next(todo) == Fit(**ENDS)
    there.add(ZeroShot(**ENDS))  # another process was quicker
    assert next(todo) == Validation(anchor="small")
    there |= {Validation(anchor="own"), Cka(**ENDS)}
    # It had been looked up before, and an engine computes under the result's lock.
    assert list(todo) == [Cka(**ENDS)]


class Told:
    """A progress that remembers, and may interrupt."""

    def __init__(self, interrupt_at=None):
        self.labels, self.done, self.interrupt_at = [], 0, interrupt_at

    def start(self, stage, unit, total):
        self.total, self.done = total, 0

    def label(self, text):
        self.labels.append(text)

    def advance(self, amount):
        self.done += amount
        if self.interrupt_at is not None and self.done >= self.interrupt_at:
            raise KeyboardInterrupt


def make_bench(store, patch):
    """The written study's context, and recipes that write down what they were asked to make."""
    context = Context(STUDY, store, device="cpu", progress=Told())
    context.keys = Keys.of_document(DOCUMENT, STUDY)
    context.batch = SimpleNamespace(retrying=lambda make, tick: make(tick))
    made = []

    def make(result, context, tick):
        assert all(context.has(need) for need in result.needs)
        if result in failing:
            raise failing[result]
        tick(1)
        made.append(result)
        return {"kind": type(result).__name__}

    failing = {}
    recipe = Recipe(units=lambda result, context: 1, shares=undivided(make), cost=no_cost)
    for module in ("engine", "shares"):
        patch.setattr(f"klas.pipeline.engines.{module}.recipe_of", lambda result: recipe)
    return SimpleNamespace(context=context, made=made, failing=failing, store=store)


@pytest.fixture
def bench(store, monkeypatch):
    return make_bench(store, monkeypatch)


def noted(bench):
    return {entry.digest for entry in claimed(bench.store, STUDY)}


@settings(max_examples=20)
@given(wanted=st.lists(st.sampled_from(WRITTEN), min_size=1), seed=st.integers(0, 9))
def test_all_that_is_wanted_is_there_afterwards_and_was_made_once(tmp_path_factory, wanted, seed):
    with Store(tmp_path_factory.mktemp("engine")) as store, pytest.MonkeyPatch.context() as patch:
        bench = make_bench(store, patch)
        some = random.Random(seed).sample(wanted, k=len(wanted) // 2)
        for results in (some, wanted, wanted):
            Here().carry_out(results, bench.context)
        assert all(bench.context.has(result) for result in wanted)
        assert len(set(bench.made)) == len(bench.made)
        assert set(bench.made) == reachable(wanted, {})
        assert noted(bench) == {e.digest for e in store.entries()}


def test_each_result_has_its_own_label_unless_one_is_given(bench):
    wanted = [Validation(anchor="small"), Fit(**ENDS)]
    Here().carry_out(wanted, bench.context)
    assert bench.context.progress.labels == [bench.context.keys.of(r).label for r in wanted]
    named = dict.fromkeys([Tuned(**ENDS), ZeroShot(**ENDS)], "small → own")
    Here().carry_out([*named], bench.context, labels=named)
    assert bench.context.progress.labels[2:] == ["small → own"] * 2


def test_a_result_that_cannot_be_made_leaves_those_before_it(bench):
    wanted = [Fit(**ENDS), Validation(anchor="small"), Features(anchor="small")]
    bench.failing[wanted[1]] = DivergedError("it diverged")
    with pytest.raises(KlasError, match="it diverged"):
        Here().carry_out(wanted, bench.context)
    assert bench.made == wanted[:1]
    assert noted(bench) == {bench.context.keys.of(wanted[0]).digest}
    bench.failing.clear()
    Here().carry_out(wanted, bench.context)
    assert bench.made == wanted


def test_the_units_that_are_missing_are_the_units_that_are_told_of(bench):
    wanted = [Theta(**ENDS), ProbeAccuracy(anchor="small"), Cka(**ENDS)]
    Here().carry_out([Probes(anchor="small")], bench.context)
    expected = units(wanted, bench.context)
    bench.context.progress.start("scores", "results", expected)
    Here().carry_out(wanted, bench.context)
    assert bench.context.progress.done == expected == len(reachable(wanted, {})) - 2
    assert units(wanted, bench.context) == 0


class Recording:
    """An engine that writes down what it is asked for, and makes nothing."""

    workers, memory_bytes = 1, 0

    def __init__(self):
        self.asked = []

    def carry_out(self, results, context, *, labels=None, tolerated=()):
        self.asked.append((tuple(results), {*labels.values()}))
        return {}

    def close(self):
        pass


def pipeline_of(store):
    pipeline = Pipeline(SMALL, store, device="cpu")
    pipeline.engine = Recording()
    return pipeline


def test_an_engine_is_not_asked_for_what_is_there(computed):
    store, document = computed
    pipeline = pipeline_of(store)
    assert pipeline.run() == document
    assert pipeline.engine.asked == []


def test_an_engine_gets_the_results_of_each_step_that_is_not_done(computed):
    store, document = computed
    pipeline = pipeline_of(store)
    context, (source, target) = pipeline.context, pipeline.context.pairs[0]
    gone = [ZeroShot(source=source, target=target), *pipeline.steps("tuned")[0].results]
    kept = {result: store.get(context.keys.of(result)) for result in gone}
    for result in gone:
        store.delete(store.entry(context.keys.of(result).digest))
    shown = pipeline.run()
    assert pipeline.engine.asked == [
        (pipeline.steps("zero_shot")[0].results, set()),
        (pipeline.steps("tuned")[0].results, set()),
    ]
    # This engine has made nothing, and the document says so.
    first, *others = shown["pairs"]
    assert {c["accuracy"]["zero_shot"] for c in first["candidates"]} == {None}
    for pair, before in zip(others, document["pairs"][1:]):
        for now, was in zip(pair["candidates"], before["candidates"]):
            assert now["accuracy"] == {**was["accuracy"], "tuned": None}
    for result, value in kept.items():
        store.put(context.keys.of(result), dict(value))
    assert pipeline_of(store).run() == document


def test_an_engine_gets_a_joint_training_with_its_pairs_name(computed):
    store, document = computed
    pipeline, pair = pipeline_of(store), pairs_of(document)[0]
    with pytest.raises(StoreError, match="run it again"):  # this engine makes nothing
        pipeline.finetune(pair, pair.snnet)
    ((results, labels),) = pipeline.engine.asked
    assert labels == {pair.name}
    training, tested, *anchors = results
    assert training == joint_training(pair, pair.snnet, SMALL.finetuning)
    assert tested == outcomes_of(training.weights, "test")
    assert anchors == [TestOutcomes(anchor=name) for name in pair.names]


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "a file elsewhere"])
@pytest.mark.parametrize("done", [1, 300, 301, 899])
def test_what_an_interrupted_stage_has_finished_is_the_studys(store, done, saved):
    """Cancelled in its first anchor, at its end, just after it, in its third."""
    if saved:
        save_study(store, SMALL)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(SMALL, store, device="cpu", progress=Told(interrupt_at=done)).run("anchors")
    told = usage(store)
    (study,) = (held for held in told.studies if held.known.name == SMALL.name)
    assert told.unclaimed == 0
    assert study.bytes == told.bytes > 0
    passes = [entry for entry in claimed(store, SMALL) if "pass over" in entry.label]
    assert len(passes) == (done - 1) // 300


class Killed(BaseException):
    """Stands for a signal that no process can answer."""


@pytest.mark.parametrize("landed", range(6))
def test_a_result_is_the_studys_at_the_very_moment_it_lands(store, landed, monkeypatch):
    land, left = Contents.store, [landed]

    def killed_after(*what):
        land(*what)
        if not left[0]:
            raise Killed
        left[0] -= 1

    monkeypatch.setattr(Contents, "store", killed_after)
    with pytest.raises(Killed):
        Pipeline(SMALL, store, device="cpu").run()
    told = usage(store)
    assert sum(count for count, _ in told.stages.values()) == landed + 1
    assert told.unclaimed == 0
    assert [held.known.name for held in told.studies if held.results] == [SMALL.name]


@pytest.mark.parametrize(
    "ending", [KeyboardInterrupt(), DivergedError("it diverged"), ValueError()], ids=repr
)
def test_the_finished_pairs_of_a_stage_are_shown_however_it_ends(
    computed, tmp_path, monkeypatch, ending
):
    shutil.copytree(computed[0].root, tmp_path / "cache")
    with Store(tmp_path / "cache") as store:
        pipeline = Pipeline(SMALL, store, device="cpu")
        (tuned,) = pipeline.steps("tuned")
        for result in tuned.results[2:]:
            store.delete(store.entry(pipeline.context.keys.of(result).digest))
        store.ref_path(scores_ref(SMALL.results_key())).unlink()

        def end(*_, **__):
            raise ending

        monkeypatch.setattr(Context, "training_batches", end)
        with pytest.raises(type(ending)):
            pipeline.run()
        document = stored_scores(store, SMALL)
        assert stages_done(document)["tuned"] == (2, len(tuned.results))
        assert document["pairs"][:2] == computed[1]["pairs"][:2]
