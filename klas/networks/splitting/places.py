"""Blocks of a network without lists of blocks: what lies between places where one tensor passes."""

from dataclasses import dataclass, field

from torch import nn

from klas.networks.splitting.blocks import Owners
from klas.networks.splitting.boundaries import gap, layout_at
from klas.networks.splitting.flow import Flow, UncutError


def block_between_places(flow: Flow, model: nn.Module, input_size: tuple[int, int, int]) -> Owners:
    """For every parameter the number of its block; None in the stem and the head.

    A block is what lies between two successive places where exactly one tensor passes, if it has
    weights. The first such piece is the stem, the last one the head.

    Args:
        flow: the network, traced down to single layers.
        model: the network itself.
        input_size: (channels, height, width) of its images.

    Raises:
        UncutError: there are fewer than two, or most layers lie where several tensors pass.
    """
    parameters = dict(model.named_parameters())
    pieces = [_Piece()]
    separate = False  # whether there is a place since the last weights
    for position, node in enumerate(flow.nodes):
        if node.op in ("call_module", "get_attr"):
            path = str(node.target)
            names = {n for n in parameters if n == path or n.startswith(f"{path}.")}
            # Scales and biases stay with the weights before them; so does what is no layer.
            weights = any(parameters[n].dim() > 1 for n in names) and node.op == "call_module"
            if weights and separate:
                pieces.append(_Piece())
            separate = separate and not weights
            pieces[-1].parameters |= names
            pieces[-1].layers += weights
            if weights and len(flow.alive(position)) > 1:
                pieces[-1].crowded.append(position)
        if pieces[-1].parameters:
            layout = layout_at(flow, position, model, input_size)
            separate = separate or (layout is not None and layout.positions > 1)
    worst = max(pieces, key=lambda piece: len(piece.crowded))
    layers = sum(piece.layers for piece in pieces)
    if 2 * len(worst.crowded) > layers:
        first, last = worst.crowded[0], worst.crowded[-1]
        where = (
            f"from {flow.nodes[first].target} to {flow.nodes[last].target}, where "
            f"{len(worst.crowded)} of its {layers} layers with weights lie"
        )
        raise UncutError(gap(flow, first, last + 1, where, input_size).why)
    blocks = [piece.parameters for piece in pieces[1:-1]]
    if len(blocks) < 2:
        raise UncutError(
            f"{'one block was' if blocks else 'no blocks were'} found in it (blocks are the "
            "elements of its lists, nn.Sequential or nn.ModuleList, that have submodules; or what "
            "lies between its first weights and its last, parted where exactly one tensor passes)"
        )
    numbered = enumerate(blocks)
    return dict.fromkeys(parameters) | {n: number for number, block in numbered for n in block}


@dataclass(kw_only=True)
class _Piece:
    """What lies between two places: its parameters, and its layers with weights.

    Attributes:
        crowded: the numbers of the nodes that are such layers and behind which several tensors
            pass.
    """

    parameters: set[str] = field(default_factory=set)
    layers: int = 0
    crowded: list[int] = field(default_factory=list)
