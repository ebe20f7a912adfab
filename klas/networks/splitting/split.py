"""Cut any network at its blocks, without a line of code about its family.

The network is traced with ``torch.fx`` down to the modules that lie within one block; those
stay whole and run their own code, in training mode too. A cut is a place in the traced graph
where exactly one tensor that depends on the image is alive. What else crosses it does not
depend on the image's content: numbers become constants or multiples of the batch size, and
tables (rotary embeddings, shared position biases) are computed again where they are needed.

A network is read in three ways until it can be cut: at timm's groups or the elements of its
lists, stages taken apart; at timm's groups as they are; and, traced down to single layers,
wherever exactly one tensor passes.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from klas.errors import AnchorError, one_line
from klas.networks.side_effects import undo_side_effects
from klas.networks.splitting.blocks import Owners, block_of_parameter
from klas.networks.splitting.boundaries import find_boundaries
from klas.networks.splitting.flow import Flow, UncutError
from klas.networks.splitting.grids import disorder
from klas.networks.splitting.parts import Parts
from klas.networks.splitting.places import block_between_places
from klas.networks.splitting.tracing import trace

SPLITTER = "fx-blocks-1"
"""Recorded in every stitch list: what cut numbers mean depends on it."""


def split(model: nn.Module, name: str, input_size: tuple[int, int, int]) -> Parts:
    """Cut a network at its blocks. The parts are in its mode and on its device.

    Modules within a block run their own code in either mode. Of the code between the blocks,
    only what eval mode runs is kept: a head that would give two outputs in training gives one
    row of logits, and a ``dropout`` function there does nothing.

    Args:
        model: maps images (N, C, H, W) to logits (N, classes).
        name: what errors call it.
        input_size: (channels, height, width) of its images.

    Raises:
        AnchorError: it cannot be traced, or it does not have two blocks between which exactly
            one tensor passes.
    """
    training = model.training
    model.eval()
    try:
        with undo_side_effects(model):
            parts = _cut(model, input_size)
    except UncutError as why:
        with undo_side_effects(model):
            fault = _own_fault(model, input_size)
        raise _refusal(name, model, fault or str(why)) from None
    finally:
        model.train(training)
    for part in (parts.stem, *parts.blocks, parts.head):
        part.train(training)
    return parts


def _cut(model: nn.Module, input_size: tuple[int, int, int]) -> Parts:
    """Read the network one way after the other; the first that gives two blocks is taken.

    Raises:
        UncutError: none does. Its reason is that of the last that could be traced.
    """
    reason: UncutError | None = None
    for whole in (False, True):
        owners = block_of_parameter(model, whole=whole)
        if len({number for number in owners.values() if number is not None}) > 1:
            try:
                return _cut_between(model, owners, input_size)
            except UncutError as error:
                reason = error
    try:
        layers = _flow(model, None, input_size)
    except UncutError as error:
        raise reason or error from None
    return _cut_between(model, block_between_places(layers, model, input_size), input_size)


def _flow(model: nn.Module, owners: Owners | None, input_size: tuple[int, int, int]) -> Flow:
    try:
        flow = Flow(*trace(model, owners, input_size))
    except Exception as error:
        raise UncutError(f"torch.fx cannot trace it ({one_line(error)})") from None
    return flow


def _own_fault(model: nn.Module, input_size: tuple[int, int, int]) -> str | None:
    """Why a network gives no logits for its images, if it gives none, traced or not."""
    sizes = "×".join(map(str, input_size))
    try:
        device = next((p.device for p in model.parameters()), None)
        images = torch.zeros(2, *input_size, device=device)
        with torch.inference_mode():
            result = model(images)
    except Exception as error:
        return f"it cannot take images of {sizes} ({one_line(error)})"
    if not isinstance(result, Tensor):
        return (
            f"it returns {type(result).__name__}, not one row of logits per image: wrap it in a "
            "module that returns its logits alone"
        )
    if result.dim() != 2 or len(result) != 2:
        shape = ", ".join(("N", *map(str, result.shape[1:])))
        return f"it does not give one row of logits per image, but a tensor ({shape})"
    return None


def _cut_between(model: nn.Module, owners: Owners, input_size: tuple[int, int, int]) -> Parts:
    flow = _flow(model, owners, input_size)
    if flow.classes is None:
        raise UncutError("it does not give one row of logits per image")
    boundaries, merged = find_boundaries(flow, owners, model, input_size)
    places = [flow.images, *boundaries, flow.logits]
    try:
        parts = [flow.part(a, b) for a, b in pairwise(places)]
        fault = disorder(model, parts[0], boundaries[0].layout, input_size)
    except UncutError:
        raise
    except Exception as error:
        raise UncutError(f"its parts do not run alone ({one_line(error)})") from None
    if fault is not None:
        raise UncutError(fault)
    return Parts(
        stem=parts[0],
        blocks=tuple(parts[1:-1]),
        head=parts[-1],
        cuts=tuple(boundary.path for boundary in boundaries),
        layouts=tuple(boundary.layout for boundary in boundaries),
        classes=flow.classes,
        merged=tuple(merged),
    )


def _refusal(name: str, model: nn.Module, why: str) -> AnchorError:
    return AnchorError(
        f"{name}: {type(model).__name__} cannot be cut at its blocks: {why}; "
        "docs/architectures.md lists what can (vit, deit, swin, convnext, resnet, regnet, …)"
    )
