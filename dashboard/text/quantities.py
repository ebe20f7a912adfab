"""What the map can show of a pair: scores, Θ, Σ, costs and accuracies. Pure functions.

No text here contains names from a study (of anchors or modules), so none has to be escaped.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from klas.results.documents.scores import CANDIDATE_TIERS
from klas.results.formatting import METHODS
from klas.results.pair import Pair
from klas.study import METRICS, SETS, TIERS, Metric, Stage, Tier
from klas.tasks.metric import AccuracyMetric

THE_SCORE = "score"
SCORES: tuple[Metric, ...] = tuple(metric for metric in METRICS if metric not in SETS)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """How something of every cell is called and read.

    Attributes:
        label: its name on a scale and in a title, unit included.
        option: its name in the selector.
        reading: how a value is read, after a comma: "lower is better".
        explanation: in plain terms and as a formula, Markdown.
        brightest: which end of the scale has the brightest colour.
        stage: what computes it; None for joint training, which is no stage of a run.
    """

    label: str
    option: str
    reading: str
    explanation: str
    brightest: Literal["lowest", "highest"] = "lowest"
    stage: Stage | None = "scores"


def _score(metric: Metric, label: str, explanation: str) -> Quantity:
    return Quantity(
        label=label,
        option=METHODS[metric],
        reading="lower is better",
        explanation=explanation,
    )


HELD_BEST = (
    "While T alone was trained, √(Ω·CE) lost less than Γ or as much on all nine pairs tried: its "
    "stitches were 2.4 points below each bucket's best on the built-in digits, 0.8 on published "
    "CIFAR-10 ResNets and 5.8 on a pair of ImageNet's. Γ's were 5.4, 5.6 and 6.0 below. After more "
    "training other scores lead."
)
"""Which score to try, and where that was measured: README.md, *Which score when*."""

QUANTITIES: dict[str, Quantity] = {
    "kl": _score(
        "kl",
        "Γ",
        "**Γ(i, j) = Ω / Σ**: the distance across the stitch over the capacity of the block that "
        "follows. A stitch is promising where the next block can make up for the distance.",
    ),
    "theta": _score(
        "theta",
        "Ω (nats)",
        "**Ω = Θ(Pᵢ of the source, Pⱼ of the target)**, the distance across the stitch alone: "
        "how far the source's probe after block *i* is from the target's after block *j*, in "
        "nats, whatever the next block can do.",
    ),
    "theta_ce": _score(
        "theta_ce",
        "√(Ω·CE) (nats)",
        "**√(Ω·CE)**, the geometric mean of the distance Ω across the stitch and the cross-entropy "
        "CE = Ω + the entropy of the source's probe. It is low where the target reads what the "
        "source says, and the source has something to say.",
    ),
    "cka": _score(
        "cka",
        "1 − CKA",
        "One minus the linear **CKA** of the activations at the two cuts: 0 where both arrange "
        "the images alike. The unbiased estimator may come out slightly above 1.",
    ),
    "mse": _score(
        "mse",
        "MSE",
        "**MSE = mean (p − q)²**: the mean squared difference between the probabilities of the "
        "two probes.",
    ),
    "ce": _score(
        "ce",
        "CE (nats)",
        "**CE = mean −Σ p log q**: the cross-entropy of the target's probe under the source's. "
        "It is Ω plus the entropy of the source's probe.",
    ),
    "dm": _score(
        "dm",
        "DM",
        "**Direct matching, ‖T·Aᵢ − Aⱼ‖² / ‖Aⱼ − mean‖²**: the share of the target's "
        "activation that the least-squares stitch layer leaves unexplained.",
    ),
    "random": _score("random", "random", "A seeded draw: the floor that every score has to beat."),
    "cuts": Quantity(
        label="Θ (nats)",
        option="Θ at every cut",
        reading="lower where the probes agree",
        explanation="**Θ(P, Q) = mean KL(P ‖ Q)** over the validation samples: how many nats apart "
        "the predictions of two probes are. Rows are the source's cuts, columns the target's: 0 "
        "follows the stem, the last precedes the head. Ω is the part of it where a stitch may be.",
    ),
    "sigma": Quantity(
        label="Σ (nats)",
        option="Σ of every target block",
        reading="higher means more capacity",
        explanation="**Σ(j) = Θ(Pⱼ, Pⱼ₊₁), both of the target**: the capacity of the block that "
        "follows cut *j*, that is, how much that block changes its own network's probe. Γ divides "
        "by it; it doesn't depend on the source.",
        brightest="highest",
    ),
    "macs": Quantity(
        label="MACs",
        option="MACs",
        reading="lower is cheaper",
        explanation="Multiply–accumulates of one image, or of one token of a text, through the "
        "whole stitched network: the source's blocks up to *i*, the stitch layer, the target's "
        "after *j*. Papers call them FLOPs.",
    ),
    "params": Quantity(
        label="million parameters",
        option="Parameters",
        reading="lower is smaller",
        explanation="Weights of the whole stitched network, those of the stitch layer included.",
    ),
}
"""All but accuracies, which are of the task's own metric: :func:`accuracy_quantity` has these."""

