"""The owner of a crew: needs first, nothing twice, nothing lost, whatever workers do."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.errors import DivergedError, KlasError, WorkerError
from klas.pipeline.context import Context
from klas.pipeline.engines import crew as crews
from klas.pipeline.engines.crew import ATTEMPTS, Failed, Lost, Made, Ticked, carry_out
from klas.pipeline.engines.shares import Content, make_share
from klas.pipeline.recipes.recipe import Cost, Recipe
from klas.pipeline.speed import Speed
from klas.results.keys import Keys
from klas.results.refs import used_digests
from klas.results.result import Cka, Features, Fit, Probes, Theta, Tuned, Validation, ZeroShot
from klas.storage.store import Store
from tests.pipeline.engines.test_here import Told, reachable
from tests.results.written_study import DIGESTS, DOCUMENT, ENDS, STUDY

SPEED = Speed(forward={}, loading=0.0)
SHARES = 3
UNITS = 2  # that a share ticks


class Here:
    """A crew in this process: it makes a share when it is waited for, the oldest or any other."""

    def __init__(self, context, folder, *, workers=2, seed=0, luck=None):
        self._context, self._folder = context, folder
        self._workers, self._random = workers, random.Random(seed)
        self._luck = luck or (lambda share: None)
        self.at_work, self.made, self.dismissed = [], [], False

    @property
    def idle(self):
        return self._workers - len(self.at_work)

    def give(self, share, key):
        assert self.idle
        assert key.digest == self._context.keys.of(share.result).digest
        assert all(self._context.has(need) for need in share.result.needs)
        self.at_work.append(share)

    def wait(self, seconds):
        if not self.at_work:
            assert seconds is not None, "it would wait for ever"
            return
        share = self._random.choice(self.at_work)
        yield Ticked(share=share, units=1)
        self.at_work.remove(share)
        happened = self._luck(share)
        if happened is not None:
            yield happened
            return
        file = self._folder / f"{id(share)}.rows"
        content = make_share(share, self._context, file, lambda units: None)
        self.made.append(share)
        yield Ticked(share=share, units=UNITS - 1)
        yield Made(share=share, content=content)

    def dismiss(self):
        self.dismissed = True


@pytest.fixture
def bench(store, monkeypatch):
    return make_bench(store, monkeypatch)


def make_bench(store, patch):
    """The written study's context, and recipes of three shares that are JSON or arrays."""
    import numpy as np

    context = Context(STUDY, store, device="cpu", progress=Told())
    context.keys = Keys.of_document(DOCUMENT, STUDY)

    def shares(result, context):
        def make(tick, number):
            return {"rows": np.full((2, 2), number)}

        return [lambda tick, number=number: make(tick, number) for number in range(SHARES)]

    recipe = Recipe(
        units=lambda result, context: UNITS * SHARES,
        shares=shares,
        cost=lambda result, context, speed: Cost(seconds=1.0),
    )
    for module in ("crew", "engine", "shares"):
        patch.setattr(f"klas.pipeline.engines.{module}.recipe_of", lambda result: recipe)
    return SimpleNamespace(context=context, store=store)


def carried_out(bench, folder, wanted, **crew_settings):
    crew = Here(bench.context, folder, **crew_settings)
    return crew, carry_out(wanted, bench.context, crew, SPEED)


