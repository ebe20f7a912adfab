"""Every result that a study can have, as a value: its kind, names and needs. No torch.

A result can be listed, compared, sent to another process and made there. Its key follows from it
and the study (:mod:`klas.results.keys`); how it is made, and what that costs, is its recipe's
(:mod:`klas.pipeline.recipes`).
"""

from dataclasses import dataclass
from typing import Any, Literal

from klas.selection.space import PairNames, Place
from klas.study import FinetuningSpec, Tier

SplitName = Literal["train", "val", "test"]
Places = tuple[Place, ...]
"""(i, j) of some stitches of a pair."""


@dataclass(frozen=True, kw_only=True)
class OfAnchor:
    """A result about one anchor."""

    anchor: str

    @property
    def names(self) -> tuple[str, ...]:
        """The anchors that it is about."""
        return (self.anchor,)

    @property
    def needs(self) -> tuple["Result", ...]:
        """The results that it is made from."""
        return ()


@dataclass(frozen=True, kw_only=True)
class OfPair:
    """A result about two anchors: stitched, or compared."""

    source: str
    target: str

    @property
    def names(self) -> tuple[str, ...]:
        """The anchors that it is about."""
        return (self.source, self.target)

    @property
    def needs(self) -> tuple["Result", ...]:
        """The results that it is made from."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Validation(OfAnchor):
    """One pass over the validation samples.

    Pooled features and Gram matrices at every cut, targets, and outputs.
    """


@dataclass(frozen=True, kw_only=True)
class TestOutcomes(OfAnchor):
    """How the pretrained anchor does on every test sample; empty for a headless one."""

    __test__ = False  # or pytest would collect it, by its name


@dataclass(frozen=True, kw_only=True)
class Features(OfAnchor):
    """One pass over the training samples: pooled features and targets."""


@dataclass(frozen=True, kw_only=True)
class Probes(OfAnchor):
    """A probe after every block, and on cut 0."""

    @property
    def needs(self) -> tuple["Result", ...]:
        """The features that they are trained on."""
        return (Features(anchor=self.anchor),)


@dataclass(frozen=True, kw_only=True)
class ProbeAccuracy(OfAnchor):
    """(n + 1,) the accuracy of every probe on the validation samples."""

    @property
    def needs(self) -> tuple["Result", ...]:
        """The probes, and what they look at."""
        return (Probes(anchor=self.anchor), Validation(anchor=self.anchor))


@dataclass(frozen=True, kw_only=True)
class ThetaOutput(OfPair):
    """Θ between two anchors' own outputs, in nats (paper, step 1)."""

    @property
    def needs(self) -> tuple["Result", ...]:
        """Both anchors' outputs."""
        return tuple(Validation(anchor=name) for name in self.names)


@dataclass(frozen=True, kw_only=True)
class Theta(OfPair):
    """Every cut's probe of one anchor against every cut's of another, or of itself.

    The sums of Θ, and of the other scores that look at probes.
    """

    @property
    def needs(self) -> tuple["Result", ...]:
        """Both anchors' probes, and what these look at."""
        names = dict.fromkeys(self.names)
        both: list[Result] = [Probes(anchor=name) for name in names]
        return (*both, *(Validation(anchor=name) for name in names))


@dataclass(frozen=True, kw_only=True)
class Cka(OfPair):
    """HSIC of every cut of the source with every cut of the target."""

    @property
    def needs(self) -> tuple["Result", ...]:
        """Both anchors' Gram matrices."""
        return tuple(Validation(anchor=name) for name in self.names)


@dataclass(frozen=True, kw_only=True)
class Fit(OfPair):
    """Every candidate's stitch layer by least squares, and what it misses: direct matching."""


@dataclass(frozen=True, kw_only=True)
class ZeroShot(OfPair):
    """How every candidate with its fitted layer does on every validation sample.

    Also its normalisation statistics, where the target has any.
    """

    @property
    def needs(self) -> tuple["Result", ...]:
        """The fitted layers."""
        return (Fit(source=self.source, target=self.target),)


@dataclass(frozen=True, kw_only=True)
class Tuned(OfPair):
    """Every candidate's stitch layer trained with the anchors frozen, and how it then does.

    Candidates that diverged are named and left out.
    """

    @property
    def needs(self) -> tuple["Result", ...]:
        """The fitted layers, which the training starts from."""
        return (Fit(source=self.source, target=self.target),)


