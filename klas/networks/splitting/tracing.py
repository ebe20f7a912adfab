"""Record what a network computes as a graph, down to the modules that lie within one block."""

import inspect
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.layers import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from klas.networks.splitting.blocks import Owners

BATCHES = (2, 3)  # what differs between two runs at these sizes depends on the batch

Values = Mapping[fx.Node, tuple[Any, Any]]
"""What a node of the graph gives at each of the two batch sizes, tensors without content."""


def trace(
    model: nn.Module, owners: Owners | None, input_size: tuple[int, int, int]
) -> tuple[fx.GraphModule, Values]:
    """The graph of a network in eval mode, as a module, and what its nodes give.

    Args:
        model: the network.
        owners: the block of every parameter: modules that lie within one stay whole. None: only
            single layers do.
        input_size: (channels, height, width) of its images, the first argument of ``forward``;
            every other argument keeps its default.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    tracer = _Tracer(owners, input_size, defaults)
    graph = tracer.trace(model, concrete_args=defaults)
    return fx.GraphModule(model, graph), tracer.values


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor or a collection with a tensor in it."""
    if isinstance(value, tuple | list):
        return any(holds_tensor(v) for v in value)
    if isinstance(value, Mapping):
        return any(holds_tensor(v) for v in value.values())
    return isinstance(value, Tensor)


class _Sized(fx.Proxy):
    """A proxy of known length."""

    def __len__(self) -> int:
        tracer: Any = self.tracer
        small, large = (len(value) for value in tracer.values[self.node])
        if small != large:
            raise fx.proxy.TraceError("len() of a batch is no number here, .shape[0] is one")
        return small


class _Tracer(fx.Tracer):
    """Traces down to modules whose parameters all belong to one block, or to none.

    Every node is evaluated as it is recorded, at two batch sizes, on tensors without content. So
    sizes that don't depend on the batch are plain numbers to the network's own code, which may
    branch on them.

    Attributes:
        values: node → its two values.
    """

    proxy_buffer_attributes = True  # or buffers would be frozen into the graph

    def __init__(
        self, owners: Owners | None, size: tuple[int, int, int], defaults: Mapping[str, Any]
    ) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self.values: dict[fx.Node, tuple[Any, Any]] = {}
        self._owners = owners
        self._size = size
        self._defaults = defaults
        self._leaves = tuple(get_notrace_modules())
        self._followed: set[nn.Module] = set()  # whose code must be traced, whatever they are
        self._evaluating = False
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is called as it is."""
        if m in self._followed:
            return False
        if self._owners is None:
            return _is_layer(m) or isinstance(m, self._leaves)
        inside = {o for n, o in self._owners.items() if n.startswith(module_qualified_name + ".")}
        return len(inside) <= 1 or isinstance(m, self._leaves)

    def create_proxy(self, kind: str, target: Any, *rest: Any, **options: Any) -> Any:
        """Record an operation; give a number or None in its place where that is what it gives."""
        proxy = super().create_proxy(kind, target, *rest, **options)
        small, large = self._value(proxy.node)
        # What is asked of a tensor by name stays a node, which is looked up by its name.
        computed = kind.startswith("call") and target is not getattr
        if computed and isinstance(small, bool | int | float) and small == large:
            return small
        if target is operator.getitem and small is None and large is None:
            return None
        return proxy

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What the network's code handles in place of a value."""
        return _Sized(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Whether a branch is taken, where that depends on nothing but shapes."""
        small, large = self.values[obj.node]
        if holds_tensor(small) or bool(small) != bool(large):
            return super().to_bool(obj)
        return bool(small)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The items of a tuple, whose number is known."""
        small, large = self.values[obj.node]
        if isinstance(small, tuple | list) and len(small) == len(large):
            items: Any = obj
            return iter([items[k] for k in range(len(small))])
        return super().iter(obj)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """A module's call, or its result while a node is evaluated."""
        if self._evaluating:
            return forward(*args, **kwargs)
        stack = self.module_stack.copy()
        try:
            return super().call_module(m, forward, args, kwargs)
        except _ChangedListError:
            # Its caller may read what it put into the list: follow its code instead.
            self.graph.erase_node(next(iter(reversed(self.graph.nodes))))
            self.module_stack = stack
            self._followed.add(m)
            return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter or buffer, as itself while a node is evaluated."""
        if self._evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def _value(self, node: fx.Node) -> tuple[Any, Any]:
        if node not in self.values:  # a table that the code has just made: it has no proxy
            self.values[node] = (self._evaluated(node, 0), self._evaluated(node, 1))
        return self.values[node]

    def _evaluated(self, node: fx.Node, k: int) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._value(n)[k])
        self._evaluating = True
        try:
            with self._mode, torch.no_grad():
                match node.op:
                    case "placeholder":
                        if not self.values:  # the images come first
                            return torch.empty(BATCHES[k], *self._size)
                        return self._defaults[str(node.target).rpartition("_")[0]]
                    case "get_attr":
                        return operator.attrgetter(str(node.target))(self.root)
                    case "call_module":
                        return _called(self.root.get_submodule(str(node.target)), args, kwargs)
                    case "call_method":
                        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
                    case _:
                        function: Any = node.target
                        return function(*args, **kwargs)
        finally:
            self._evaluating = False


class _ChangedListError(Exception):
    """A module changed a list that it was given."""


def _called(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """What a module gives, called with lists that it may change, unlike those of a graph."""
    given = [list(a) if isinstance(a, list) else a for a in args]
    named = {k: list(a) if isinstance(a, list) else a for k, a in kwargs.items()}
    result = module(*given, **named)
    before, after = [*args, *kwargs.values()], [*given, *named.values()]
    if any(isinstance(a, list) and len(a) != len(b) for a, b in zip(before, after, strict=True)):
        raise _ChangedListError
    return result


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is a single layer: it has no submodules, or it is one of torch's own."""
    own = type(module).__module__.startswith("torch.nn.") or not any(module.children())
    lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return own and not any(isinstance(m, lists) for m in module.modules())
