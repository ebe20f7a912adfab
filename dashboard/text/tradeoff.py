"""What the trade-off says: who wins by how much, and how many stitches beat the anchors."""

from dashboard.model.tradeoff import Curve, steps
from klas.results.costs import Costs, above_anchors
from klas.results.formatting import in_prose, percent
from klas.results.pair import Pair, number
from klas.selection.curves import gain, saving
from klas.selection.race import ENTRANTS

METHOD_HELP = (
    "What chose the stitches. KLAS (Γ): by Γ = Ω / Σ, the distance across the stitch over the "
    "capacity of the block that follows. Ω = Θ(Pᵢ of the source, Pⱼ of the target) and "
    "Σ = Θ(Pⱼ, Pⱼ₊₁), both of the target; Θ(P, Q) = mean KL(P ‖ Q) says how many nats apart two "
    "probes' predictions are. Ω alone: without Σ. √(Ω·CE): the geometric mean of Ω and the probes' "
    "cross-entropy CE. Every other score takes in each bucket as many stitches as the score that "
    "is chosen above; SN-Net's set is taken as it is. A race trains up "
    f"to {ENTRANTS} stitches of each bucket, measures them on the way and keeps the best one, so "
    "it has a curve at tier finetuned alone."
)
"""What the methods' names say."""


def verdict(pair: Pair, costs: Costs, ours: Curve, theirs: Curve) -> list[str]:
    """How a method does against another: points at equal cost, cost ratio at equal accuracy."""
    name, other = in_prose(ours.metric), in_prose(theirs.metric)
    mine, rival = steps(costs, pair, ours), steps(costs, pair, theirs)
    ends = sorted(costs.anchors.values())
    won = gain(mine, rival, ends[0], ends[-1]) if len(ends) > 1 else None
    what = {"macs": "MACs", "params": "parameters", "latency": "time"}[costs.name]
    if won is not None and won.mean == 0 and won.greatest == 0:
        return [f"At equal cost {name} and {other} reach the **same** accuracy."]
    sentences = []
    if won is not None and f"{100 * won.mean:z.2f}" == "0.00":
        best = f"; at best {name} is {100 * won.greatest:.2f} points above"
        sentences.append(
            f"At equal cost {name} and {other} reach the **same** accuracy on average"
            f"{best if 100 * won.greatest >= 0.005 else ''}."
        )
    elif won is not None:
        sentences.append(
            f"At equal cost {name} is on average **{100 * won.mean:+.2f} points** relative "
            f"to {other}, at best {100 * won.greatest:+z.2f}."
        )
    spared = saving(mine, rival)
    less = f"{'less' if costs.name == 'latency' else 'fewer'} {what}"
    if spared is not None and f"{spared.mean:.2f}" == "1.00":
        best = f"; at best {name} needs {spared.greatest:.2f}× {less}"
        sentences.append(
            f"At equal accuracy both need the **same** {what} on average"
            f"{best if spared.greatest >= 1.005 else ''}."
        )
    elif spared is not None and spared.mean >= 1:
        sentences.append(
            f"At equal accuracy it needs on average **{spared.mean:.2f}× {less}**, at best "
            f"{spared.greatest:.2f}×."
        )
    elif spared is not None:
        sentences.append(
            f"At equal accuracy {other} takes on average **{spared.mean:.2f}×** the {what} of "
            f"{name}, at most {spared.greatest:.2f}×."
        )
    return sentences


def above(pair: Pair, costs: Costs, ours: Curve) -> str:
    """How many of the chosen beat the pair's anchors."""
    better = int(above_anchors(costs, pair, ours.chosen, ours.accuracy).sum())
    what = {"macs": "needs no more MACs", "params": "has no more parameters"}
    why = "" if better else _why_none(pair, ours)
    return (
        f"**{better} of {int(ours.chosen.sum())}** chosen stitches are more accurate than every "
        f"anchor of this pair that {what.get(costs.name, 'takes no more time')}.{why}"
    )


def _why_none(pair: Pair, ours: Curve) -> str:
    """Why areas and gains are 0, where they are."""
    cheap, costly = pair.cheap_and_costly
    accuracies, floor = ours.accuracy[ours.chosen], number(cheap["accuracy"])
    if len(pair.measured_anchors) < 2 or not accuracies.size:
        return ""
    if accuracies.max() > floor:
        return ""
    if cheap["macs"] == costly["macs"] or floor >= number(costly["accuracy"]):
        return ""  # then there are no areas
    return (
        f" None is above the cheap anchor's {percent(cheap['accuracy'])}, so the envelope is that "
        "of the anchors alone and **auc** is 0."
    )
