import pytest
import torch

from klas.pipeline.context import Context
from klas.pipeline.speed import speed_of
from tests.conftest import SMALL


def test_a_speed_is_timed_once_for_each_number_of_threads_and_leaves_torch_as_it_was(
    store, monkeypatch
):
    """A call of set_num_threads can't be taken back: two threads stay slower than they were."""
    monkeypatch.setattr(torch, "set_num_threads", lambda n: pytest.fail("it was called"))
    seen = []
    monkeypatch.setattr(
        "klas.pipeline.speed._timed",
        lambda context, name: seen.append(torch.get_num_threads()) or 1e-3,
    )
    context, before = Context(SMALL, store, device="cpu"), torch.get_num_threads()
    for threads in (2, 1, 2):
        speed = speed_of(context, threads)
        assert set(speed.forward) == {anchor.name for anchor in SMALL.anchors}
        assert speed.loading > 0
    anchors = len(SMALL.anchors)
    assert seen == [2] * anchors + [1] * anchors
    assert torch.get_num_threads() == before