MEASURED: dict[Tier, str] = {
    "zero_shot": "with a stitch layer by least squares and nothing trained.",
    "tuned": "with only the stitch layer trained, the anchors frozen.",
    "finetuned": "with all chosen stitches and the anchors trained jointly, as in the paper's "
    "figures. Only chosen stitches are trained like this.",
}
SHOWN = (THE_SCORE, *QUANTITIES, *TIERS)
"""What the map can show: the score that chooses, whichever that is, and each quantity by its name.

The last, ``finetuned``, can be shown where a choice is trained jointly.
"""


def accuracy_quantity(tier: Tier, metric: AccuracyMetric) -> Quantity:
    """The accuracies at a tier, as a task's metric is called."""
    stage: dict[Tier, Stage] = {"zero_shot": "zero_shot", "tuned": "tuned"}
    return Quantity(
        label=f"{tier} {metric.axis}",
        option=f"Accuracy: {tier}",
        reading="higher is better",
        explanation=f"{metric.heading} {MEASURED[tier]}",
        brightest="highest",
        stage=stage.get(tier),
    )


def quantity(name: str, pair: Pair) -> Quantity:
    """A quantity in the units of the pair's costs and the metric of its task."""
    if name in MEASURED:
        return accuracy_quantity(name, pair.task.metric)
    if name == "macs":
        unit = pair.unit
        return replace(QUANTITIES[name], label=unit.title, option=unit.name)
    return QUANTITIES[name]


def stitch_values(pair: Pair, name: str) -> NDArray[np.float64]:
    """(N,) a quantity of every candidate, as its label says it; NaN where not computed.

    Raises:
        KeyError: it is none of the stitches' (``cuts``, ``sigma``), or depends on what is chosen
            (``finetuned``).
    """
    if name in SCORES:
        return pair.scores(name)
    if name == "macs":
        return pair.macs / pair.unit.scale
    if name == "params":
        return np.array([c["params"] for c in pair.raw["candidates"]], dtype=np.float64) / 1e6
    if name in CANDIDATE_TIERS:
        return 100 * pair.accuracy(name)
    raise KeyError(name)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A quantity over a part of the cells.

    Attributes:
        rows: (R,) source cuts; none for what belongs to the target alone.
        columns: (C,) target cuts.
        values: (R, C), or (1, C) without rows; NaN where there is nothing.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: NDArray[np.float64]

    @property
    def known(self) -> NDArray[np.float64]:
        """(K,) the finite values."""
        return self.values[np.isfinite(self.values)]


def field(pair: Pair, name: str, jointly: NDArray[np.float64] | None = None) -> Field | None:
    """A quantity as the map shows it; None where it is not computed.

    Scores, costs and accuracies are over the candidates in the space, Θ is over every cut, and Σ
    is one row.

    Args:
        jointly: (N,) accuracies after joint training, NaN for what is not chosen; they are what
            ``finetuned`` shows.
    """
    if name in ("cuts", "sigma"):
        if pair.raw["theta"] is None:
            return None
        own = np.array(pair.raw["theta_target"], dtype=np.float64)  # (n_g + 1, n_g + 1)
        values = np.diag(own, 1)[None] if name == "sigma" else np.array(pair.raw["theta"], float)
        height, width = values.shape
        rows = () if name == "sigma" else tuple(range(height))
        return Field(rows=rows, columns=tuple(range(width)), values=values)
    space = pair.in_space
    if name == "finetuned" and jointly is None:
        return None
    known = (stitch_values(pair, name) if jointly is None else 100 * jointly)[space]
    if np.isnan(known).all():
        return None
    i, j = pair.stitches[space].T
    sources, targets = np.unique(i), np.unique(j)
    values = np.full((len(sources), len(targets)), np.nan)
    values[np.searchsorted(sources, i), np.searchsorted(targets, j)] = known
    return Field(rows=tuple(sources.tolist()), columns=tuple(targets.tolist()), values=values)


def description(pair: Pair, name: str, shown: Field) -> str:
    """What the map of a quantity shows, in a sentence, for those who cannot see it."""
    what = quantity(name, pair)
    known = shown.known
    if not known.size:
        return f"{what.label}: no value is finite."
    if name == "finetuned":
        return (
            f"{what.label} of {known.size} chosen stitches, {what.reading}: lowest "
            f"{known.min():.3g}, highest {known.max():.3g}. The others are not measured."
        )
    ends = {"lowest": np.nanargmin, "highest": np.nanargmax}
    finite = np.where(np.isfinite(shown.values), shown.values, np.nan)
    extremes = []
    for end, at in ends.items():
        row, column = np.unravel_index(at(finite), finite.shape)
        j = shown.columns[column]
        place = f"{shown.rows[row]} → {j}" if shown.rows else f"target cut {j}"
        extremes.append(f"{end} {finite[row, column]:.3g} at {place}")
    missing = int((~np.isfinite(shown.values)).sum())
    gaps = f"; {missing} cells without a finite value" if missing else ""
    size = f"{len(shown.rows) or 1} × {len(shown.columns)} cells"
    return f"{what.label} over {size}, {what.reading}: {', '.join(extremes)}{gaps}."
