"""The ``klas-network`` and ``klas-elastic`` forms: saved networks, and how to build them again."""

from typing import Annotated, Any, Literal, NotRequired

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
    Name,
    Sha256,
    Share,
    Version,
)
from klas.results.documents.sources import Layout, MadeWith, TextTransform, Transform
from klas.study import TaskName
from klas.tasks.metric import MetricName

Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Architecture(TypedDict):
    """An anchor without its weights.

    model: timm's, or the Python function that makes it; arguments: what timm makes it with, null
    for a function; source: the SHA-256 of the function's code; columns: which of its outputs are
    the classes, null for all in order; cuts, layouts: of the n + 1 cuts; image_size: height and
    width, where they are not the network's own; fused: it is in timm's fused form; plain_head: how
    many classes the plain head of a segmenter distinguishes, where the network has one.
    """

    name: Name
    model: Name
    arguments: dict[str, Any] | None
    source: Sha256 | None
    splitter: str
    transform: Transform | TextTransform
    columns: Annotated[Array[Count], Field(min_length=1)] | None
    classes: Count
    blocks: AtLeastOne
    cuts: Array[str]
    layouts: Array[Layout]
    image_size: NotRequired[Grid]
    fused: NotRequired[Mark]
    plain_head: NotRequired[AtLeastOne]


class Latency(TypedDict):
    """How long one image takes: the median of some passes, and on what machine."""

    ms: Milliseconds
    machine: str


class NetworkMember(TypedDict):
    """One network: an anchor, or the source's blocks, a stitch layer and the target's blocks.

    source_block, target, target_block: null for an anchor; accuracy: on the validation samples, by
    tier; latency: null where it was not measured.
    """

    name: Name
    source: Name
    source_block: Count | None
    target: Name | None
    target_block: Count | None
    macs: Cost
    params: Cost
    accuracy: dict[str, Share]
    latency: Latency | None


class TensorsFile(TypedDict):
    """The safetensors file beside the document."""

    name: Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]
    sha256: Sha256


class Saved(TypedDict):
    """What a saved network says, be it one member or many."""

    made_with: MadeWith
    task: TaskName
    accuracy_metric: MetricName
    class_names: Array[str] | None
    anchors: Anchors[Architecture]
    weights: TensorsFile


@with_config(ConfigDict(title="KLAS network", extra="forbid", strict=True))
class NetworkDocument(Saved):
    """One network with all that is needed to build it again.

    class_names: of its outputs, null where nobody knows them; anchors: whose parts it is made of;
    tier: how its weights were made, null for a pretrained anchor; digest: the SHA-256 of all else.
    """

    format: Literal["klas-network"]
    version: Version
    tier: str | None
    member: NetworkMember
    digest: Sha256


@with_config(ConfigDict(title="KLAS elastic network", extra="forbid", strict=True))
class ElasticDocument(Saved):
    """Anchors and stitches that share their blocks, with all that is needed to build them again.

    class_names: of the outputs, null where nobody knows them; tier: how the weights were made;
    digest: the SHA-256 of all else.
    """

    format: Literal["klas-elastic"]
    version: Version
    tier: str
    members: Members[NetworkMember]
    digest: Sha256
