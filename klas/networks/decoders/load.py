"""A decoder of ``transformers`` with its weights and tokenizer, from the hub or a folder."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from klas.errors import AnchorError, one_line
from klas.networks.anchor import Anchor, TextInput
from klas.networks.decoders.anchor import decoder_anchor
from klas.networks.decoders.tokenizer import Tokenizer
from klas.study import AnchorSpec

_SHIPPED: dict[str, Path] = {}
_NOT_THE_DECODERS = ("_name_or_path", "transformers_version", "dtype")
_OF_THE_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


def register_decoders(folders: Mapping[str, Path]) -> None:
    """Let these models be opened from folders, not from the hub, by name."""
    _SHIPPED.update(folders)


def load_decoder(spec: AnchorSpec, length: int) -> Anchor:
    """The decoder cut at its layers, in eval mode on the CPU.

    Code that comes with weights is never run, and weights are safetensors.

    Args:
        spec: the anchor; its ``weights`` are a folder as ``save_pretrained`` writes it, else its
            ``model`` is looked for on the hub and in its local cache.
        length: tokens of a sample.

    Raises:
        AnchorError: there is no such decoder, the hub cannot be reached, what is there is no
            decoder, its weights hold NaN, it takes fewer tokens, or it cannot be cut.
    """
    place = _place(spec)
    network = _opened(spec, place)
    longest = getattr(network.config, "max_position_embeddings", None)
    if longest is not None and longest < length:
        raise AnchorError(
            f"{spec.name}: takes texts of at most {longest} tokens, and the study's have {length}; "
            "lower [data] length"
        )
    _refuse_broken_weights(network, spec)
    tokenizer = _tokenizer(spec, place)
    words = network.get_input_embeddings().num_embeddings
    if tokenizer.words > words:
        raise AnchorError(
            f"{spec.name}: its tokenizer makes {tokenizer.words:,} words, and the decoder knows "
            f"{words:,}; take the tokenizer that it was trained with"
        )
    transform = TextInput(tokenizer=tokenizer.digest, length=length)
    origin = {"tag": spec.model} if spec.weights is None else {"file": spec.weights}
    anchor = decoder_anchor(
        network, spec.name, transform=transform, model=spec.model, origin=origin
    )
    return anchor.eval()


def load_tokenizer(spec: AnchorSpec) -> Tokenizer:
    """What makes tokens of a decoder's texts; its weights are not read.

    Raises:
        AnchorError: there is none, or the hub cannot be reached.
    """
    return _tokenizer(spec, _place(spec))


def refuse_different_tokenizers(anchors: dict[str, Tokenizer]) -> None:
    """Refuse decoders that do not make the same tokens of a text.

    Args:
        anchors: the tokenizer of each, by its name.

    Raises:
        AnchorError: two differ; the sentence says in what.
    """
    (first, shared), *others = anchors.items()
    for name, tokenizer in others:
        if tokenizer.digest != shared.digest:
            raise AnchorError(
                f"{name}: its tokenizer is not that of {first} ({shared.difference(tokenizer)}); "
                "decoders can be stitched only where a text is the same tokens to both"
            )


def shared_tokenizer(anchors: Sequence[AnchorSpec]) -> Tokenizer:
    """What makes the same tokens of a text for all anchors of a study; no weights are read.

    Raises:
        AnchorError: one has none, or two differ.
    """
    made = {spec.name: load_tokenizer(spec) for spec in anchors}
    refuse_different_tokenizers(made)
    return next(iter(made.values()))


def config_of_decoder(network: Any) -> dict[str, Any]:
    """What ``transformers`` makes a decoder of, as plain values that a file can hold."""
    made: dict[str, Any] = json.loads(network.config.to_json_string(use_diff=False))
    return {name: value for name, value in made.items() if name not in _NOT_THE_DECODERS}


def blank_decoder(config: Mapping[str, Any], name: str) -> nn.Module:
    """A decoder as :func:`config_of_decoder` says, with weights that mean nothing yet.

    Args:
        config: as a file has it.
        name: what errors call it.

    Raises:
        AnchorError: ``transformers`` is not there or cannot make it.
    """
    transformers = _transformers(name)
    try:
        kind = transformers.AutoConfig.for_model(**config)
        network: Any = transformers.AutoModelForCausalLM.from_config(
            kind, dtype=torch.float32, trust_remote_code=False
        )
    except Exception as error:  # the package passes on whatever its parts raise
        raise AnchorError(
            f"{name}: transformers cannot make a decoder of its configuration ({one_line(error)})"
        ) from None
    return cast(nn.Module, network.eval())


def _place(spec: AnchorSpec) -> str:
    if spec.weights is None:
        if spec.model in _SHIPPED:
            return str(_SHIPPED[spec.model])
        # Else a folder that happens to be there would be taken for the hub's.
        if os.path.exists(spec.model) or not _OF_THE_HUB.fullmatch(spec.model):
            raise AnchorError(
                f"{spec.name}: {spec.model!r} is no name of the hub, which is owner/name; give a "
                "folder as its `weights`"
            )
        return spec.model
    folder = Path(spec.weights)
    if not (folder / "config.json").is_file():
        raise AnchorError(
            f"{spec.name}: {folder} is no folder with a config.json; give one that "
            "save_pretrained wrote"
        )
    return str(folder)


def _transformers(name: str) -> Any:
    try:
        import transformers  # an extra: only texts need it
    except ImportError:
        raise AnchorError(
            f'{name}: decoders need transformers; install it with `pip install -e ".[language]"`'
        ) from None
    return transformers


def _opened(spec: AnchorSpec, place: str) -> Any:
    transformers = _transformers(spec.name)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()  # among ours its own would be noise
    try:
        network: Any = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    except Exception as error:  # the package passes on whatever its readers raise
        raise AnchorError(f"{spec.name}: {_why(place, spec, error)}") from None
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    return network.eval()


def _tokenizer(spec: AnchorSpec, place: str) -> Tokenizer:
    transformers = _transformers(spec.name)
    try:
        opened = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        return Tokenizer(opened)
    except Exception as error:
        raise AnchorError(f"{spec.name}: its tokenizer: {_why(place, spec, error)}") from None


def _why(place: str, spec: AnchorSpec, error: Exception) -> str:
    if spec.weights is not None:
        return f"{place} cannot be opened ({one_line(error)})"
    if isinstance(error, OSError) and "connect" in str(error).lower():
        return (
            f"{place} is not in the local cache and the hub cannot be reached; connect once, or "
            "name a folder as its weights"
        )
    return f"the hub gave no decoder {place} ({one_line(error)})"


def _refuse_broken_weights(network: nn.Module, spec: AnchorSpec) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AnchorError(
                f"{spec.name}: the weights hold NaN or infinite values, first in {name!r}; "
                "take another checkpoint"
            )
