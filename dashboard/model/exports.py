"""What can be exported: a stitch at the tiers that are measured, or an anchor. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dashboard.model.tradeoff import Bits, Floats
from klas.deploy.member import stitch_name
from klas.jobs.kinds import ExportJob
from klas.results.accuracies import Racing
from klas.results.documents.exports import FormatName
from klas.results.documents.sources import AnchorEntry, Deployed
from klas.results.export_formats import EXPORT_FORMATS, LAYERS_PER_BLOCK, START_SECONDS
from klas.results.pair import Pair
from klas.selection.space import PairNames, Place
from klas.study import TIERS, Tier


@dataclass(frozen=True, kw_only=True)
class Training:
    """A joint training of a pair that was run.

    Attributes:
        chosen: (N,) what was trained together.
        racing: (N,) the buckets in which that raced, if it did.
        accuracy: (N,) after it, NaN of what was not trained or dropped out.
        own: whether it is that of the study's own selection, which the command exports from.
    """

    chosen: Bits
    racing: Racing
    accuracy: Floats
    own: bool


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """A network that can be exported.

    Attributes:
        member: its name.
        pair: of a stitch; None of an anchor.
        tiers: the tiers whose layers are stored, worst first, and the accuracy at each; none of an
            anchor.
        trained, racing: at ``finetuned``, what was trained together, and each one's bucket if that
            raced.
        own: whether the command exports the same at ``finetuned``.
        params: how many it has.
        blocks: how many it runs.
        fused: what its fused form costs, where that is another one.
    """

    member: str
    pair: PairNames | None
    tiers: Mapping[Tier, float] = field(default_factory=dict)
    trained: tuple[Place, ...] = ()
    racing: tuple[int, ...] = ()
    own: bool = False
    params: int
    blocks: int
    fused: Deployed | None

    def job(self, to: FormatName, tier: Tier | None, *, fused: bool) -> ExportJob:
        """What exports it."""
        jointly = tier == "finetuned"
        return ExportJob(
            member=self.member,
            pair=self.pair,
            tier=tier,
            trained=self.trained if jointly else (),
            racing=self.racing if jointly else (),
            to=to,
            fused=fused,
        )

    def about_seconds(self, to: FormatName) -> float:
        """About how long the job takes."""
        layers = self.blocks * LAYERS_PER_BLOCK
        return START_SECONDS + EXPORT_FORMATS[to].about_seconds(layers)

    def about_bytes(self, *, fused: bool) -> int:
        """About how large the file is: its weights, in float32."""
        return 4 * (self.fused["params"] if fused and self.fused else self.params)


def exportable_stitch(pair: Pair, row: int, training: Training | None) -> Exportable:
    """A candidate of a pair.

    Args:
        training: the joint training whose weights it may take; None if there is none.
    """
    (i, j), (source, target) = pair.everywhere[row], pair.names
    known: dict[Tier, float] = {
        "zero_shot": float(pair.accuracy("zero_shot")[row]),
        "tuned": float(pair.accuracy("tuned")[row]),
        "finetuned": float("nan") if training is None else float(training.accuracy[row]),
    }
    entry = pair.raw["candidates"][row]
    trained: tuple[Place, ...] = ()
    racing: tuple[int, ...] = ()
    if training is not None:
        trained = tuple(pair.places(training.chosen))
        if training.racing is not None:
            racing = tuple(training.racing[training.chosen].tolist())
    return Exportable(
        member=stitch_name(source, i, target, j),
        pair=pair.names,
        tiers={tier: known[tier] for tier in TIERS if np.isfinite(known[tier])},
        trained=trained,
        racing=racing,
        own=training is not None and training.own,
        params=entry["params"],
        blocks=i + pair.target["blocks"] - j,
        fused=_another(entry["params"], entry.get("deployed")),
    )


def exportable_anchor(entry: AnchorEntry) -> Exportable:
    """An anchor as it was pretrained."""
    return Exportable(
        member=entry["name"],
        pair=None,
        params=entry["params"],
        blocks=entry["blocks"],
        fused=_another(entry["params"], entry.get("deployed")),
    )


def _another(params: int, deployed: Deployed | None) -> Deployed | None:
    """The fused form, unless the parts that run have nothing to fuse."""
    return None if deployed is None or deployed["params"] == params else deployed
