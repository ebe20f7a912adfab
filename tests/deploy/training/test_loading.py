import sys

import pytest
import torch

from klas.deploy.training import loading
from klas.deploy.training.loading import loader_processes
from klas.errors import DataError
from tests.deploy.elastics import elastic
from tests.deploy.training.trainings import RICH, VITS, Pictures, prepared

forks = pytest.mark.skipif(sys.platform != "linux", reason="images are loaded in this process")


class Files(Pictures):
    stored = True


class Damaged(Files):
    def image(self, index):
        raise DataError(f"{self.where(index)}: is not a readable image")


def steps(images=None, *, first=0, last=5, workers=0, recipe=RICH):
    made = prepared(elastic(VITS), recipe, None, images=images or Files()).images
    return list(made.batches(first, last, workers=workers, pin=False))


def same(one, other):
    return all(
        torch.equal(a, b) and views.keys() == others.keys()
        for parts, theirs in zip(one, other, strict=True)
        for (views, labels), (others, classes) in zip(parts, theirs, strict=True)
        for a, b in [(labels, classes), *((views[name], others[name]) for name in views)]
    )


@forks
def test_images_are_the_same_whoever_prepares_them():
    assert same(steps(), steps(workers=2))


def test_a_step_has_its_images_wherever_one_begins():
    assert same(steps()[3:], steps(first=3))


def test_a_step_has_the_views_of_its_member_and_of_the_teacher():
    for ((views, labels),) in steps(last=8):
        assert "digits_vit_small" in views
        assert len(views) <= 2
        assert all(view.shape == (RICH.batch, 1, 16, 16) for view in views.values())
        assert all(view.dtype == torch.uint8 for view in views.values())
        assert labels.shape == (RICH.batch,)


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_one_sentence_from_any_process(workers):
    with pytest.raises(DataError) as caught:
        steps(Damaged(), workers=workers)
    assert "is not a readable image" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_that_are_drawn_need_no_processes(monkeypatch):
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert loader_processes(Pictures()) == 0


@forks
@pytest.mark.parametrize(
    ("cores", "local", "expected"), [(1, 1, 0), (8, 1, 8), (8, 2, 4), (99, 1, 16)]
)
def test_processes_share_the_cores(monkeypatch, cores, local, expected):
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    assert loader_processes(Files()) == expected
