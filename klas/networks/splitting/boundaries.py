"""Where a traced network can be cut: between blocks, where exactly one tensor passes."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, fx, nn

from klas.networks.layout import Layout
from klas.networks.splitting.blocks import Owners
from klas.networks.splitting.flow import Flow, Place, UncutError
from klas.networks.splitting.grids import layout_of
from klas.networks.splitting.tracing import BATCHES


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

    Raises:
        UncutError: they are fewer than three, or most blocks lie behind the last.
    """
    spans, head = _spans(flow, owners)
    boundaries: list[Boundary] = []
    merged: list[str] = []
    behind = 0  # how many blocks lie behind the last cut
    gaps: list[Gap] = []
    for k in range(len(spans) + 1):
        begin = max((span.last for span in spans[:k]), default=0)
        end = min((span.first for span in spans[k:]), default=head)
        choices: list[Boundary] = []
        for position in range(begin, end):
            layout = layout_at(flow, position, model, input_size)
            if layout is not None and (k == 0 or not choices or layout == choices[0].layout):
                node = flow.alive(position)[0]
                choices.append(Boundary(node=node, position=position, path="", layout=layout))
        path = _path(flow.nodes[spans[k - 1].last]) if k else ""
        if choices:
            # The stem runs up to the first block. What keeps the form behind a block (an activation
            # function) stays with it; what changes it (pooling, patch merging) joins the next.
            boundaries.append(replace(choices[-1], path=path or _path(choices[-1].node)))
            behind = 0
        else:
            where = f"after {path}" if k else "before the first block"
            gaps.append(gap(flow, begin, end, where, input_size))
            merged += [path] if k else []
            behind += 1
    if len(boundaries) < 3 or 2 * behind > len(spans):
        if not gaps:
            raise UncutError("its blocks are one module that runs several times")
        (kind, _), *_ = Counter(gap.kind for gap in gaps).most_common()
        raise UncutError(next(gap.why for gap in gaps if gap.kind == kind))
    return boundaries, merged


def layout_at(
    flow: Flow, position: int, model: nn.Module, input_size: tuple[int, int, int]
) -> Layout | None:
    """The form of the one tensor that passes a place; None where several pass, or no map."""
    alive = flow.alive(position)
    shape = flow.shape(alive[0]) if len(alive) == 1 else None
    return layout_of(shape, model, input_size, flow.maps) if shape is not None else None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Why there is no cut between two blocks."""

    kind: Literal["order", "several", "collection", "batch", "form"]
    why: str


def gap(flow: Flow, begin: int, end: int, where: str, input_size: tuple[int, int, int]) -> Gap:
    """Why none of the places ``begin`` … ``end`` − 1 is a cut.

    Args:
        where: what to call them.
    """
    if begin >= end:
        return Gap(kind="order", why=f"its blocks do not run one after another ({where})")
    fewest = min((flow.alive(position) for position in range(begin, end)), key=len)
    if len(fewest) != 1:
        count = f"{len(fewest)} {where}"
        return Gap(kind="several", why=f"more than one tensor passes between its blocks ({count})")
    shape = flow.shape(fewest[0])
    if shape is not None:
        _, height, width = input_size
        sizes = ", ".join(("N", *map(str, shape)))
        why = (
            f"the tensor ({sizes}) that passes {where} is neither a map nor tokens of an image of "
            f"{height}×{width} pixels"
        )
        return Gap(kind="form", why=why)
    value = flow.value(fewest[0])
    if isinstance(value, Tensor):
        sizes = ", ".join(map(str, value.shape))
        why = f"the first axis of the tensor that passes {where} is not the batch: ({sizes})"
        return Gap(kind="batch", why=f"{why} for {BATCHES[0]} images")
    why = f"a {type(value).__name__} passes {where}, not one tensor"
    return Gap(kind="collection", why=why)


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