@settings(max_examples=25)
@given(
    wanted=st.lists(st.sampled_from([*DIGESTS]), min_size=1),
    workers=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_every_share_is_made_once_after_its_needs(tmp_path_factory, wanted, workers, seed):
    folder = tmp_path_factory.mktemp("crew")
    with Store(folder / "cache") as store, pytest.MonkeyPatch.context() as patch:
        bench = make_bench(store, patch)
        crew, ended = carried_out(bench, folder, wanted, workers=workers, seed=seed)
        assert ended == {}
        assert {share.result for share in crew.made} == reachable(wanted, {})
        assert len(set(crew.made)) == len(crew.made) == SHARES * len(reachable(wanted, {}))
        assert bench.context.progress.done == UNITS * len(crew.made)
        assert all(bench.context.has(result) for result in wanted)
        for entry in store.entries():
            assert entry.digest in used_digests(store, STUDY.results_key())
        again, _ = carried_out(bench, folder, wanted, workers=workers)
        assert again.made == []
        assert not list(folder.glob("*.rows"))


@given(seed=st.integers(0, 99), unlucky=st.integers(0, 8))
@settings(max_examples=15)
def test_a_share_whose_worker_died_is_made_by_another_and_counted_once(
    tmp_path_factory, seed, unlucky
):
    folder = tmp_path_factory.mktemp("crew")
    with Store(folder / "cache") as store, pytest.MonkeyPatch.context() as patch:
        bench, turns = make_bench(store, patch), iter(range(1000))

        def luck(share):
            return Lost(share=share, why="it fell") if next(turns) == unlucky else None

        wanted = [Tuned(**ENDS), Features(anchor="small")]
        crew, _ = carried_out(bench, folder, wanted, seed=seed, luck=luck)
        assert len(set(crew.made)) == len(crew.made) == SHARES * len(reachable(wanted, {}))
        assert bench.context.progress.done == UNITS * len(crew.made)


def test_a_share_that_kills_every_worker_is_given_up_in_a_sentence(bench, tmp_path):
    tried = []

    def luck(share):
        tried.append(share)
        return Lost(share=share, why="the last one was ended by signal 9")

    with pytest.raises(WorkerError, match=r"small → own.*3 workers in turn .*signal 9"):
        carried_out(bench, tmp_path, [Fit(**ENDS)], workers=1, luck=luck)
    assert tried == [tried[0]] * ATTEMPTS


def failing_at(result, error):
    return lambda share: Failed(share=share, error=error) if share.result == result else None


def test_an_error_ends_the_crew_and_leaves_what_is_finished(bench, tmp_path):
    wanted = [Fit(**ENDS), Cka(**ENDS), Probes(anchor="small")]
    crew = Here(bench.context, tmp_path, luck=failing_at(wanted[1], KlasError("no such data")))
    with pytest.raises(KlasError, match="no such data"):
        carry_out(wanted, bench.context, crew, SPEED)
    assert crew.dismissed
    assert not bench.context.has(wanted[1])
    assert not list(tmp_path.glob("*.rows"))
    for result in DIGESTS:  # nothing stays locked
        with bench.store.lock(bench.context.keys.of(result).digest).acquire(timeout=0):
            pass
    crew, _ = carried_out(bench, tmp_path, wanted)
    assert all(bench.context.has(result) for result in wanted)


def test_a_tolerated_error_leaves_out_what_needs_the_result_and_nothing_else(bench, tmp_path):
    wanted, error = [ZeroShot(**ENDS), Tuned(**ENDS), Theta(**ENDS)], DivergedError("no number")
    crew = Here(bench.context, tmp_path, luck=failing_at(Fit(**ENDS), error))
    ended = carry_out(wanted, bench.context, crew, SPEED, tolerated=(DivergedError,))
    assert ended == dict.fromkeys([Fit(**ENDS), ZeroShot(**ENDS), Tuned(**ENDS)], error)
    assert bench.context.has(Theta(**ENDS))
    assert not list(tmp_path.glob("*.rows"))


def test_what_another_process_makes_is_waited_for_and_not_made_again(bench, tmp_path, monkeypatch):
    """A lock that somebody else holds, until the result is there."""
    wanted, other = [Validation(anchor="small"), Cka(**ENDS)], Validation(anchor="small")
    key, looks = bench.context.keys.of(other), iter(range(100))
    lock = bench.store.lock

    class Elsewhere:
        def acquire(self, timeout):
            if next(looks) == 3:
                with lock(key.digest):
                    bench.store.put(key, {"from": "elsewhere"})
            raise crews.Timeout("lock")

    monkeypatch.setattr(
        bench.store, "lock", lambda name: Elsewhere() if name == key.digest else lock(name)
    )
    crew, _ = carried_out(bench, tmp_path, wanted)
    assert {share.result for share in crew.made} == reachable(wanted, {}) - {other}
    assert bench.store.get(key) == {"from": "elsewhere"}


def test_labels_are_those_given_with_the_share_where_there_are_several(bench, tmp_path):
    crew = Here(bench.context, tmp_path, workers=1)
    carry_out([Fit(**ENDS)], bench.context, crew, SPEED, labels={Fit(**ENDS): "small → own"})
    assert bench.context.progress.labels == [
        f"small → own ({number} of {SHARES})" for number in (1, 2, 3)
    ]


def test_a_value_is_stored_as_one_process_stores_it(bench, tmp_path):
    content = Content(kind="json", value={"accuracy": 0.5})
    key = bench.context.keys.of(Fit(**ENDS))
    crews.store_shares(bench.store, key, [content])
    assert bench.store.get(key) == {"accuracy": 0.5}
