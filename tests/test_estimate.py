import itertools

from klas.estimate import estimate
from klas.pipeline import Pipeline
from tests.conftest import SMALL


def test_what_is_cached_costs_nothing(computed):
    expected = estimate(Pipeline(SMALL, computed[0], device="cpu"), "tuned")
    assert expected.seconds == 0
    assert expected.disk_bytes == 0


def test_a_further_stage_costs_more(store):
    pipeline = Pipeline(SMALL, store, device="cpu")
    until = [estimate(pipeline, stage) for stage in ("anchors", "probes", "zero_shot", "tuned")]
    assert all(a.disk_bytes < b.disk_bytes for a, b in itertools.pairwise(until))
    assert until[0].seconds > 0
    assert until[-1].seconds > until[0].seconds


def test_the_disk_is_estimated_within_a_third(computed, tmp_path):
    from klas.store import Store

    store, _ = computed
    fresh = Store(tmp_path / "fresh")
    expected = estimate(Pipeline(SMALL, fresh, device="cpu"), "tuned").disk_bytes
    fresh.close()
    stages = ("anchors", "features", "probes", "scores", "zero_shot", "tuned")
    actual = sum(e.bytes for e in store.entries() if e.stage in stages)
    assert 0.66 * actual < expected < 1.5 * actual
