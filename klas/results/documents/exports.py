"""The ``klas-export`` form: what an exported file says of itself in its metadata."""

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from klas.results.documents.numbers import Array, AtLeastOne, Cost, Grid, Name, Share, Version
from klas.results.documents.sources import MadeWith, Transform

FormatName = Literal["safetensors", "torch", "onnx", "timm"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
"""What a network is exported to."""


class Preparation(Transform):
    """How a picture becomes the network's input.

    It is resized until it covers ``resize`` (height, width), which is input_size over crop; of that
    the middle is taken, and its pixels, scaled to [0, 1], are normalised by mean and std.
    """

    resize: Annotated[Grid, Field(min_length=2, max_length=2)]


@with_config(ConfigDict(title="KLAS export", extra="forbid", strict=True))
class ExportNotes(TypedDict):
    """The notes in an exported file, for those who have nothing but the file.

    tier: how its weights were made, null for a pretrained network; class_names: of its outputs,
    null where nobody knows them; fused: parallel branches and normalisation are folded into single
    convolutions; macs: of one forward pass; accuracy: on the validation samples, by tier.
    """

    format: Literal["klas-export"]
    version: Version
    made_with: MadeWith
    name: Name
    tier: str | None
    class_names: Annotated[Array[str], Field(min_length=1)] | None
    preprocessing: Preparation
    fused: bool
    macs: Cost
    params: AtLeastOne
    accuracy: dict[str, Share]
