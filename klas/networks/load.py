"""Build an anchor from its specification: timm's own weights, or a local file."""

import contextlib
import difflib
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

import klas.digits.zoo  # noqa: F401 - registers the built-in networks with timm
from klas.errors import AnchorError
from klas.networks.anchor import Anchor, AnchorInfo, Transform
from klas.networks.split import layouts, split
from klas.study import AnchorSpec


def load_anchor(spec: AnchorSpec, *, crop: float, interpolation: str) -> Anchor:
    """The network with its pretrained weights, cut at its blocks, in eval mode on the CPU.

    Raises:
        AnchorError: no such model; the weights are absent, do not fit or hold NaN; or the
            network cannot be cut.
    """
    check_model_name(spec)
    model: Any = _create(spec)
    _refuse_broken_weights(model, spec)
    config = resolve_model_data_config(model)
    transform = Transform(
        input_size=tuple(config["input_size"]),
        mean=tuple(float(v) for v in config["mean"]),
        std=tuple(float(v) for v in config["std"]),
        crop=crop,
        interpolation=interpolation,
    )
    stem, blocks, head, cuts = split(model, spec.name)
    origin = {"file": spec.weights} if spec.weights else {"tag": spec.model}
    info = AnchorInfo(
        name=spec.name,
        model=spec.model,
        weights={**origin, "sha256": tensors_digest(model)},
        cuts=cuts,
        layouts=layouts(stem, blocks, model, torch.zeros(1, *transform.input_size)),
        classes=int(model.num_classes),
        transform=transform,
    )
    return Anchor(info, stem, blocks, head).eval()


def tensors_digest(model: nn.Module) -> str:
    """SHA-256 over a network's state: names, shapes, types and bytes, in sorted order."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().cpu().contiguous()
        total.update(f"{name} {tuple(flat.shape)} {flat.dtype}\n".encode())
        total.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_model_name(spec: AnchorSpec) -> None:
    """Refuse a model that timm does not know, naming the nearest ones it does."""
    if timm.is_model(spec.model):
        return
    known = timm.list_models() + timm.list_pretrained()
    near = difflib.get_close_matches(spec.model, known, n=3, cutoff=0.5)
    hint = f"; the nearest names are {', '.join(near)}" if near else ""
    raise AnchorError(f"{spec.name}: timm has no model {spec.model!r}{hint}")


def _create(spec: AnchorSpec) -> nn.Module:
    overlay = None
    if spec.weights is not None:
        if not Path(spec.weights).is_file():
            raise AnchorError(f"{spec.name}: the weights file {spec.weights} does not exist")
        overlay = {"file": spec.weights}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            model: nn.Module = timm.create_model(
                spec.model, pretrained=True, pretrained_cfg_overlay=overlay
            )
    except (RuntimeError, pickle.UnpicklingError) as error:
        if "weights_only" in str(error) or isinstance(error, pickle.UnpicklingError):
            raise AnchorError(
                f"{spec.name}: {spec.weights} is a pickle that holds more than tensors and was "
                "not run; save its state_dict as safetensors"
            ) from None
        # load_state_dict lists every misfit; the first one says enough.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = lines[1] if len(lines) > 1 else lines[0]
        raise AnchorError(
            f"{spec.name}: the weights do not fit {spec.model}: {detail[:200]}"
        ) from None
    except Exception as error:
        source = spec.weights or f"timm's weights of {spec.model}"
        raise AnchorError(
            f"{spec.name}: {source} cannot be loaded ({_first_line(error)})"
        ) from None
    return model.eval()


def _refuse_broken_weights(model: nn.Module, spec: AnchorSpec) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AnchorError(
                f"{spec.name}: the weights hold NaN or infinite values, first in {name!r}; "
                "take another checkpoint"
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
