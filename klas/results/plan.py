"""Which results a study has, stage by stage: for the run, its progress and the cache page."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from klas.results.result import (
    Cka,
    Features,
    Fit,
    ProbeAccuracy,
    Probes,
    Result,
    Theta,
    ThetaOutput,
    Tuned,
    Validation,
    ZeroShot,
)
from klas.selection.space import PairNames
from klas.study import STAGES, Stage

"""Source and target."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The work of one progress bar.

    Attributes:
        name: of the step; most stages are a single step.
        unit: what is counted, in the plural.
        results: in the order in which they are made.
    """

    name: str
    unit: str
    results: tuple[Result, ...]


def steps(
    stage: Stage,
    anchors: Sequence[str],
    pairs: Sequence[PairNames],
    headless: Collection[str] = (),
    *,
    samples: str = "images",
) -> list[Step]:
    """A stage's work, in order.

    Args:
        anchors: the study's, by name.
        pairs: source and target of each of its pairs.
        headless: the anchors that have no outputs of their own.
        samples: what people call the samples, in the plural.
    """
    match stage:
        case "anchors":
            with_heads = (pair for pair in pairs if not {*pair} & {*headless})
            ranked = (ThetaOutput(source=a, target=b) for a, b in with_heads)
            passes = (Validation(anchor=name) for name in anchors)
            return [Step(name="anchors", unit=samples, results=(*passes, *ranked))]
        case "probes":
            trained = (Probes(anchor=name) for name in anchors)
            measured = (ProbeAccuracy(anchor=name) for name in anchors)
            features = tuple(Features(anchor=name) for name in anchors)
            return [
                Step(name="features", unit=samples, results=features),
                Step(name="probes", unit="probes", results=(*trained, *measured)),
            ]
        case "scores":
            sides = dict.fromkeys([*pairs, *((target, target) for _, target in pairs)])
            matrices: list[Result] = [Theta(source=a, target=b) for a, b in sides]
            matrices += [Cka(source=a, target=b) for a, b in pairs]
            fits = tuple(Fit(source=a, target=b) for a, b in pairs)
            return [
                Step(name="scores", unit="matrices", results=tuple(matrices)),
                Step(name="fit", unit=samples, results=fits),
            ]
        case "zero_shot":
            fitted = tuple(ZeroShot(source=a, target=b) for a, b in pairs)
            return [Step(name="zero_shot", unit=f"stitch·{samples}", results=fitted)]
        case "tuned":
            tuned = tuple(Tuned(source=a, target=b) for a, b in pairs)
            return [Step(name="tuned", unit="stitch·steps", results=tuned)]


def stages_until(stage: Stage) -> tuple[Stage, ...]:
    """The stages of a run that ends with this one."""
    return STAGES[: STAGES.index(stage) + 1]


def results_about(
    stage: Stage, anchors: Sequence[str], pairs: Sequence[PairNames]
) -> dict[tuple[str, ...], tuple[Result, ...]]:
    """What a stage makes for each anchor, or for each pair, by names.

    A stage is done for an anchor or a pair when all of these are stored.
    """
    if stage in ("anchors", "probes"):
        return {(name,): _all(steps(stage, [name], [])) for name in anchors}
    return {pair: _all(steps(stage, anchors, [pair])) for pair in pairs}


def _all(work: Sequence[Step]) -> tuple[Result, ...]:
    return tuple(result for step in work for result in step.results)
