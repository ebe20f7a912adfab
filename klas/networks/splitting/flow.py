"""Which tensors are alive where in a traced network; its part between two places as a module."""

import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from klas.networks.splitting.tracing import BATCHES, Values, holds_tensor


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in the graph.

    Attributes:
        node: the tensor that passes here, an ``fx.Node``, or what the network returns.
        position: the number of the last node before it.
    """

    node: Any
    position: int


class UncutError(Exception):
    """A network cannot be cut as it was read; the message says why."""


class Flow:
    """A traced network, read as tensors that are made at one node and used up to another.

    Attributes:
        nodes: the graph's nodes in the order of execution; a position is an index into them.
        images: where the images come in.
        logits: where the result goes out.
    """

    def __init__(self, traced: fx.GraphModule, values: Values) -> None:
        self.nodes = list(traced.graph.nodes)
        self._traced = traced
        self._values = values
        self._index = {node: k for k, node in enumerate(self.nodes)}
        self._data: set[fx.Node] = set()  # tensors that depend on the images
        for node in self.nodes:
            inputs = any(n in self._data for n in node.all_input_nodes)
            is_images = node.op == "placeholder" and not self._data
            if is_images or (inputs and holds_tensor(values.get(node, (None,))[0])):
                self._data.add(node)
        self._last_use = {
            n: max((self._index[user] for user in n.users), default=-1) for n in self._data
        }
        images = next(n for n in self.nodes if n.op == "placeholder")
        self.images = Place(node=images, position=self._index[images])
        self.logits = Place(node=self.nodes[-1].args[0], position=len(self.nodes))

    @property
    def classes(self) -> int | None:
        """Width of the logits; None where the output is not logits (N, classes)."""
        node = self.logits.node
        shape = self.shape(node) if isinstance(node, fx.Node) else None
        return shape[0] if shape is not None and len(shape) == 1 else None

    def alive(self, position: int) -> list[fx.Node]:
        """Nodes at or before a position that depend on the images and are used after it."""
        return [n for n in self._data if self._index[n] <= position < self._last_use[n]]

    def value(self, node: fx.Node) -> Any:
        """What a node gives at the first of the two batch sizes, a tensor without content."""
        return self._values[node][0]

    def shape(self, node: fx.Node) -> tuple[int, ...] | None:
        """A tensor's shape without the batch; None for what is not one tensor per image."""
        small, large = self._values[node]
        if not isinstance(small, Tensor) or small.dim() < 2:
            return None
        if (small.shape[0], large.shape[0]) != BATCHES or small.shape[1:] != large.shape[1:]:
            return None
        return tuple(small.shape[1:])

    @cached_property
    def maps(self) -> set[tuple[int, int]]:
        """(height, width) of what may be maps: the tensors of three axes."""
        shapes = filter(None, map(self.shape, self._data))
        return {axes for s in shapes if len(s) == 3 for axes in ((s[1], s[2]), (s[0], s[1]))}

    def part(self, start: Place, end: Place) -> fx.GraphModule:
        """The network between two places, as a module from the one tensor to the other."""
        graph = fx.Graph()
        known = {start.node: graph.placeholder("x")}
        x = known[start.node]

        def bring(node: fx.Node) -> Any:
            if node not in known:
                known[node] = _expressed(*self._values[node], x, node.name)
            return known[node]

        needed = self._needed(start, end)
        for node in self.nodes:
            if node in needed:
                known[node] = graph.node_copy(node, bring)
        graph.output(fx.node.map_arg(end.node, bring))
        part = fx.GraphModule(self._traced, graph)
        if _mutates_input(part, self._values[start.node][0]):
            # The activation before the block belongs to others too; the block may not change it.
            with graph.inserting_after(x):
                own = graph.call_method("clone", (x,))
            x.replace_all_uses_with(own, delete_user_cb=lambda user: user is not own)
            part.recompile()
        return part

    def _needed(self, start: Place, end: Place) -> set[fx.Node]:
        """What has to be computed between two places."""
        needed: set[fx.Node] = set()
        stack: list[fx.Node] = []
        fx.node.map_arg(end.node, stack.append)
        while stack:
            node = stack.pop()
            behind = self._index[node] <= start.position
            if node is start.node or node in needed or (behind and not self._is_table(node)):
                continue
            needed.add(node)
            stack += node.all_input_nodes
        return needed

    def _is_table(self, node: fx.Node) -> bool:
        """Whether a node is a tensor that does not depend on the images."""
        return node not in self._data and holds_tensor(self._values[node][0])


def _expressed(small: Any, large: Any, x: fx.Node, name: str) -> Any:
    """A number from before a cut, in terms of the activation ``x`` there.

    Args:
        small, large: its values at the two batch sizes.
    """
    if isinstance(small, torch.device):
        return x.graph.call_function(getattr, (x, "device"))
    if isinstance(small, tuple | list):
        items = [_expressed(a, b, x, name) for a, b in zip(small, large, strict=True)]
        return items if isinstance(small, list) else tuple(items)
    if not holds_tensor(small) and small == large:
        return small
    if type(small) is int and small * BATCHES[1] == large * BATCHES[0]:
        factor, rest = divmod(small, BATCHES[0])
        if rest == 0:
            size = x.graph.call_method("size", (x, 0))
            return x.graph.call_function(operator.mul, (size, factor))
    raise UncutError(f"{name}, which is computed before a cut, is needed behind it")


def _mutates_input(part: fx.GraphModule, like: Tensor) -> bool:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        x = torch.empty(like.shape, dtype=like.dtype)
        before = x._version
        part(x)
        return x._version != before
