"""The ``klas-stitches`` form: chosen stitches, and what it takes to build them again."""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from klas.results.documents.numbers import (
    Anchors,
    Array,
    AtLeastOne,
    Cost,
    Count,
    Grid,
    Mark,
    Members,
    NoGrid,
    Operators,
    Score,
    Sha256,
    Share,
    Version,
)
from klas.results.documents.sources import AnchorEntry, Data, Deployed, Fit, MadeWith
from klas.study import TaskName, Tier
from klas.tasks.metric import MetricName


class SelectionEntry(TypedDict):
    """How the stitches were chosen.

    edges: those of the buckets, in MACs, for each of the pairs; empty: why nothing is chosen from
    some of them, a sentence each; edited: the stitches were picked by hand, and the rule gives
    their scores and buckets alone.
    """

    metric: str
    tau: Annotated[float, Field(ge=0)]
    tau_mode: Literal["relative", "absolute"]
    buckets: AtLeastOne
    binning: Literal["width", "count"]
    full: bool
    space: str
    pairs: Members[Annotated[Array[str], Field(min_length=2, max_length=2)]]
    edges: Members[Array[float]]
    empty: NotRequired[Array[str]]
    edited: NotRequired[Mark]


_Channels = TypedDict("_Channels", {"in": Count, "out": Count})  # "in" can't be an attribute


class StitchLayer(_Channels):
    """A stitch layer: channels in and out.

    grid: what it runs on, the smaller of the two, empty between texts; prefix: how many prefix
    tokens it makes.
    """

    grid: Grid | NoGrid
    prefix: Count


class StitchAccuracy(TypedDict):
    """A stitch's accuracies on the validation samples.

    null: not measured.
    """

    zero_shot: Share | None
    tuned: Share | None
    finetuned: Share | None


class FullValidation(TypedDict):
    """The accuracy on every validation image."""

    tier: Tier
    samples: AtLeastOne
    accuracy: Share


class StitchEntry(TypedDict):
    """One network: the source's blocks, the stitch layer, the target's blocks.

    source_block: the last before the stitch layer; target_block: the one before the first after it;
    macs: of one forward pass, a lower bound where uncounted names operators for which there is no
    formula; deployed: with both parts fused, where one of the anchors has a fused form that is
    cut alike; bucket: from 0, null outside; score: null where there is none.
    """

    source: str
    source_block: int
    target: str
    target_block: int
    stitch_layer: StitchLayer
    macs: Cost
    params: Cost
    uncounted: NotRequired[Operators]
    deployed: NotRequired[Deployed]
    bucket: Count | None
    score: Score | None
    accuracy: StitchAccuracy
    full_val: FullValidation | None


class WeightsFile(TypedDict):
    """The file beside the list that holds the stitch layers of a tier."""

    name: Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]
    sha256: Sha256
    tier: Tier


@with_config(ConfigDict(title="KLAS stitch list", extra="forbid", strict=True))
class StitchList(TypedDict):
    """Chosen stitches and all that is needed to build them again."""

    format: Literal["klas-stitches"]
    version: Version
    made_with: MadeWith
    task: TaskName
    accuracy_metric: MetricName
    anchors: Anchors[AnchorEntry]
    data: Data
    fit: Fit
    precision: str
    selection: SelectionEntry
    stitches: Members[StitchEntry]
    weights_file: WeightsFile | None
