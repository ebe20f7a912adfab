"""Can accuracies after joint training be foretold from what is known before, and a few of them?

A Gaussian process over everything that is known of a candidate, and linear models and single
scores beside it. Judged by leaving pairs out, and zoos.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from docs.real_networks.readings import theta, theta_target
from klas.results.pair import Pair

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
LEVEL = 0.9
LEAST = 4  # measurements: with fewer there is nothing to fit an interval to


class Measured(NamedTuple):
    """A pair, some of whose candidates were trained jointly.

    Attributes:
        zoo: whose networks these are.
        accuracy: (N,) after joint training, the mean over the trainings that had the candidate;
            NaN for those that none had.
    """

    zoo: str
    pair: Pair
    accuracy: Floats

    @property
    def known(self) -> Bits:
        """(N,) which were trained."""
        return np.isfinite(self.accuracy)

    @property
    def relative(self) -> Floats:
        """(N,) accuracies between the pretrained anchors': the cheap one is 0, the costly one 1."""
        low, high = (float(a["accuracy"] or 0) for a in self.pair.cheap_and_costly)
        return (self.accuracy - low) / (high - low)


def features(pair: Pair) -> Floats:
    """(N, 11) all that is known of every candidate before joint training."""
    i, j = pair.stitches.T
    low, high = (a["macs"] for a in pair.cheap_and_costly)
    sigma = np.diagonal(theta_target(pair), offset=1)[j]
    columns = [
        (pair.macs - low) / (high - low),
        i / pair.source["blocks"],
        j / pair.target["blocks"],
        np.log(np.clip(pair.scores("kl"), 1e-6, 1e6)),
        np.log(pair.scores("theta") + 1e-6),
        np.log(sigma + 1e-6),
        np.log(theta(pair)[i, -1] + 1e-6),
        pair.scores("cka"),
        np.clip(pair.scores("dm"), 0, 5),
        pair.accuracy("zero_shot"),
        np.nan_to_num(pair.accuracy("tuned"), nan=float(np.nanmin(pair.accuracy("zero_shot")))),
    ]
    return np.stack(columns, axis=1)


def gaussian_process() -> object:
    """With a length for every feature, and noise."""
    kernel = ConstantKernel(1.0) * RBF(np.ones(11), (0.3, 30.0)) + WhiteKernel(0.1, (1e-3, 2.0))
    return make_pipeline(
        StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    )


def ridge() -> object:
    """A straight line through all features, with the evidence's own penalty."""
    return make_pipeline(StandardScaler(), BayesianRidge())


MODELS: dict[str, Callable[[], object]] = {
    "Gaussian process": gaussian_process,
    "ridge regression": ridge,
}


class Foretold(NamedTuple):
    """How a forecast does on a pair.

    Attributes:
        rho: Spearman's ρ of foretold and measured.
        error: root mean square, in points of accuracy.
        covered: share of measurements inside the interval.
    """

    rho: float
    error: float
    covered: float


def foretell(
    model: Callable[[], object],
    others: Sequence[Measured],
    own: Measured,
    shown: NDArray[np.int64],
) -> Foretold:
    """Fit on other pairs and on some of a pair's own measurements, foretell its other ones.

    Args:
        shown: rows of its own candidates that are known.

    Raises:
        ValueError: fewer than four measurements.
    """
    rows = [(features(m.pair)[m.known], m.relative[m.known]) for m in others]
    rows.append((features(own.pair)[shown], own.relative[shown]))
    x, y = (np.concatenate(part) for part in zip(*rows))
    if len(y) < LEAST:
        raise ValueError(f"{len(y)} measurements: a forecast needs {LEAST} or more")
    asked = np.setdiff1d(np.flatnonzero(own.known), shown)
    fitted = model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(x, y)
    mean, spread = fitted.predict(features(own.pair)[asked], return_std=True)
    true = own.relative[asked]
    low, high = (float(a["accuracy"] or 0) for a in own.pair.cheap_and_costly)
    reach = norm.ppf((1 + LEVEL) / 2) * spread
    return Foretold(
        rho=float(spearmanr(mean, true)[0]),
        error=100 * (high - low) * float(np.sqrt(np.mean((mean - true) ** 2))),
        covered=float(np.mean(np.abs(mean - true) <= reach)),
    )


def shown_rows(own: Measured, count: int) -> NDArray[np.int64]:
    """So many of a pair's measured candidates, evenly over cost."""
    known = np.flatnonzero(own.known)
    by_cost = known[np.argsort(own.pair.macs[known], kind="stable")]
    return (
        by_cost[np.linspace(0, len(by_cost) - 1, count).round().astype(int)]
        if count
        else by_cost[:0]
    )


def single_scores(own: Measured, shown: NDArray[np.int64]) -> Mapping[str, float]:
    """ρ of each single score, of cost and of the cheap tiers, on the same candidates."""
    asked = np.setdiff1d(np.flatnonzero(own.known), shown)
    pair, true = own.pair, own.relative[asked]
    scores = {
        "cost": -pair.macs,
        **{m: pair.scores(m) for m in ("kl", "theta", "theta_ce", "ce", "mse", "dm", "cka")},
        "zero_shot": -pair.accuracy("zero_shot"),
        "tuned": -pair.accuracy("tuned"),
    }
    return {name: float(spearmanr(-score[asked], true)[0]) for name, score in scores.items()}
