"""The scores of the document against their definitions, slowly, from probes and activations."""

import numpy as np
import pytest
import torch

from klas.pipeline.recipes.probes import probe_logits
from klas.pipeline.run import Pipeline
from klas.results.keys import Keys
from klas.results.pair import pairs_of
from klas.results.result import Fit
from klas.results.score_sums import read_score_sums
from tests.conftest import SMALL

SAMPLES = SMALL.data.val_samples
BLOCKS = np.repeat(np.arange(100), 3)  # of 300 validation samples


@pytest.fixture(scope="module")
def pipeline(computed):
    return Pipeline(SMALL, computed[0], device="cpu")


@pytest.fixture(scope="module")
def log_probabilities(pipeline):
    """(n + 1, N, K) of every anchor's probes, float64."""
    actual = {}
    for name in pipeline.context.anchors:
        (logits,) = probe_logits(pipeline.context, name, [(0, SAMPLES, 0)])
        actual[name] = torch.stack(logits).double().log_softmax(-1).numpy()
    return actual


@pytest.fixture(scope="module")
def activations(pipeline):
    """Every cut of an anchor on the validation images, as it is: cut → (N, …)."""

    def of(name):
        context, val = pipeline.context, pipeline.context.val
        cuts = [
            context.anchors[name].cut_activations(images)
            for images, _ in context.batches(val.images, val.rows, name, batch=100)
        ]
        return [torch.cat(parts) for parts in zip(*cuts)]

    with torch.inference_mode():
        return {name: of(name) for name in ("digits_vit_tiny", "digits_convnet")}


def test_the_scores_from_probes_are_what_their_definitions_say(computed, log_probabilities):
    for pair in pairs_of(computed[1]):
        log_p, log_q = (log_probabilities[name] for name in pair.names)
        probed = ("kl", "theta", "theta_ce", "mse", "ce")
        actual = {metric: pair.scores(metric) for metric in probed}
        for row, (i, j) in enumerate(pair.stitches):
            p, q, after = np.exp(log_p[i]), np.exp(log_q[j]), log_q[j + 1]
            omega = (p * (log_p[i] - log_q[j])).sum(1).mean()
            sigma = (q * (log_q[j] - after)).sum(1).mean()
            assert actual["theta"][row] == pytest.approx(omega, rel=1e-6)
            assert actual["kl"][row] == pytest.approx(omega / sigma, rel=1e-6)
            cross_entropy = -(p * log_q[j]).sum(1).mean()
            assert actual["ce"][row] == pytest.approx(cross_entropy, rel=1e-6)
            both = np.sqrt(omega * cross_entropy)
            assert actual["theta_ce"][row] == pytest.approx(both, rel=1e-6)
            assert actual["mse"][row] == pytest.approx(((p - q) ** 2).mean(), rel=1e-6)


def hsic(k, l):  # noqa: E741
    """HSIC₁ of two Gram matrices (Song et al. 2012, equation 5)."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ends = k.sum() * l.sum() / ((n - 1) * (n - 2))
    middle = (k @ l).sum() * 2 / (n - 2)
    return (np.trace(k @ l) + ends - middle) / (n * (n - 3))


def test_cka_is_one_minus_a_ratio_of_sums_over_chunks_of_64(computed, activations):
    pair = next(p for p in pairs_of(computed[1]) if p.names == tuple(activations))
    first, second = (
        [cut.flatten(1).double().numpy() for cut in activations[name]] for name in pair.names
    )
    chunks = [slice(start, start + 64) for start in range(0, SAMPLES, 64)]  # the last one of 44

    def total(a, b):
        parts = [(a[c], b[c]) for c in chunks]
        return sum((len(x) - 3) * hsic(x @ x.T, y @ y.T) for x, y in parts)

    for (i, j), score in zip(pair.stitches, pair.scores("cka")):
        a, b = first[i], second[j]
        norm = np.sqrt(total(a, a) * total(b, b))
        assert score == pytest.approx(1 - total(a, b) / norm, abs=1e-5)


def test_direct_matching_is_what_the_fitted_layer_misses(computed, pipeline, activations):
    pair = next(p for p in pairs_of(computed[1]) if p.names == tuple(activations))
    context, (source, target) = pipeline.context, pair.names
    fitted = context.read(Fit(source=source, target=target))
    family = context.family(pair.names, fitted, pair.everywhere)
    for (i, j), score in zip(pair.stitches, pair.scores("dm")):
        want = activations[pair.names[1]][j]
        with torch.inference_mode():
            missed = family.layer((int(i), int(j)))(activations[pair.names[0]][i]) - want
        # (N, C, H, W): the mean is over samples and positions.
        spread = (want - want.mean((0, 2, 3), keepdim=True)).double().square().sum()
        residual = missed.double().square().sum()
        assert score == pytest.approx(float(residual / spread), rel=1e-4)


def sums_of(store, document, pair):
    keys = Keys.of_document(document, SMALL)
    return read_score_sums(lambda result: store.get(keys.of(result)), SAMPLES, *pair.names)


def test_the_sums_are_kept_block_by_block(computed, log_probabilities):
    pair = pairs_of(computed[1])[0]
    actual = sums_of(*computed, pair)
    assert actual.samples.tolist() == [3.0] * 100
    log_p, log_q = (log_probabilities[name] for name in pair.names)
    for block in (0, 41, 99):
        here = block == BLOCKS
        p, q = np.exp(log_p[2][here]), np.exp(log_q[3][here])
        kl = (p * (log_p[2][here] - log_q[3][here])).sum()
        assert actual.kl[block, 2, 3] == pytest.approx(kl, rel=1e-6)
        assert actual.squares[block, 2, 3] == pytest.approx(((p - q) ** 2).mean(1).sum(), rel=1e-6)
        entropy = -(p * log_p[2][here]).sum()
        assert actual.entropy[block, 2] == pytest.approx(entropy, rel=1e-6)
    # A chunk of 64 samples counts with the block that it begins in.
    assert np.flatnonzero(actual.source_hsic[:, 1]).tolist() == [0, 21, 42, 64, 85]


def test_no_sums_before_they_are_computed(store, computed):
    _, document = computed
    assert sums_of(store, document, pairs_of(document)[0]) is None
