"""What the budget picker says: pure sentences, Markdown."""

from collections.abc import Mapping, Sequence

from dashboard.model.deployment import Deployable, Network
from dashboard.text.markup import plain
from klas.results.costs import Costs
from klas.results.formatting import METHODS, in_prose, percent
from klas.selection.budget import Pick
from klas.study import SETS, Metric, Tier


def deploy(costs: Costs, deployable: Deployable, pick: Pick, budget: float, of: str) -> str:
    """The answer.

    Args:
        budget: in plain units.
        of: whose networks these are, as "of this pair".
    """
    best = deployable.networks[pick.best]
    most = shown_cost(costs, budget)
    why = (
        f"Of the {pick.affordable} measured networks {of} that cost at most {most}, none is more "
        "accurate, and none of equal accuracy is cheaper."
        if pick.affordable > 1
        else f"No other measured network {of} costs at most {most}."
    )
    return (
        f"Deploy **{called(best)}**: **{percent(best.accuracy)}** "
        f"({measured_as(best, deployable.tier)}) at **{shown_cost(costs, best.cost)}**. {why}"
    )


def better_elsewhere(costs: Costs, network: Network, tier: Tier) -> str:
    """What of the rest of the study is the better buy."""
    what = "an anchor of the study" if network.pair is None else "a stitch of another pair"
    return (
        f"Within the same budget {what}, **{called(network)}**, reaches "
        f"**{percent(network.accuracy)}** ({measured_as(network, tier)}) at "
        f"**{shown_cost(costs, network.cost)}**."
    )


def too_little(costs: Costs, deployable: Deployable, budget: float) -> str:
    """Nothing is affordable, or nothing is measured at all."""
    cheapest = deployable.cheapest()
    if cheapest is None:
        return f"Nothing is measured at tier {deployable.tier}, so there is nothing to choose from."
    return (
        f"Nothing costs as little as {shown_cost(costs, budget)}: the cheapest measured "
        f"network, **{called(cheapest)}**, takes **{shown_cost(costs, cheapest.cost)}** and "
        f"reaches {percent(cheapest.accuracy)}."
    )


def basis_of_pair(
    deployable: Deployable, metric: Metric, tau: float, chosen: Mapping[Metric, int]
) -> str:
    """What a pair's answer is chosen from.

    Args:
        chosen: of ``finetuned``, how many stitches every method chose whose choice is trained.
    """
    parts = ["the pair's anchors"] if len(deployable.networks) > len(deployable.stitches) else []
    if deployable.tier != "finetuned":
        whose = "its" if parts else "the pair's"
        parts.append(f"{whose} {_stitches(len(deployable.stitches))}")
        return f"Picked from {_and(parts)}, at tier {deployable.tier}."
    own = f"{METHODS[metric]} chose at τ = {tau:.4g}"
    parts += [
        f"the {_stitches(count)} that {own}"
        if method == metric
        else f"the {_stitches(count)} of {in_prose(method)}"
        for method, count in chosen.items()
    ]
    how = "each choice trained jointly by itself" if len(chosen) > 1 else "trained jointly"
    sentence = f"Picked from {_and(parts)}, {how}."
    return sentence if metric in chosen else f"{sentence} What {own} is not trained yet."


def basis_of_study(deployable: Deployable, metric: Metric, tau: float, chosen: int) -> str:
    """What the answer over all pairs is chosen from.

    Args:
        chosen: how many stitches the score chose, measured or not.
    """
    tier, measured = deployable.tier, len(deployable.stitches)
    anchors = len(deployable.networks) - measured
    parts = ["1 anchor" if anchors == 1 else f"{anchors} anchors"] if anchors else []
    if not measured:
        return f"Picked from {_and(parts)}; no chosen stitch is measured at tier {tier}."
    some = f"{measured} of the" if measured < chosen else "the"
    parts.append(f"{some} {_stitches(chosen)} that {METHODS[metric]} chose at τ = {tau:.4g}")
    jointly = ", trained jointly pair by pair" if tier == "finetuned" else ""
    rest = f"; the other {chosen - measured} are not measured" if measured < chosen else ""
    return f"Picked from {_and(parts)}, at tier {tier}{jointly}{rest}."


def called(network: Network) -> str:
    """A network by name."""
    if network.pair is None:
        return plain(network.name)
    return f"the stitch {network.name} of {plain(network.pair.name)}"


def measured_as(network: Network, tier: Tier) -> str:
    """How a network's accuracy was measured; of a joint training also whose.

    Args:
        tier: of the stitches beside it.
    """
    if network.pair is None:
        return "as pretrained"
    if network.method is None:
        return f"tier {tier}"
    return f"tier {tier}, trained with {_training(network.method)}"


def shown_cost(costs: Costs, value: float) -> str:
    """A cost in plain units as it is read."""
    return f"{value / costs.unit.scale:.4g} {costs.unit.name}"


def _training(method: Metric) -> str:
    return in_prose(method) if method in SETS else f"the choice of {METHODS[method]}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _stitches(count: int) -> str:
    return "1 stitch" if count == 1 else f"{count} stitches"
