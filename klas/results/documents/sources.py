"""What every form says of its origin: the versions, the anchors and the data."""

from typing import Annotated, Literal, NotRequired, cast

from pydantic import AfterValidator, ConfigDict, Field, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from klas.errors import FormatError
from klas.results.documents.numbers import (
    Array,
    AtLeastOne,
    Cost,
    Count,
    Grid,
    Mark,
    Name,
    NoGrid,
    Operators,
    Sha256,
    Share,
)


class MadeWith(TypedDict):
    """The versions of what made the document.

    splitter: what cuts networks into blocks.
    """

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
    """Where an anchor's weights are from: a tag of timm's, a file, or a Python function.

    entry: what the file calls them; config: the file beside them that says how the network takes
    images; source: the SHA-256 of the function's code; sha256: that of the loaded tensors.
    """

    tag: NotRequired[str]
    file: NotRequired[str]
    entry: NotRequired[str]
    config: NotRequired[str]
    code: NotRequired[str]
    sha256: Sha256
    source: NotRequired[Sha256]


def _names_an_origin(weights: Weights) -> Weights:
    if not weights.keys() & {"tag", "file", "code"}:
        raise PydanticCustomError("origin", "none of 'tag', 'file' and 'code' is given")
    return weights


class Layout(TypedDict):
    """The activation at a cut.

    grid: height and width of its map, empty for a text; prefix: how many tokens come before the
    map; form: the order of its axes.
    """

    channels: AtLeastOne
    grid: Grid | NoGrid
    prefix: Count
    form: Literal["NLC", "NHWC", "NCHW"]


class Transform(TypedDict):
    """What an anchor makes of an image.

    input_size: channels, height and width; crop: the share of the image that is left; whole: images
    are resized to the network's aspect ratio, not cropped to it.
    """

    input_size: Annotated[Array[Count], Field(min_length=3, max_length=3)]
    mean: Array[float]
    std: Array[float]
    crop: Annotated[float, Field(gt=0, le=1)]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    whole: NotRequired[Mark]


class TextTransform(TypedDict):
    """How a decoder takes a text.

    tokenizer: the SHA-256 of what makes tokens of it; length: how many tokens a sample has.
    """

    tokenizer: Sha256
    length: AtLeastOne


def of_image(transform: Transform | TextTransform) -> Transform:
    """How an image is taken, where that is what a document says.

    Raises:
        FormatError: it says how a text is.
    """
    if "length" in transform:
        raise FormatError("says how a text is taken, not an image; this is for networks of images")
    return transform


def text_length(transform: Transform | TextTransform) -> int | None:
    """How many tokens a sample has; None of an image."""
    return cast(TextTransform, transform)["length"] if "length" in transform else None


class AnchorIdentity(TypedDict):
    """What distinguishes an anchor's results from another's.

    digest: the SHA-256 of its tensors; columns: which of its outputs are the classes, null for all
    in order; source: the SHA-256 of the Python function that makes the network, null where none
    does; fused: it is in the fused form of these tensors.
    """

    name: Name
    model: Name
    digest: Sha256
    source: Sha256 | None
    splitter: str
    transform: Transform | TextTransform
    columns: Annotated[Array[Count], Field(min_length=1)] | None
    fused: NotRequired[Mark]


class Deployed(TypedDict):
    """What a network costs in timm's fused form.

    Parallel branches and batch normalisation are folded into single convolutions, which leaves the
    outputs as they are up to rounding.
    """

    macs: Cost
    params: Cost


class AnchorEntry(AnchorIdentity):
    """An anchor with n blocks.

    cuts, layouts, probe_accuracy, probe_converged: of the n + 1 cuts; cuts: paths of modules; macs:
    of one forward pass, a lower bound where uncounted names operators for which there is no
    formula; deployed: of the fused form, where it differs; image_size: height and width, where the
    study asks for another than the network's own. null: not computed yet, or there is no
    head to measure.
    """

    weights: Annotated[Weights, AfterValidator(_names_an_origin)]
    blocks: AtLeastOne
    cuts: Array[str]
    layouts: Array[Layout]
    macs: Cost
    params: Cost
    uncounted: NotRequired[Operators]
    deployed: NotRequired[Deployed]
    image_size: NotRequired[Grid]
    accuracy: Share | None
    probe_accuracy: Array[Share] | None
    probe_converged: Array[bool] | None


class SplitIdentity(TypedDict):
    """The samples of a split that are looked at.

    samples: how many, of so many images; seed: of their order; left_out: rows that cannot be read;
    passed_over: how many files have names that are not those of images, by ending.
    """

    ref: str
    fingerprint: str
    samples: Count
    seed: Count
    left_out: Array[Count]
    images: Count
    passed_over: NotRequired[dict[str, Count]]


class Data(TypedDict):
    """The splits.

    test: null where the study has none.
    """

    train: SplitIdentity
    val: SplitIdentity
    test: SplitIdentity | None


class Fit(TypedDict):
    """What the stitch layers of tier zero_shot are fitted on.

    samples: how many training images.
    """

    samples: AtLeastOne
