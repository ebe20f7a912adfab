import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import klas.digits  # noqa: F401 - registers the built-in images
from klas.data import balanced_order, open_images, subset


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 99))
def test_every_prefix_is_as_balanced_as_the_classes_allow(labels, seed):
    labels = np.array(labels)
    order = balanced_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    totals = np.bincount(labels, minlength=5)
    for n in range(len(labels) + 1):
        counts = np.bincount(labels[order[:n]], minlength=5)
        unfinished = counts[counts < totals]
        assert not unfinished.size or counts.max() - unfinished.min() <= 1


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.integers(0, 99),
    st.sets(st.integers(0, 59)),
)
def test_what_is_left_out_is_followed_by_the_next_of_its_class(labels, seed, without):
    labels = np.array(labels)
    order = balanced_order(labels, seed)
    left = balanced_order(labels, seed, without=sorted(without))
    assert not set(left) & without
    for name in range(5):
        whole = [r for r in order if labels[r] == name and r not in without]
        assert [r for r in left if labels[r] == name] == whole
    counts = np.cumsum(labels[left][:, None] == np.arange(5), axis=0)
    totals = np.bincount(labels[left], minlength=5)
    for row in counts:
        unfinished = row[row < totals]
        assert not unfinished.size or row.max() - unfinished.min() <= 1


def test_one_permutation_is_dealt_out_to_the_classes_in_turn():
    """Cached results are aligned with these rows; another order would need another key."""
    labels = np.array([0, 1, 0, 2, 1, 0, 2, 2, 0, 1])
    order = balanced_order(np.zeros(10, dtype=np.int64), 3)  # with one class, as it is drawn
    seen = {0: 0, 1: 0, 2: 0}
    turns = []
    for row in order:
        turns.append(seen[labels[row]])
        seen[labels[row]] += 1
    wanted = [row for _, row in sorted(zip(turns, order), key=lambda pair: pair[0])]
    assert balanced_order(labels, 3).tolist() == wanted


def test_a_subset_is_seeded_and_never_in_the_folders_order():
    images = open_images("klas/digits:val")
    first, again, other = (subset(images, 100, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (np.diff(first) < 0).any()
    assert np.bincount(images.labels[first]).tolist() == [10] * 10
