import itertools
import shutil
from types import SimpleNamespace

import pytest

from klas.errors import StoreError
from klas.pipeline.estimate import estimate
from klas.pipeline.run import Pipeline
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
    from klas.storage.store import Store

    store, _ = computed
    fresh = Store(tmp_path / "fresh")
    expected = estimate(Pipeline(SMALL, fresh, device="cpu"), "tuned").disk_bytes
    fresh.close()
    stages = ("anchors", "features", "probes", "scores", "zero_shot", "tuned")
    actual = sum(e.bytes for e in store.entries() if e.stage in stages)
    assert 0.66 * actual < expected < 1.5 * actual


def with_samples(count):
    data = SMALL.data.model_copy(update={"train_samples": count, "val_samples": count})
    return SMALL.model_copy(update={"data": data})


def test_the_disk_grows_with_the_samples_and_memory_does_not(store):
    few, many = (
        estimate(Pipeline(with_samples(n), store, device="cpu"), "anchors") for n in (500, 5_000)
    )
    assert many.disk_bytes == pytest.approx(10 * few.disk_bytes, rel=0.01)
    assert many.memory_bytes - few.memory_bytes < 20e6  # what the process took to estimate


def test_results_that_will_not_fit_are_refused_before_the_start(store, monkeypatch):
    pipeline = Pipeline(SMALL, store, device="cpu")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StoreError, match=r"take about [\d.]+ MB, but 0\.0 MB.*--cache-dir"):
        estimate(pipeline, "tuned")


def test_a_full_disk_is_no_matter_where_nothing_is_missing(computed, monkeypatch):
    pipeline = Pipeline(SMALL, computed[0], device="cpu")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert estimate(pipeline, "tuned").disk_bytes == 0
