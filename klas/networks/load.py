"""Build an anchor from its specification: timm's own weights, or a local file or folder."""

import difflib
import json
from dataclasses import replace
from typing import Any

import timm
import torch
from timm.data import resolve_data_config, resolve_model_data_config
from timm.models import get_model_args, get_pretrained_cfg
from torch import nn

from klas.errors import AnchorError, one_line
from klas.networks import factory
from klas.networks.anchor import Anchor, Transform, tensors_digest
from klas.networks.cost import count_macs
from klas.networks.fusing import fused_network
from klas.networks.operators import NoFakeKernelError
from klas.networks.pretrained import pixels
from klas.networks.segmenter import load_segmenter, segmenter_weights
from klas.networks.weights import load_model
from klas.networks.weights_folder import WeightsConfig, weights_config
from klas.study import AnchorSpec, TaskName

# Arguments of a network that its weights or the size of its images decide here too.
_FOLLOWED = ("in_chans", "num_classes", "img_size")


def load_anchor(
    spec: AnchorSpec,
    *,
    crop: float,
    interpolation: str,
    allow_code: bool = False,
    task: TaskName = "classification",
) -> Anchor:
    """The network with its pretrained weights, cut at its blocks, in eval mode on the CPU.

    Args:
        allow_code: whether a model may be a Python function of the user's, which is then run.
        task: what the network is for. For segmentation its weights have a plain head
            (:mod:`klas.networks.segmenter`); a network without one has no head.

    Raises:
        AnchorError: there is no such model; the weights are missing, do not fit or hold NaN; what
            is said beside them is not valid; or the network cannot be fused, or cut, or does not
            take images of the size.
    """
    check_model_name(spec, allow_code=allow_code)
    config = weights_config(spec.weights, spec.name) if spec.weights else None
    if task == "segmentation":
        return _load_for_pixels(spec, config, crop=crop, interpolation=interpolation)
    if factory.is_factory(spec):
        model, origin = factory.build(spec)
    else:
        _refuse_another_architecture(spec, config)
        model, origin = load_model(spec, config)
        _refuse_other_arguments(spec, config, model)
    _refuse_broken_weights(model, spec)
    if config is not None and config.preprocessing:
        origin["config"] = str(config.file)
    known = resolve_model_data_config(model)
    transform = _transform(known, spec, config, crop=crop, interpolation=interpolation)
    trained = model
    try:
        if spec.fused:
            model = fused_network(trained, spec.name, transform.input_size)
        anchor = Anchor.from_module(
            model, spec.name, transform=transform, model=spec.model, origin=origin
        )
    except AnchorError:
        _explain(model, spec, transform)
        raise
    anchor.info = replace(anchor.info, image_size=spec.image_size, fused=spec.fused)
    if spec.fused:
        # Fusing rounds, and not on every machine alike, so the weights are known as they were.
        weights = anchor.info.weights | {"sha256": tensors_digest(trained)}
        anchor.info = replace(anchor.info, weights=weights)
    return anchor.eval()


def _load_for_pixels(
    spec: AnchorSpec, config: WeightsConfig | None, *, crop: float, interpolation: str
) -> Anchor:
    """An anchor for segmentation: a network of timm's with a plain head, or without any."""
    if factory.is_factory(spec) or spec.fused:
        what = "fused" if spec.fused else "made by a function"
        raise AnchorError(
            f"{spec.name}: a network for segmentation cannot be {what} here; name a model of "
            "timm's and give its file as `weights`"
        )
    _refuse_another_architecture(spec, config)
    weights = segmenter_weights(spec)

    def seen_by(known: dict[str, Any]) -> Transform:
        how = _transform(known, spec, config, crop=crop, interpolation=interpolation)
        return replace(how, whole=True)

    network: nn.Module
    if weights is None:
        network, origin = load_model(spec, config)
        transform = seen_by(resolve_model_data_config(network))
    else:
        stated: Any = get_pretrained_cfg(spec.model)
        transform = seen_by(resolve_data_config(pretrained_cfg=stated.to_dict()))
        network, origin = load_segmenter(spec, weights, transform.input_size), weights.origin
    _refuse_broken_weights(network, spec)
    anchor = Anchor.from_module(
        network, spec.name, transform=transform, model=spec.model, origin=origin
    )
    classes = anchor.info.plain_head or 0  # a classifier says nothing of pixels
    anchor.info = replace(anchor.info, image_size=spec.image_size, classes=classes)
    return anchor.eval()


def _transform(
    of_network: dict[str, Any],
    spec: AnchorSpec,
    config: WeightsConfig | None,
    *,
    crop: float,
    interpolation: str,
) -> Transform:
    """How the network takes an image.

    First the study's size counts, then what is said beside the weights, then timm's word.
    """
    known = of_network | (config.preprocessing if config else {})
    channels, *size = known["input_size"]
    height, width = spec.image_size or size
    return Transform(
        input_size=(channels, height, width),
        mean=tuple(float(v) for v in known["mean"]),
        std=tuple(float(v) for v in known["std"]),
        crop=crop,
        interpolation=interpolation,
    )


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


def _refuse_another_architecture(spec: AnchorSpec, config: WeightsConfig | None) -> None:
    architecture = spec.model.partition(".")[0]
    if config is not None and config.architecture not in (None, architecture):
        raise AnchorError(
            f"{spec.name}: {config.file} is of {config.architecture}, but the model is "
            f"{architecture}; name that model, or keep the weights in a folder of their own"
        )


def _refuse_other_arguments(
    spec: AnchorSpec, config: WeightsConfig | None, model: nn.Module
) -> None:
    """Refuse weights of a network that was made in another way than the model of this name is."""
    if config is None:
        return
    made = json.loads(json.dumps(get_model_args(model), default=str))
    for argument, value in config.model_args.items():
        if argument not in _FOLLOWED and made.get(argument) != value:
            raise AnchorError(
                f"{spec.name}: {config.file} is of {spec.model} made with {argument} = {value!r}, "
                "which is not the model of this name; make it in a function "
                "(package.module:function) and name that as the model"
            )


def _explain(model: nn.Module, spec: AnchorSpec, transform: Transform) -> None:
    """Raise the reason for which a network can't be cut, if it lies before any cut."""
    try:
        count_macs(model, torch.empty(1, *transform.input_size, device="meta"))
    except NoFakeKernelError as error:
        raise AnchorError(f"{spec.name}: {error}") from None
    except Exception as error:  # whatever a network raises that is given images of another size
        if spec.image_size is not None:
            raise AnchorError(
                f"{spec.name}: {spec.model} does not take images of {pixels(spec.image_size)} "
                f"({one_line(error)}); leave `image_size` out, or give another"
            ) from None


def _refuse_broken_weights(model: nn.Module, spec: AnchorSpec) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AnchorError(
                f"{spec.name}: the weights hold NaN or infinite values, first in {name!r}; "
                "take another checkpoint"
            )
