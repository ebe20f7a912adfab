"""After training, and now and then on the way: every member's statistics and accuracy."""

from collections.abc import Callable, Iterable

from torch import Tensor

from klas.deploy.elastic import Elastic
from klas.deploy.training.ranks import Ranks
from klas.measures.accuracy import network_outcomes
from klas.measures.sweep import Tick
from klas.networks.batch_size import BatchSize
from klas.networks.device import Precision
from klas.tasks.objective import Objective

Batches = Callable[[str, int], Iterable[tuple[Tensor, ...]]]
"""Begins a pass over validation images as an anchor sees them, by its name, in such batches."""


def measured(
    elastic: Elastic,
    *,
    calibration: Callable[[str], Iterable[tuple[Tensor, ...]]],
    validation: Batches,
    size: BatchSize,
    objective: Objective,
    ranks: Ranks,
    precision: Precision,
    tick: Tick,
) -> dict[str, float]:
    """The accuracy of every member on all validation samples, each with statistics of its own.

    The processes share the members, and all of them get all accuracies.

    Args:
        elastic: is left in eval mode, with the statistics of these calibration images.
        calibration: begins a pass over the images that statistics are taken from, as an anchor
            sees them, by its name.
        size: how many images go through a network at once.
        tick: called with the number of members just done.
    """
    elastic.eval()
    elastic.calibrate(calibration, precision=precision)
    metric = objective.task.metric

    def accuracy(name: str) -> float:
        outcomes = network_outcomes(
            elastic.use(name),
            validation(elastic.viewer(name), size.size),
            objective=objective,
            precision=precision,
        )
        return metric.value(outcomes)

    names = [member.name for member in elastic.members]
    own = {}
    for name in names[ranks.rank :: ranks.count]:
        own[name] = size.retrying(lambda _: accuracy(name), lambda n: None)  # noqa: B023 - called at once
        tick(ranks.count)
    found = {name: value for part in ranks.collect(own) for name, value in part.items()}
    return {name: found[name] for name in names}
