"""What the export control says: pure sentences, Markdown."""

from dashboard.model.exports import Exportable
from dashboard.text.markup import plain
from klas.jobs.status import ExportAnswer
from klas.results.documents.exports import FormatName
from klas.results.export_formats import EXPORT_FORMATS
from klas.results.formatting import cost, duration, percent, size
from klas.results.pair import CostUnit
from klas.study import Tier


def weights_note(network: Exportable, tier: Tier | None) -> str:
    """Which weights are exported."""
    if tier is None:
        return "Its pretrained weights are exported."
    best = list(network.tiers)[-1]
    which = "the best tier that is stored" if tier == best else f"not {best}, the best that is"
    more = " stored" if tier != best else ""
    return f"Exported at tier **{tier}** ({percent(network.tiers[tier])}), {which}{more}."


def fused_help(network: Exportable, unit: CostUnit) -> str:
    """What the fused form is and costs."""
    assert network.fused is not None, "it is offered only where there is one"
    return (
        "Parallel branches and normalisation are folded into single convolutions, which leaves "
        f"the outputs as they are: {cost(network.fused['macs'], unit)} {unit.name}, "
        f"{network.fused['params']:,} parameters."
    )


def what_it_takes(network: Exportable, to: FormatName, *, fused: bool) -> str:
    """The time and the size, beforehand."""
    kind = "file" if EXPORT_FORMATS[to].ending else "zip of the folder"
    return (
        f"Takes about {duration(network.about_seconds(to))} and makes a {kind} of about "
        f"{size(network.about_bytes(fused=fused))}. What is written is loaded again and compared "
        "with the network at batches 1 and 5; if the outputs differ, nothing is kept."
    )


def what_came_out(answer: ExportAnswer, unit: CostUnit) -> str:
    """What was exported, in figures."""
    beside = " (timed beside other work: alone it is quicker)" if answer.beside_other_work else ""
    return (
        f"**{cost(answer.macs, unit)}** {unit.name}, **{answer.params:,}** parameters, "
        f"**{answer.milliseconds:.3g}** ms an image on {plain(answer.machine)}{beside}.  \n"
        "Largest difference of any output from the network's, at batches 1 and 5: "
        f"**{answer.difference:.2g}**."
    )
