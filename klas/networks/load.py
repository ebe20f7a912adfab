"""Build an anchor from its specification: timm's own weights, or a local file."""

import difflib

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg
from torch import nn

from klas.errors import AnchorError
from klas.networks import factory
from klas.networks.anchor import Anchor, Transform
from klas.networks.cost import count_macs
from klas.networks.operators import NoFakeKernelError
from klas.networks.weights import load_model
from klas.study import AnchorSpec


def load_anchor(
    spec: AnchorSpec, *, crop: float, interpolation: str, allow_code: bool = False
) -> Anchor:
    """The network with its pretrained weights, cut at its blocks, in eval mode on the CPU.

    Args:
        allow_code: whether a model may be a Python function of the user's, which is then run.

    Raises:
        AnchorError: there is no such model; the weights are missing, do not fit or hold NaN; or
            the network cannot be cut.
    """
    check_model_name(spec, allow_code=allow_code)
    model, origin = factory.build(spec) if factory.is_factory(spec) else load_model(spec)
    _refuse_broken_weights(model, spec)
    config = resolve_model_data_config(model)
    transform = Transform(
        input_size=tuple(config["input_size"]),
        mean=tuple(float(v) for v in config["mean"]),
        std=tuple(float(v) for v in config["std"]),
        crop=crop,
        interpolation=interpolation,
    )
    try:
        anchor = Anchor.from_module(
            model, spec.name, transform=transform, model=spec.model, origin=origin
        )
    except AnchorError:
        _refuse_missing_kernels(model, spec, transform)
        raise
    return anchor.eval()


def check_model_name(spec: AnchorSpec, *, allow_code: bool = False) -> None:
    """Refuse a model or a tag that timm does not know, naming the nearest ones that it knows.

    Raises:
        AnchorError: there is none; or the model is code and that is not allowed.
    """
    if factory.is_factory(spec):
        factory.check_allowed(spec, allow_code)
        return
    architecture, _, tag = spec.model.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models() + timm.list_pretrained()
        near = difflib.get_close_matches(spec.model, known, n=3, cutoff=0.5)
        hint = f"; the nearest names are {', '.join(near)}" if near else ""
        raise AnchorError(f"{spec.name}: timm has no model {spec.model!r}{hint}")
    try:
        get_pretrained_cfg(spec.model)
    except RuntimeError:
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
        there = f"there are {', '.join(sorted(tags))}" if tags else "it has no weights at all"
        raise AnchorError(
            f"{spec.name}: timm has no tag {tag!r} of {architecture}; {there}"
        ) from None


def _refuse_missing_kernels(model: nn.Module, spec: AnchorSpec, transform: Transform) -> None:
    """Name the operator for which a network could not be cut, if that is the reason."""
    try:
        count_macs(model, torch.empty(1, *transform.input_size, device="meta"))
    except NoFakeKernelError as error:
        raise AnchorError(f"{spec.name}: {error}") from None
    except Exception:  # another reason, which the cut has named
        return


def _refuse_broken_weights(model: nn.Module, spec: AnchorSpec) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AnchorError(
                f"{spec.name}: the weights hold NaN or infinite values, first in {name!r}; "
                "take another checkpoint"
            )
