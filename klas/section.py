"""What the sections of a study are made of: the base of them all, and kinds of numbers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0, le=10**7)]  # more can only be a typing error
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

PrecisionRule = Literal["auto", "float32", "bfloat16"]


class Section(BaseModel):
    """A part of a study: frozen, and nothing in it is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
