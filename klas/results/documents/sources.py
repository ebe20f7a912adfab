"""What every form says of its origin: the versions, the anchors and the data."""

from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from klas.results.documents.numbers import AtLeastOne, Cost, Count, Grid, Name, Sha256, Share

TaskName = Literal["classification"]
MetricName = Literal["top1"]


class MadeWith(TypedDict):
    """The versions of what made the document; the splitter cuts networks into blocks."""

    klas: str
    torch: str
    timm: str
    splitter: str


@with_config(
    ConfigDict(
        extra="forbid",
        json_schema_extra={"anyOf": [{"required": [key]} for key in ("tag", "file", "code")]},
    )
)
class Weights(TypedDict):
    """Where an anchor's weights are from: timm's tag, a file (and the entry in it that holds
    them), or a Python function, with the SHA-256 of its source; and that of the tensors."""

    tag: NotRequired[str]
    file: NotRequired[str]
    entry: NotRequired[str]
    code: NotRequired[str]
    sha256: Sha256
    source: NotRequired[Sha256]


def _names_an_origin(weights: Weights) -> Weights:
    if not weights.keys() & {"tag", "file", "code"}:
        raise PydanticCustomError("origin", "none of 'tag', 'file' and 'code' is given")
    return weights


class Layout(TypedDict):
    """The activation at a cut: channels, grid (height, width), prefix tokens before the grid's,
    and the order of axes."""

    channels: AtLeastOne
    grid: Grid
    prefix: Count
    form: Literal["NLC", "NHWC", "NCHW"]


class Transform(TypedDict):
    """What an anchor makes of an image: size (channels, height, width), normalisation, and the
    share of the image that is left when it is cropped."""

    input_size: Annotated[list[Count], Field(min_length=3, max_length=3)]
    mean: list[float]
    std: list[float]
    crop: Annotated[float, Field(gt=0, le=1)]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]


class AnchorIdentity(TypedDict):
    """What results are filed under: the weights' digest, the splitter and the transform;
    columns: the outputs that are the study's classes, null for all; source: the SHA-256 of the
    Python function that makes the network, if one does."""

    name: Name
    model: Name
    digest: Sha256
    source: Sha256 | None
    splitter: str
    transform: Transform
    columns: Annotated[list[Count], Field(min_length=1)] | None


class AnchorEntry(AnchorIdentity):
    """An anchor with n blocks: module paths and layouts of its n + 1 cuts, the costs of one
    forward pass, and accuracies. null: it has no head, or that is not computed yet."""

    weights: Annotated[Weights, AfterValidator(_names_an_origin)]
    blocks: AtLeastOne
    cuts: list[str]
    layouts: list[Layout]
    macs: Cost
    params: Cost
    accuracy: Share | None
    probe_accuracy: list[Share] | None
    probe_converged: list[bool] | None


class Split(TypedDict):
    """The samples of a split that are looked at: so many, of so many images, in an order that
    the seed gives, without the rows that cannot be read."""

    ref: str
    fingerprint: str
    samples: Count
    seed: Count
    left_out: list[Count]
    images: Count


class Data(TypedDict):
    """The splits; test: null where the study has none."""

    train: Split
    val: Split
    test: Split | None


class Fit(TypedDict):
    """How many training images the least squares of tier zero_shot are fitted on."""

    samples: AtLeastOne
