"""What the budget picker says: pure sentences, Markdown."""

from collections.abc import Mapping, Sequence

from dashboard.model.deployment import Network, Offer
from dashboard.text.markdown import plain
from klas.results.costs import Costs
from klas.results.formatting import METHODS, percent
from klas.selection.budget import Pick
from klas.study import Metric


def deploy(costs: Costs, found: Offer, pick: Pick, budget: float, of: str) -> str:
    """The answer.

    Args:
        budget: in plain units.
        of: whose networks these are, as "of this pair".
    """
    best = found.networks[pick.best]
    plural = "network" if pick.affordable == 1 else "networks"
    return (
        f"Deploy **{called(best)}**: **{percent(best.accuracy)}** ({measured_as(best, found)}) "
        f"at **{shown(costs, best.cost)}**. Of {pick.affordable} {plural} {of} that are measured "
        f"and cost at most {shown(costs, budget)}, none is more accurate, and none as accurate is "
        "cheaper."
    )


def better_elsewhere(costs: Costs, network: Network, others: Offer) -> str:
    """What of the rest of the study is the better buy."""
    what = "an anchor of the study" if network.pair is None else "a stitch of another pair"
    return (
        f"Within the same budget {what}, **{called(network)}**, reaches "
        f"**{percent(network.accuracy)}** ({measured_as(network, others)}) at "
        f"**{shown(costs, network.cost)}**."
    )


def too_little(costs: Costs, found: Offer, budget: float) -> str:
    """Nothing is affordable, or nothing is measured at all."""
    cheapest = found.cheapest()
    if cheapest is None:
        return f"Nothing is measured at tier {found.tier}, so there is nothing to choose from."
    return (
        f"Nothing costs as little as {shown(costs, budget)}: the cheapest network that is "
        f"measured, **{called(cheapest)}**, takes **{shown(costs, cheapest.cost)}** and "
        f"reaches {percent(cheapest.accuracy)}."
    )


def counted(found: Offer, metric: Metric, tau: float, chosen: Mapping[Metric, int]) -> str:
    """What a pair's answer is over.

    Args:
        chosen: of ``finetuned``, how many stitches every method chose whose choice is trained.
    """
    parts = ["its anchors"] if len(found.networks) > len(found.stitches) else []
    if found.tier != "finetuned":
        parts.append(f"its {_stitches(len(found.stitches))}")
        return f"Counted are {_and(parts)}, at tier {found.tier}."
    own = f"{METHODS[metric]} chose at τ = {tau:.4g}"
    parts += [
        f"the {_stitches(count)} that {own}"
        if method == metric
        else f"the {_stitches(count)} of {METHODS[method]}"
        for method, count in chosen.items()
    ]
    by_itself = "each choice trained jointly by itself" if len(chosen) > 1 else "trained jointly"
    said = f"Counted are {_and(parts)}, {by_itself}."
    return said if metric in chosen else f"{said} What {own} is not trained yet."


def counted_of_all(found: Offer, metric: Metric, tau: float, chosen: int) -> str:
    """What the answer over all pairs is over.

    Args:
        chosen: how many stitches the score chose, measured or not.
    """
    anchors, measured = len(found.networks) - len(found.stitches), len(found.stitches)
    parts = ["1 anchor" if anchors == 1 else f"{anchors} anchors"] if anchors else []
    if not measured:
        return f"Counted are {_and(parts)}; no chosen stitch is measured at tier {found.tier}."
    some = f"{measured} of the" if measured < chosen else "the"
    parts.append(f"{some} {_stitches(chosen)} that {METHODS[metric]} chose at τ = {tau:.4g}")
    jointly = ", trained jointly pair by pair" if found.tier == "finetuned" else ""
    rest = f"; the other {chosen - measured} are not measured" if measured < chosen else ""
    return f"Counted are {_and(parts)}, at tier {found.tier}{jointly}{rest}."


def called(network: Network) -> str:
    """A network by name."""
    if network.pair is None:
        return plain(network.name)
    return f"the stitch {network.name} of {plain(network.pair.name)}"


def measured_as(network: Network, found: Offer) -> str:
    """How its accuracy was measured; of a joint training whose."""
    if network.pair is None:
        return "as pretrained"
    if network.method is None:
        return f"tier {found.tier}"
    return f"tier {found.tier}, trained with {_training(network.method)}"


def shown(costs: Costs, value: float) -> str:
    """A cost in plain units as it is read."""
    return f"{value / costs.unit.scale:.4g} {costs.unit.name}"


def _training(method: Metric) -> str:
    return METHODS[method] if method == "snnet" else f"the choice of {METHODS[method]}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _stitches(count: int) -> str:
    return "1 stitch" if count == 1 else f"{count} stitches"
