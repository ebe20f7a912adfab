"""Language with tensors, against transformers' own loss and plain counts."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from klas.selection.bootstrap import block_of, draws
from klas.tasks.language import Language
from klas.tasks.metric import TOKEN_ACCURACY, perplexity
from klas.tasks.task import LANGUAGE
from tests.networks.decoders.decoders import WORDS, decoder, texts

TASK = Language()
SAMPLES, LENGTH = 250, 7


def some(samples=SAMPLES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(samples, LENGTH, WORDS, generator=generator)
    targets = torch.randint(WORDS, (samples, LENGTH), generator=generator)
    # A quarter is foretold.
    easy = torch.rand(samples, LENGTH, generator=generator) < 0.25
    outputs[easy] += 9 * torch.nn.functional.one_hot(targets[easy], WORDS)
    return outputs, targets


def test_it_is_for_language_and_its_metric_is_token_accuracy():
    assert TASK.task is LANGUAGE
    assert (LANGUAGE.metric.name, LANGUAGE.metric.axis) == (
        "token_accuracy",
        "token accuracy (%)",
    )


def test_outcomes_are_counts_of_positions():
    outputs, targets = some()
    outcomes = TASK.outcomes(outputs, targets).numpy()
    right = (outputs.argmax(-1) == targets).float().mean()
    assert TOKEN_ACCURACY.value(outcomes) == pytest.approx(float(right), rel=1e-6)
    assert np.array_equal(outcomes[:, 2], np.full(SAMPLES, LENGTH))
    mean = cross_entropy(outputs.double().flatten(0, 1), targets.flatten())
    assert float(perplexity(outcomes.sum(0))) == pytest.approx(float(mean.exp()), rel=1e-5)


def test_perplexity_is_that_of_transformers_own_loss():
    ids, network = texts(5, 12), decoder("llama")
    with torch.inference_mode():
        output = network(ids, labels=ids, use_cache=False)
    outcomes = TASK.outcomes(output.logits[:, :-1], ids[:, 1:]).numpy()
    wanted = float(output.loss.exp())
    assert float(perplexity(outcomes.sum(0))) == pytest.approx(wanted, rel=1e-5)
    loss = TASK.loss(output.logits[:, :-1], ids[:, 1:])
    assert float(loss) == pytest.approx(float(output.loss), rel=1e-6)


@pytest.mark.parametrize("samples", [3, 100, SAMPLES])
def test_a_replicate_is_the_metric_of_the_samples_that_were_drawn(samples):
    outcomes = TASK.outcomes(*some(samples)).numpy()
    blocks = block_of(samples)
    sizes = np.bincount(blocks)
    drawn = draws(len(sizes), 5, seed=1)
    packed = TOKEN_ACCURACY.packed(outcomes)
    sums = TOKEN_ACCURACY.packed_sums(packed, samples)
    replicates = TOKEN_ACCURACY.replicates(sums[None], sizes, drawn)
    for times, value in zip(drawn, replicates[:, 0]):
        rows = np.concatenate([np.flatnonzero(blocks == b).repeat(n) for b, n in enumerate(times)])
        assert value == pytest.approx(TOKEN_ACCURACY.value(outcomes[rows]), rel=1e-9)
    once = TOKEN_ACCURACY.replicates(sums[None], sizes, np.ones((1, len(sizes)), dtype=np.int64))
    assert once[0, 0] == TOKEN_ACCURACY.packed_value(packed, samples)


def test_a_teachers_tokens_are_its_likeliest():
    outputs, _ = some(4)
    assert torch.equal(TASK.hard_targets(outputs), outputs.argmax(-1))
