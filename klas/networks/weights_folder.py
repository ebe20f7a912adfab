"""A folder of weights as timm and its hub write it: the weights, and ``config.json`` beside them.

The file says what the network was trained on: the size of its images, their mean and standard
deviation. Crop and interpolation are the study's, the same for all anchors.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from klas.errors import AnchorError, listing
from klas.foreign import read_at_most, reading

CONFIG = "config.json"
MOST_BYTES = 2**24  # of that file; one with the names of ImageNet-21k's classes takes a tenth

_PREFERRED = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".tar")

_Side = Annotated[int, Field(gt=0)]
_Mean = Annotated[float, Field(allow_inf_nan=False)]
_Std = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """What a ``config.json`` says of the weights beside it.

    Attributes:
        file: the file itself.
        architecture: the timm model, if it says so.
        preprocessing: those of timm's ``input_size``, ``mean`` and ``std`` that it states.
        model_args: what the network was made with.
    """

    file: Path
    architecture: str | None
    preprocessing: dict[str, tuple[float, ...]]
    model_args: dict[str, Any] = field(default_factory=dict)


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True)

    input_size: tuple[_Side, _Side, _Side] | None = None
    mean: tuple[_Mean, ...] | None = None
    std: tuple[_Std, ...] | None = None
    fixed_input_size: bool = False

    @model_validator(mode="after")
    def _one_of_each_channel(self) -> Self:
        channels = self.input_size[0] if self.input_size else None
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and channels is not None and len(values) != channels:
                raise ValueError(f"{name} has {len(values)} numbers for {channels} channels")
        return self


class _Arguments(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    img_size: _Side | tuple[_Side, _Side] | None = None


class _Config(BaseModel):
    model_config = ConfigDict(strict=True)

    architecture: str | None = None
    pretrained_cfg: _Preprocessing
    model_args: _Arguments = _Arguments()

    @property
    def preprocessing(self) -> dict[str, tuple[float, ...]]:
        """What is stated, with the size that a network of one size was made for."""
        stated = self.pretrained_cfg.model_dump(exclude_none=True, exclude={"fixed_input_size"})
        made_for = self.model_args.img_size
        if made_for is not None and self.pretrained_cfg.fixed_input_size and "input_size" in stated:
            size = (made_for, made_for) if isinstance(made_for, int) else made_for
            stated["input_size"] = (stated["input_size"][0], *size)  # older files kept timm's own
        return stated


def weights_file(path: str, name: str) -> Path:
    """The file of weights that an anchor means, which may name the folder that holds it.

    Args:
        name: the anchor's, for the error's sentence.

    Raises:
        AnchorError: a folder has no weights, or several files of which none has the usual name.
    """
    if not os.path.isdir(path):  # false, where Path's own method raises, for an impossible name
        return Path(path)
    folder = Path(path)
    with reading(AnchorError, f"{name}: the folder {path} cannot be read", "name a file in it"):
        files = sorted(f for f in folder.iterdir() if f.suffix in _ENDINGS and f.is_file())
    usual = [folder / file for file in _PREFERRED if folder / file in files]
    if not files:
        raise AnchorError(
            f"{name}: the folder {path} holds no weights ({', '.join(_PREFERRED)}); name a file "
            "as `weights`"
        )
    if not usual and len(files) > 1:
        raise AnchorError(
            f"{name}: the folder {path} holds {listing(f.name for f in files)}; name one of these "
            "files as `weights`"
        )
    return (usual or files)[0]


def weights_config(path: str, name: str) -> WeightsConfig | None:
    """What the ``config.json`` beside an anchor's weights says.

    None where there is none, or one of another kind of network (transformers' own, for example).

    Args:
        path: the file of weights, or its folder.
        name: the anchor's, for the error's sentence.

    Raises:
        AnchorError: it is not JSON, or says something of another type than timm's has.
    """
    file = weights_file(path, name).parent / CONFIG
    if not os.path.isfile(file):
        return None
    try:
        raw = json.loads(read_at_most(file, MOST_BYTES, AnchorError).decode())
    except (AnchorError, ValueError, RecursionError) as error:  # a JSONDecodeError is a ValueError
        raise AnchorError(
            f"{name}: {file}, which says how the weights beside it take images, cannot be read as "
            f"JSON ({type(error).__name__}); mend it, or move it away"
        ) from None
    if not isinstance(raw, dict) or not raw.keys() & {"architecture", "pretrained_cfg"}:
        return None
    # Older ones are the inner table alone.
    raw = raw if "pretrained_cfg" in raw else {**raw, "pretrained_cfg": raw}
    with reading(AnchorError, f"{name}: {file} is not as timm writes it", "mend it"):
        try:
            config = _Config.model_validate_json(json.dumps(raw))
        except ValidationError as error:
            raise AnchorError(
                f"{name}: {file}: {_fault(error)}; mend it, or move it away"
            ) from None
    return WeightsConfig(
        file=file,
        architecture=config.architecture,
        preprocessing=config.preprocessing,
        model_args=config.model_args.model_dump(exclude_none=True),
    )


def _fault(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "value_error":
        return f"{place}: {first['ctx']['error']}"
    given = json.dumps(first["input"], default=str)
    return f"{place} = {given[:60]}: {first['msg'].lower()}"
