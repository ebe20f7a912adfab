import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from klas.measures.probes import fit_temperature, train_probe


def overlapping(seed=0, samples=600, width=12, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    centres = rng.normal(size=(classes, width))
    features = 5 + 3 * (centres[labels] + 1.5 * rng.normal(size=(samples, width)))
    return features.astype(np.float32), labels


def objective(weight, bias, inputs, labels, l2):
    logits = inputs @ weight.T + bias
    log = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    log -= logits.max(1, keepdims=True)
    return -log[np.arange(len(labels)), labels].mean() + l2 / 2 * (weight**2).sum()


@pytest.mark.parametrize("l2", [1e-4, 1e-2])
def test_a_probe_reaches_scikit_learns_optimum(l2):
    features, labels = overlapping()
    probe = train_probe(features, torch.from_numpy(labels), 4, l2=l2, tolerance=1e-4)
    assert probe.converged
    inputs = ((features - features.mean(0)) / features.std(0)).astype(np.float64)
    sklearn = LogisticRegression(C=1 / (len(labels) * l2), tol=1e-10, max_iter=10_000)
    sklearn.fit(inputs, labels)
    ours = objective(probe.weight.double().numpy(), probe.bias.double().numpy(), inputs, labels, l2)
    theirs = objective(sklearn.coef_, sklearn.intercept_, inputs, labels, l2)
    assert ours == pytest.approx(theirs, rel=1e-5)
    logits = probe.logits(torch.from_numpy(features)).double()
    assert np.abs(logits.softmax(1).numpy() - sklearn.predict_proba(inputs)).max() < 2e-3


def test_constant_features_are_harmless():
    features, labels = overlapping()
    features[:, 3] = 7.0
    probe = train_probe(features, torch.from_numpy(labels), 4, l2=1e-4)
    assert probe.converged
    assert torch.isfinite(probe.logits(torch.from_numpy(features))).all()
    assert probe.weight[:, 3].abs().max() == 0


def test_the_result_does_not_depend_on_the_features_scale():
    features, labels = overlapping()
    first = train_probe(features, torch.from_numpy(labels), 4, l2=1e-3)
    second = train_probe(features * 100, torch.from_numpy(labels), 4, l2=1e-3)
    assert torch.allclose(first.weight, second.weight, atol=1e-3)


def test_too_few_iterations_are_flagged(monkeypatch):
    monkeypatch.setattr("klas.measures.probes.MAX_ITERATIONS", 20)
    features, labels = overlapping(width=200, samples=250)
    probe = train_probe(features, torch.from_numpy(labels), 4, l2=1e-8, tolerance=1e-9)
    assert not probe.converged


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_a_fitted_temperature_undoes_a_known_one(sharpness):
    """Labels drawn from softmax(logits) are best predicted at temperature 1, so if the logits
    are then made sharper by a factor, that factor is the temperature."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(50_000, 5)
    labels = torch.multinomial(logits.softmax(1), 1)[:, 0]
    assert fit_temperature(logits * sharpness, labels) == pytest.approx(sharpness, rel=0.03)
