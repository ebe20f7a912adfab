"""The numbers, short texts and arrays that documents are made of."""

import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from klas.study import MOST_ANCHORS

T = TypeVar("T")

Array = Annotated[list[T], Field(fail_fast=True)]
"""A list in which only the first fault is reported: a stranger's list may have a million."""

Anchors = Annotated[Array[T], Field(max_length=MOST_ANCHORS)]
"""As many as a study may have: each is a network to build, whatever builds it."""

Members = Annotated[Array[T], Field(max_length=100_000)]
"""Chosen stitches, or what goes with each pair; the largest list that was made has hundreds."""


# In Python True is 1, in JSON it is not.


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("literal_error", {"expected": "1"})
    return value


def _only_boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise PydanticKnownError("literal_error", {"expected": "true"})
    return value


Version = Annotated[Literal[1], BeforeValidator(_no_boolean)]
"""Of a form: there has been one so far."""

Mark = Annotated[Literal[True], BeforeValidator(_only_boolean)]
"""A key that is there where it is true, and else not there at all."""

Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]

Cost = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""MACs or parameters; no network has more than an array's integer can hold."""

Operators = Annotated[Array[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
"""Names of operators, such as ``aten::_fft_r2c``."""

Share = Annotated[float, Field(ge=0, le=1)]
"""An accuracy, a share of the samples."""

Nats = Annotated[float, Field(ge=0)]
"""A Kullback–Leibler divergence."""

Number = float | Literal["inf", "-inf"]
"""JSON has no infinities, so they are spelled out."""

Score = float | Literal["inf"]
"""A stitch's score: lower is better, and the worst is infinite."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1)]
Blocks = Annotated[Array[Count], Field(min_length=2, max_length=2)]
"""i and j of a stitch."""

Grid = Annotated[Array[Count], Field(min_length=2, max_length=2)]

NoGrid = Annotated[Array[Count], Field(max_length=0)]
"""Of a text."""


def optional(value: float) -> float | None:
    """A number for JSON: NaN (not computed) is null."""
    return None if math.isnan(value) else float(value)


def optional_score(value: float) -> Score | None:
    """A score for JSON: NaN (not computed) is null."""
    return "inf" if value == math.inf else optional(value)


def optional_number(value: float) -> Number | None:
    """A number for JSON that may be infinite: NaN (undefined) is null."""
    return "-inf" if value == -math.inf else optional_score(value)
