"""Cut any network at its blocks, without a line of code about its family.

The network is traced with ``torch.fx`` down to the modules that lie within one block; those
stay whole and run their own code, in training mode too. A cut is a place in the traced graph
where exactly one tensor that depends on the image is alive. What else crosses it does not
depend on the image's content: numbers become constants or multiples of the batch size, and
tables (rotary embeddings, shared position biases) are computed again where they are needed.
"""

from itertools import pairwise

from torch import nn

from klas.errors import AnchorError, one_line
from klas.networks.side_effects import undo_side_effects
from klas.networks.splitting.blocks import block_of_parameter
from klas.networks.splitting.boundaries import find_boundaries
from klas.networks.splitting.flow import Flow
from klas.networks.splitting.grids import keeps_order
from klas.networks.splitting.parts import Parts
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
    owners = block_of_parameter(model)
    count = len({block for block in owners.values() if block is not None})
    if count < 2:
        why = (
            f"{count} blocks were found in it (blocks are the elements of its lists, "
            "nn.Sequential or nn.ModuleList, that have submodules)"
        )
        raise _refusal(name, model, why)
    training = model.training
    model.eval()
    try:
        with undo_side_effects(model):
            flow = Flow(*trace(model, owners, input_size))
            if flow.classes is None:
                raise _refusal(name, model, "it does not give one row of logits per image")
            boundaries, merged = find_boundaries(flow, owners, model, input_size)
            if len(boundaries) < 3:
                raise _refusal(name, model, "more than one tensor passes between its blocks")
            places = [flow.images, *boundaries, flow.logits]
            parts = [flow.part(a, b) for a, b in pairwise(places)]
            if not keeps_order(model, parts[0], boundaries[0].layout, input_size):
                raise _refusal(name, model, "its tokens are not in the order of the image's rows")
    except AnchorError:
        raise
    except Exception as error:
        raise _refusal(name, model, f"torch.fx cannot trace it ({one_line(error)})") from None
    finally:
        model.train(training)
    for part in parts:
        part.train(training)
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
