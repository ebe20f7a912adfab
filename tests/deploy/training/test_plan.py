from collections import Counter

import numpy as np
import pytest

from klas.deploy.training.plan import Plan, check_parts, positions
from klas.errors import StudyError
from tests.deploy.training.trainings import PLAIN

VIEWERS = {"a": "a", "b": "b", "a:1-b:2": "a"}


def plan(parts=1, teacher=None, **recipe):
    return Plan(
        recipe=PLAIN.model_copy(update=recipe),
        viewers=VIEWERS,
        rows=np.arange(100, 130),
        teacher=teacher,
        parts=parts,
    )


@pytest.mark.parametrize(("batch", "parts"), [(8, 1), (8, 2), (8, 4), (12, 3), (9, 3), (7, 7)])
def test_parts_are_disjoint_and_make_up_the_batch(batch, parts):
    every = np.concatenate([positions(batch, part, parts) for part in range(parts)])
    assert sorted(every) == list(range(batch))


@pytest.mark.parametrize(("batch", "parts"), [(8, 2), (16, 4), (24, 3)])
def test_a_parts_first_image_is_paired_with_its_last(batch, parts):
    for part in range(parts):
        own = positions(batch, part, parts)
        assert (own + own[::-1] == batch - 1).all()


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_images_of_a_step_are_the_same_in_any_number_of_parts(parts):
    whole = plan(batch=8)
    for step in range(5):
        rows = [plan(parts, batch=8).rows_of(step, part) for part in range(parts)]
        assert sorted(np.concatenate(rows)) == sorted(whole.rows_of(step, 0))


def test_every_member_comes_up_as_often_and_with_its_view():
    counted = Counter(plan().member(step) for step in range(3000))
    assert counted.keys() == VIEWERS.keys()
    assert all(900 < n < 1100 for n in counted.values())
    for step in range(20):
        assert plan().viewers_at(step) == [VIEWERS[plan().member(step)]]
        assert set(plan(teacher="b").viewers_at(step)) == {VIEWERS[plan().member(step)], "b"}


@pytest.mark.parametrize(
    ("recipe", "processes", "normalises", "words"),
    [
        ({"batch": 9}, 2, None, "in 2 parts .* of the same size; give a multiple of 2"),
        ({"batch": 8, "accumulate": 3}, 2, None, "in 6 parts .*multiple of 6"),
        (
            {"batch": 6, "mixup": 0.8},
            2,
            None,
            "in 2 parts .* of pairs of images, .*; give a multiple of 4",
        ),
        (
            {"batch": 2},
            2,
            "convnet",
            "in 2 parts .* of one image, and convnet .*; give 4 or more",
        ),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(recipe, processes, normalises, words):
    with pytest.raises(StudyError, match=rf"\[training\] batch = \d+: is taken {words}"):
        check_parts(PLAIN.model_copy(update=recipe), processes, normalises=normalises)


def test_a_batch_that_can_be_shared_is_taken_in_so_many_parts():
    assert check_parts(PLAIN.model_copy(update={"accumulate": 2}), 2, normalises=None) == 4
    assert check_parts(PLAIN.model_copy(update={"batch": 9}), 3, normalises="convnet") == 3
