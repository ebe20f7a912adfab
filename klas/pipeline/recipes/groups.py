"""Which candidates of a pair are measured or trained together: groups, from what passes cost.

A group repeats what its candidates share: images, the source's passes. So a pair has as many as
keep that small. MACs alone would make it look smaller than it is: in a narrow network most of the
time goes with the values that blocks leave, and small images take longer to load than to run. What
these take is counted in the MACs that one core does meanwhile, at 37 GMAC/s.
"""

from klas.pipeline.context import Context
from klas.results.result import OfPair, Places
from klas.selection.groups import balanced_groups
from klas.selection.space import Place

# As measured on one core: digits blocks of 136 to 1,088 values (14 ns each beside the products)
# and batches of digits images (27 µs each); ImageNet's, at 224, take 13 ms by the same rate.
VALUE_MACS = 500
PIXEL_MACS = 4_000  # of an image as a network sees it, in each of its channels

BACKWARD = 1.6  # cost of a backward pass to the stitch layer, in forward passes


def zero_shot_groups(result: OfPair, context: Context) -> tuple[Places, ...]:
    """The candidates in groups to be measured apart; each runs the source once for all it has."""
    shared = _pixels(result.source, context) + _source_macs(result, context)
    return balanced_groups(_rest_macs(result, context), shared)


def tuned_groups(result: OfPair, context: Context) -> tuple[Places, ...]:
    """The candidates in groups to be trained apart.

    Each runs the source in every step, and in half of them the target, once for all it has.
    """
    source, target = (context.anchors[name].info.transform for name in result.names)
    images = _pixels(result.source, context)
    if target != source:
        images += _pixels(result.target, context)
    wanted = _passing_macs(context, result.target, after=-1) // 2
    rests = _rest_macs(result, context)
    costs = {place: round((1 + BACKWARD) * macs) for place, macs in rests.items()}
    return balanced_groups(costs, images + _source_macs(result, context) + wanted)


def _rest_macs(result: OfPair, context: Context) -> dict[Place, int]:
    """Of each candidate, from the source's activation on: its layer, and the target's rest."""
    source, target = result.names
    layouts = context.anchors[target].info.layouts
    costs = {}
    for i, j in context.places(source, target):
        whole = context.stitch_cost(source, i, target, j).macs
        layer = whole - context.costs[source].front(i).macs - context.costs[target].back(j).macs
        layer += VALUE_MACS * layouts[j].channels * layouts[j].positions
        costs[i, j] = layer + _passing_macs(context, target, after=j)
    return costs


def _source_macs(result: OfPair, context: Context) -> int:
    """Of the source up to the deepest cut at which a candidate leaves it."""
    deepest = max((i for i, _ in context.places(*result.names)), default=0)
    whole = _passing_macs(context, result.source, after=-1)
    return whole - _passing_macs(context, result.source, after=deepest)


def _passing_macs(context: Context, name: str, *, after: int) -> int:
    """Of an anchor's parts behind a cut; behind −1 are all, the stem too."""
    macs = context.costs[name].macs[after + 1 :]
    layouts = context.anchors[name].info.layouts[after + 1 :]
    return sum(macs) + VALUE_MACS * sum(lay.channels * lay.positions for lay in layouts)


def _pixels(name: str, context: Context) -> int:
    return PIXEL_MACS * context.anchors[name].info.transform.example().numel()
