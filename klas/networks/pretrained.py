"""timm's networks with the pretrained weights of a tag.

timm builds and loads. Added here: where nothing can be downloaded, an error comes at once.
"""

import contextlib
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import timm
import torch
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import nn

from klas.errors import AnchorError, one_line
from klas.study import AnchorSpec

CONNECT_SECONDS = 3.0  # how long a download's address may take to answer at all

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them


def load_pretrained(spec: AnchorSpec) -> nn.Module:
    """The network of a pretrained tag in eval mode, from timm's caches or downloaded.

    Raises:
        AnchorError: the tag has no weights, or they cannot be loaded or downloaded.
    """
    config = get_pretrained_cfg(spec.model)
    if config is None or not config.has_weights:
        raise AnchorError(
            f"{spec.name}: timm has no weights for {spec.model}; give `weights`, or one of "
            "the names of timm.list_pretrained()"
        )
    overlay: dict[str, Any] | None = None
    if not config.file:
        local = _local_copy(config)
        if local is not None:
            # Named as a file, it is loaded without asking the hub.
            overlay = {"file": str(local)}
        else:
            _refuse_unreachable(spec, _address(config))
    try:
        return create_network(spec, overlay)
    except Exception as error:  # those of the hub, torch and timm have no common class
        size = f" at {pixels(spec.image_size)}" if spec.image_size else ""
        raise AnchorError(
            f"{spec.name}: timm's weights of {spec.model} cannot be loaded{size} "
            f"({one_line(error)})"
        ) from None


def create_network(spec: AnchorSpec, overlay: dict[str, Any] | None) -> nn.Module:
    """A network of timm's in eval mode, with pretrained weights, for images of the study's size.

    A network that is made for one size is made for this one, or else for that of its weights; timm
    fits what depends on the size, such as position embeddings, while it loads. The others take
    images of any size.

    Args:
        spec: the anchor; where its weights are is no matter here.
        overlay: replaces entries of the configuration that says where the weights are and what
            they were trained on.
    """
    config = get_pretrained_cfg(spec.model)
    wanted = spec.image_size or (overlay or {}).get("input_size", ())[1:]
    made_for_one_size = config is not None and config.fixed_input_size
    size = {"img_size": tuple(wanted)} if wanted and made_for_one_size else {}
    with contextlib.redirect_stdout(io.StringIO()):  # some constructors print
        network: nn.Module = timm.create_model(
            spec.model, pretrained=True, pretrained_cfg_overlay=overlay, **size
        )
    return network.eval()


def pixels(image_size: tuple[int, int]) -> str:
    """A size of images in words."""
    return "{} × {} pixels".format(*image_size)


def _local_copy(config: PretrainedCfg) -> Path | None:
    """The tag's file in the caches that timm downloads to."""
    if not config.hf_hub_id:
        copy = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(config.url).path).name
        return copy if copy.is_file() else None
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _address(config: PretrainedCfg) -> str:
    if not config.hf_hub_id:
        return str(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    file = config.hf_hub_filename or _HUB_FILES[0]
    return huggingface_hub.hf_hub_url(repository, file, revision=revision or None)


def _refuse_unreachable(spec: AnchorSpec, address: str) -> None:
    """Refuse at once: the download itself would keep trying for most of a minute."""
    problem = unreachable(address)
    if problem is not None:
        raise AnchorError(
            f"{spec.name}: the weights of {spec.model} are not on this machine and "
            f"{urlsplit(address).netloc} cannot be reached ({problem}); go online once, or give "
            "a local file as `weights`"
        )


def unreachable(address: str) -> str | None:
    """Why nothing can be fetched from an address now, after one short request; None if it answers.

    The request goes through the hub client's own session, so its proxies and HF_HUB_OFFLINE apply.
    """
    try:
        status = huggingface_hub.get_session().head(address, timeout=CONNECT_SECONDS).status_code
    except Exception as error:  # of whichever HTTP library the hub's client uses
        return type(error).__name__
    return None if status < 500 else f"status {status}"
