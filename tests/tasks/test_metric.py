"""A metric from sums over blocks of samples, against the same from the samples themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from klas.selection.bootstrap import block_of, draws
from klas.tasks.metric import ROWS, TOP1, Top1

OUTCOMES = st.tuples(st.integers(1, 4), st.integers(1, 250)).flatmap(
    lambda shape: arrays(bool, shape)
)


def drawn_samples(blocks, times):
    """The rows of a replicate: every block's as often as it was drawn."""
    return np.concatenate([np.flatnonzero(blocks == b).repeat(n) for b, n in enumerate(times)])


@given(outcomes=OUTCOMES)
def test_sums_of_blocks_are_counts(outcomes):
    blocks = block_of(outcomes.shape[1])
    sums = TOP1.block_sums(outcomes, blocks)
    assert sums.shape == (len(outcomes), blocks.max() + 1)
    for row, counted in zip(outcomes, sums):
        assert counted.tolist() == [row[blocks == b].sum() for b in range(len(counted))]


@given(outcomes=OUTCOMES, seed=st.integers(0, 99))
def test_a_replicate_is_the_metric_of_the_samples_that_were_drawn(outcomes, seed):
    blocks = block_of(outcomes.shape[1])
    sizes = np.bincount(blocks)
    drawn = draws(len(sizes), 5, seed)
    replicates = TOP1.replicates(TOP1.block_sums(outcomes, blocks), sizes, drawn)
    assert replicates.shape == (5, len(outcomes))
    for times, of_replicate in zip(drawn, replicates):
        rows = drawn_samples(blocks, times)
        for row, value in zip(outcomes, of_replicate):
            assert value == pytest.approx(TOP1.value(row[rows]), rel=1e-12)


@given(outcomes=OUTCOMES)
def test_every_sample_once_is_the_metric_itself(outcomes):
    blocks = block_of(outcomes.shape[1])
    sizes = np.bincount(blocks)
    once = np.ones((1, len(sizes)), dtype=np.int64)
    (plain,) = TOP1.replicates(TOP1.block_sums(outcomes, blocks), sizes, once)
    # Exactly: figures and their intervals' middles are compared.
    assert plain.tolist() == [TOP1.value(row) for row in outcomes]


@given(outcomes=OUTCOMES, at=st.data())
def test_sums_of_parts_add_up_to_those_of_the_whole(outcomes, at):
    """What workers of a spread pass hand back is put together so."""
    blocks = block_of(outcomes.shape[1])
    cut = at.draw(st.integers(0, int(blocks.max()) + 1))
    first = blocks < cut
    parts = [
        TOP1.block_sums(outcomes[:, part], blocks[part] - blocks[part].min())
        for part in (first, ~first)
        if part.any()
    ]
    assert np.array_equal(np.concatenate(parts, axis=-1), TOP1.block_sums(outcomes, blocks))


@given(outcomes=OUTCOMES)
def test_stored_outcomes_give_what_the_outcomes_themselves_give(outcomes):
    for row in outcomes:
        packed, samples = TOP1.packed(row), len(row)
        assert packed.nbytes == -(-samples // 8)
        assert TOP1.packed_value(packed, samples) == TOP1.value(row)
        sums = TOP1.block_sums(row, block_of(samples))
        assert np.array_equal(TOP1.packed_sums(packed, samples), sums)


@pytest.mark.parametrize("rows", [1, 3, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_outputs_are_judged_row_by_row_however_many_are_read_at_a_time(rows, dtype):
    random = np.random.default_rng(rows)
    outputs = random.normal(size=(rows, 5)).astype(dtype)
    targets = random.integers(0, 5, rows)
    right = [max(range(5), key=lambda k: row[k]) == target for row, target in zip(outputs, targets)]
    outcomes = TOP1.of_anchor({"logits": outputs, "labels": targets})
    assert outcomes.tolist() == right
    assert TOP1.value(outcomes) == np.mean(right)


def test_no_more_than_a_few_rows_are_read_at_a_time():
    """Outputs of millions of samples are views of a mapped file and must not come to memory."""
    longest = 0

    class Mapped:
        """Rows that say how many of them were asked for at once."""

        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, part):
            nonlocal longest
            few = self.rows[part]
            longest = max(longest, len(few))
            return few

    outputs = np.eye(3)[np.arange(4 * ROWS) % 3]
    stored = {"logits": Mapped(outputs), "labels": np.arange(4 * ROWS) % 3}
    assert TOP1.of_anchor(stored).all()
    assert longest == ROWS


def test_a_metric_says_its_name_within_a_sentence_at_its_head_and_on_an_axis():
    assert (TOP1.name, TOP1.label, TOP1.heading, TOP1.axis) == (
        "top1",
        "top-1",
        "Top-1",
        "top-1 (%)",
    )
    other = Top1(name="token_accuracy", label="token accuracy")
    assert (other.heading, other.axis) == ("Token accuracy", "token accuracy (%)")
