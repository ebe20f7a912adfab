"""Where a traced network can be cut: between blocks, where exactly one tensor passes."""

from dataclasses import dataclass, replace

from torch import fx, nn

from klas.networks.layout import Layout
from klas.networks.splitting.blocks import Owners
from klas.networks.splitting.flow import Flow, Place
from klas.networks.splitting.grids import layout_of


@dataclass(frozen=True, kw_only=True)
class Boundary(Place):
    """A place to cut.

    Attributes:
        path: of the module that ends there.
        layout: the form of the activation.
    """

    path: str
    layout: Layout


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Where a block runs: node numbers."""

    first: int  # of the block itself, or of what lies between it and the block before
    last: int


def find_boundaries(
    flow: Flow, owners: Owners, model: nn.Module, input_size: tuple[int, int, int]
) -> tuple[list[Boundary], list[str]]:
    """Cuts 0..n in order, and the paths of blocks after which there is none.

    Args:
        flow: the traced network.
        owners: the block of every parameter.
        model: the network itself.
        input_size: (channels, height, width) of its images.
    """
    spans, head = _spans(flow, owners)
    boundaries: list[Boundary] = []
    merged: list[str] = []
    for k in range(len(spans) + 1):
        begin = max((span.last for span in spans[:k]), default=0)
        end = min((span.first for span in spans[k:]), default=head)
        choices: list[Boundary] = []
        for position in range(begin, end):
            alive = flow.alive(position)
            shape = flow.shape(alive[0]) if len(alive) == 1 else None
            layout = layout_of(shape, model, input_size) if shape is not None else None
            if layout is not None and (k == 0 or not choices or layout == choices[0].layout):
                choices.append(Boundary(node=alive[0], position=position, path="", layout=layout))
        if choices:
            # The stem runs up to the first block. What keeps the form behind a block (an activation
            # function) stays with it; what changes it (pooling, patch merging) joins the next.
            path = _path(flow.nodes[spans[k - 1].last] if k else choices[-1].node)
            boundaries.append(replace(choices[-1], path=path))
        elif k:
            merged.append(_path(flow.nodes[spans[k - 1].last]))
    return boundaries, merged


def _spans(flow: Flow, owners: Owners) -> tuple[list[_Span], int]:
    """The blocks in the order of execution, and the number of the node where the head begins."""
    runs: dict[int, list[int]] = {}
    loose: list[int] = []  # nodes with parameters of no block
    for k, node in enumerate(flow.nodes):
        for owner in _owners_of(node, owners):
            if owner is None:
                loose.append(k)
            else:
                runs.setdefault(owner, []).append(k)
    spans: list[_Span] = []
    previous: int | None = None
    for run in sorted(runs.values()):
        # Before the first block it is the stem's; between blocks, it belongs to the next block.
        between = [k for k in loose if previous is not None and previous < k < run[0]]
        spans.append(_Span(first=min([run[0], *between]), last=run[-1]))
        previous = max(previous or 0, run[-1])
    after = [k for k in loose if previous is not None and k > previous]
    return spans, min(after, default=len(flow.nodes) - 1)


def _owners_of(node: fx.Node, owners: Owners) -> set[int | None]:
    """The blocks whose parameters a node uses."""
    if node.op == "get_attr":
        return {owners[str(node.target)]} if node.target in owners else set()
    if node.op != "call_module":
        return set()
    return {owner for name, owner in owners.items() if name.startswith(f"{node.target}.")}


def _path(node: fx.Node) -> str:
    while node.op != "call_module" and node.prev.op != "root":
        node = node.prev
    return str(node.target)