@dataclass(frozen=True, kw_only=True)
class FinetunedWeights(OfPair):
    """Stitches and anchors of a pair, trained jointly.

    Attributes:
        stitches: those that are trained, in order.
        finetuning: the training's settings.
        racing: each stitch's bucket if they race: the worst of a bucket drop out on the way. Empty
            if all are trained to the end.
    """

    stitches: Places
    finetuning: FinetuningSpec
    racing: tuple[int, ...] = ()

    @property
    def needs(self) -> tuple["Result", ...]:
        """The fitted layers, which the training starts from.

        Where the best anchor teaches, also the anchors' accuracies.
        """
        fit = Fit(source=self.source, target=self.target)
        taught = self.names if self.finetuning.distillation else ()
        return (fit, *(Validation(anchor=name) for name in taught))


@dataclass(frozen=True, kw_only=True)
class FinetunedOutcomes(OfPair):
    """How jointly trained stitches and anchors do on every sample of a split."""

    weights: FinetunedWeights
    split: SplitName

    @property
    def needs(self) -> tuple["Result", ...]:
        """What was trained."""
        return (self.weights,)


@dataclass(frozen=True, kw_only=True)
class Finetuned(OfPair):
    """The accuracies of jointly trained stitches and anchors on the validation samples."""

    weights: FinetunedWeights

    @property
    def needs(self) -> tuple["Result", ...]:
        """How they do on every sample; of a race, also what its rungs measured."""
        rungs = (self.weights,) if self.weights.racing else ()
        return (outcomes_of(self.weights, "val"), *rungs)


@dataclass(frozen=True, kw_only=True)
class OfLayers(OfPair):
    """A result about stitches of a tier.

    Attributes:
        layers: what holds them.
    """

    layers: "Layers"

    @property
    def needs(self) -> tuple["Result", ...]:
        """The tier's layers; those of ``zero_shot`` are the fitted ones."""
        fitted = self.layers.needs if isinstance(self.layers, ZeroShot) else ()
        return (self.layers, *fitted)


@dataclass(frozen=True, kw_only=True)
class FullValidation(OfLayers):
    """The accuracies of some stitches of a tier on every validation sample there is."""

    stitches: Places


SHOWN_PICTURES = 4
"""How many validation images the pictures of a stitch show."""


@dataclass(frozen=True, kw_only=True)
class Pictures(OfLayers):
    """The first validation images with label maps, and what anchors and a stitch predict there.

    Attributes:
        place: the stitch's i and j.
    """

    place: Place


@dataclass(frozen=True, kw_only=True)
class Continuations(OfLayers):
    """ROUGE of what a pair's decoders, and some stitches of a tier, make of validation prompts."""

    stitches: Places


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a time depends on beside the network: the device, the threads, the library."""

    device: str
    threads: int
    torch: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for keys and files."""
        return {"device": self.device, "threads": self.threads, "torch": self.torch}


@dataclass(frozen=True, kw_only=True)
class Latency(OfPair):
    """How long every candidate, and each anchor, takes for one sample on a machine."""

    machine: Machine

    @property
    def needs(self) -> tuple["Result", ...]:
        """The fitted layers: those of another tier take as long."""
        return (Fit(source=self.source, target=self.target),)


Layers = ZeroShot | Tuned | FinetunedWeights
"""What holds the stitches of a tier: their statistics, and their layers or what has these."""


def layers_at(
    names: PairNames,
    tier: Tier,
    finetuning: FinetuningSpec,
    trained: tuple[Place, ...] = (),
    racing: tuple[int, ...] = (),
) -> Layers:
    """The result that holds a pair's stitch layers at a tier.

    Args:
        names: source and target.
        trained, racing: at ``finetuned``, what was trained together, and each one's bucket if that
            raced.
    """
    source, target = names
    match tier:
        case "zero_shot":
            return ZeroShot(source=source, target=target)
        case "tuned":
            return Tuned(source=source, target=target)
        case "finetuned":
            return FinetunedWeights(
                source=source,
                target=target,
                stitches=trained,
                finetuning=finetuning,
                racing=racing,
            )


OUTCOMES = "hits"
"""Which samples a network gets right, as bits; ``i-j.hits`` those of a stitch."""

DIVERGED = "diverged"
"""(K, 2) in a tuned result: i and j of the candidates that were left out."""

Result = (
    Validation
    | TestOutcomes
    | Features
    | Probes
    | ProbeAccuracy
    | ThetaOutput
    | Theta
    | Cka
    | Fit
    | ZeroShot
    | Tuned
    | FinetunedWeights
    | FinetunedOutcomes
    | Finetuned
    | FullValidation
    | Pictures
    | Continuations
    | Latency
)


def finetuned(weights: FinetunedWeights) -> Finetuned:
    """The accuracies of a joint training."""
    return Finetuned(source=weights.source, target=weights.target, weights=weights)


def outcomes_of(weights: FinetunedWeights, split: SplitName) -> FinetunedOutcomes:
    """How a joint training's networks do on a split."""
    return FinetunedOutcomes(
        source=weights.source, target=weights.target, weights=weights, split=split
    )
