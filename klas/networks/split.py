"""Cut any network at its blocks, without a line of code about its family.

The network is traced with ``torch.fx`` down to the modules that lie within one block; those
stay whole and run their own code, in training mode too. A cut is a place in the traced graph
where exactly one tensor that depends on the image is alive. What else crosses it does not
depend on the image's content: numbers become constants or multiples of the batch size, and
tables (rotary embeddings, shared position biases) are computed again where they are needed.
"""

import inspect
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from timm.layers import get_notrace_functions, get_notrace_modules
from timm.models._manipulate import group_with_matcher
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from klas.errors import AnchorError
from klas.networks.dry import no_trace
from klas.networks.layout import Layout, maps_and_prefix

SPLITTER = "fx-blocks-1"
"""Recorded in every stitch list: what cut numbers mean depends on it."""

BATCHES = (2, 3)  # what differs between two runs at these sizes depends on the batch
FINAL = (99999,)  # timm's mark for what follows the last block


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A network as a chain: ``stem``, ``blocks``, ``head``; they share its parameters.

    Attributes:
        cuts: for cut 0..n the path of the module that ends there.
        layouts: for cut 0..n the form of the activation.
        classes: width of the logits.
        merged: paths of blocks after which no cut is possible, so that they run on into the next.
    """

    stem: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    cuts: tuple[str, ...]
    layouts: tuple[Layout, ...]
    classes: int
    merged: tuple[str, ...]


def split(model: nn.Module, name: str, input_size: tuple[int, int, int]) -> Parts:
    """Cut a network at its blocks. The parts are in the mode, on the device that it is in.

    Modules within a block run their own code in either mode. Of the code between the blocks what
    eval mode runs is kept: a head that training would part in two gives one row of logits, and
    a ``dropout`` function there does nothing.

    Args:
        name: what errors call it.
        input_size: (channels, height, width) of its images.

    Raises:
        AnchorError: it cannot be traced, or has not two blocks between which exactly one
            tensor passes.
    """
    owners = _owners(model)
    count = len({o for o in owners.values() if o is not None})
    if count < 2:
        why = (
            f"{count} blocks were found in it (blocks are the elements of its lists, "
            "nn.Sequential or nn.ModuleList, that have submodules)"
        )
        raise _refusal(name, model, why)
    training = model.training
    model.eval()
    try:
        with no_trace(model):
            flow = _Flow(*_trace(model, owners, input_size))
            if flow.classes is None:
                raise _refusal(name, model, "it does not give one row of logits per image")
            boundaries, merged = _boundaries(flow, owners, model, input_size)
            if len(boundaries) < 3:
                raise _refusal(name, model, "more than one tensor passes between its blocks")
            places = [flow.images, *boundaries, flow.logits]
            parts = [flow.part(a, b) for a, b in pairwise(places)]
            if not _in_order(model, parts[0], boundaries[0].layout, input_size):
                raise _refusal(name, model, "its tokens are not in the order of the image's rows")
    except AnchorError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        why = f"torch.fx cannot trace it ({type(error).__name__}: {lines[0][:160]})"
        raise _refusal(name, model, why) from None
    finally:
        model.train(training)
    for part in parts:
        part.train(training)
    return Parts(
        stem=parts[0],
        blocks=tuple(parts[1:-1]),
        head=parts[-1],
        cuts=tuple(b.path for b in boundaries),
        layouts=tuple(b.layout for b in boundaries),
        classes=flow.classes,
        merged=tuple(merged),
    )


def _refusal(name: str, model: nn.Module, why: str) -> AnchorError:
    return AnchorError(
        f"{name}: {type(model).__name__} cannot be cut at its blocks: {why}; "
        "docs/architectures.md lists what can (vit, deit, swin, convnext, resnet, regnet, …)"
    )


# -- which modules are blocks ----------------------------------------------------------------


def _owners(model: nn.Module) -> dict[str, int | None]:
    """Parameter → number of the block that it belongs to; None for the stem, the head and between.

    timm's own groups for layer-wise learning rates say what a block is. Where such a group is a
    whole stage, and in a network without groups, the elements of its lists of modules do.
    """
    names = [name for name, _ in model.named_parameters()]
    groups = _timm_groups(model, names)
    if groups is None:
        paths = _elements(model, "") or _elements(model, "", plain=True)
        groups = [_under(names, path) for path in paths]
    found: list[tuple[str, ...]] = []
    for members in filter(None, groups):
        inner = _repeated(model, members)
        found += [_under(names, path) for path in inner] if inner else [members]
    # Scales and biases alone are a normalisation, which is no block whatever its group is called.
    flat = {name for name, parameter in model.named_parameters() if parameter.dim() < 2}
    found = [block for block in found if not flat.issuperset(block)]
    return dict.fromkeys(names) | {n: number for number, block in enumerate(found) for n in block}


def _under(names: Sequence[str], path: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith(path + "."))


def _timm_groups(model: nn.Module, names: Sequence[str]) -> list[tuple[str, ...]] | None:
    """The parameters of each of timm's block groups; None where the network has no groups."""
    grouping: Any = getattr(model, "group_matcher", None)
    matcher = grouping(coarse=False) if grouping is not None else None
    if matcher is None or (isinstance(matcher, Mapping) and "blocks" not in matcher):
        return None
    if isinstance(matcher, Mapping):
        blocks = matcher["blocks"]
        if not isinstance(blocks, str):
            blocks = [entry for entry in blocks if tuple(entry[1] or ()) != FINAL]
        matcher = {"stem": matcher.get("stem"), "blocks": blocks}
        stem = _grouped(names, {"stem": matcher["stem"]})[:-1]
        outside = {name for group in stem for name in group}
    else:
        classifier = str(getattr(model, "pretrained_cfg", {}).get("classifier", "fc"))
        outside = {name for name in names if name.startswith(classifier + ".")}
        outside |= set(_grouped(names, matcher)[0])
    groups = _grouped(names, matcher)[:-1]
    inside = [tuple(n for n in group if n not in outside) for group in groups]
    return [group for group in inside if group]


def _grouped(names: Sequence[str], matcher: Any) -> list[list[str]]:
    """Names by group, in order; what no pattern takes is last, be it nothing."""
    nothing = "\0"  # no parameter is called so: it marks the group of what is not matched
    named = ((name, name) for name in (*names, nothing))
    groups = list(group_with_matcher(named, matcher).values())
    last = next(group for group in groups if nothing in group)
    rest = [list(group) for group in groups if group is not last]
    return [*rest, [name for name in last if name != nothing]]


def _repeated(model: nn.Module, members: Sequence[str]) -> list[str]:
    """The like elements of a stage's list of blocks, if these parameters are those of a stage."""
    paths = [name.split(".") for name in members]
    first, last = min(paths), max(paths)  # what these two share, all in between share
    same = next((k for k, (a, b) in enumerate(zip(first, last)) if a != b), len(first) - 1)
    prefix = ".".join(first[:same])
    elements = _elements(model.get_submodule(prefix), prefix)
    kinds = {type(model.get_submodule(path)) for path in elements}
    return elements if len(elements) > 1 and len(kinds) == 1 else []


def _elements(module: nn.Module, prefix: str, *, plain: bool = False) -> list[str]:
    """Paths of the composite elements of a module's outermost lists.

    Args:
        plain: whether a ``Sequential`` of single layers is an element too.
    """
    found = []
    listed = isinstance(module, nn.Sequential | nn.ModuleList)
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        inner = isinstance(child, nn.Sequential | nn.ModuleList)
        if inner or not listed:
            deeper = _elements(child, path, plain=plain)
            whole = plain and listed and inner and len(list(child.children())) > 1
            found += deeper or ([path] if whole else [])
        elif any(True for _ in child.children()):
            found.append(path)
    return found


# -- the traced graph --------------------------------------------------------------------------


class _Sized(fx.Proxy):
    """A proxy of known length."""

    def __len__(self) -> int:
        tracer: Any = self.tracer
        small, large = (len(value) for value in tracer.values[self.node])
        if small != large:
            raise fx.proxy.TraceError("the length depends on the batch size")
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
        self,
        owners: Mapping[str, int | None],
        size: tuple[int, int, int],
        defaults: Mapping[str, Any],
    ) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self.values: dict[fx.Node, tuple[Any, Any]] = {}
        self._owners = owners
        self._size = size
        self._defaults = defaults
        self._leaves = tuple(get_notrace_modules())
        self._evaluating = False
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is called as it is."""
        inside = {o for n, o in self._owners.items() if n.startswith(module_qualified_name + ".")}
        return len(inside) <= 1 or isinstance(m, self._leaves)

    def create_proxy(self, kind: str, target: Any, *rest: Any, **options: Any) -> Any:
        """Record an operation; give a number in its place where it is always the same."""
        proxy = super().create_proxy(kind, target, *rest, **options)
        small, large = self._value(proxy.node)
        # What is asked of a tensor by name stays a node, which is looked up by its name.
        computed = kind.startswith("call") and target is not getattr
        if computed and isinstance(small, bool | int | float) and small == large:
            return small
        return proxy

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What the network's code handles in place of a value."""
        return _Sized(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Whether a branch is taken, where that depends on nothing but shapes."""
        small, large = self.values[obj.node]
        if _holds_tensor(small) or bool(small) != bool(large):
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
                        return self.root.get_submodule(str(node.target))(*args, **kwargs)
                    case "call_method":
                        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
                    case _:
                        function: Any = node.target
                        return function(*args, **kwargs)
        finally:
            self._evaluating = False


def _trace(
    model: nn.Module, owners: Mapping[str, int | None], size: tuple[int, int, int]
) -> tuple[fx.GraphModule, dict[fx.Node, tuple[Any, Any]]]:
    # Every argument but the images keeps its default.
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    tracer = _Tracer(owners, size, defaults)
    graph = tracer.trace(model, concrete_args=defaults)
    return fx.GraphModule(model, graph), tracer.values


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A place in the graph: the tensor that passes it, and the number of the last node before."""

    node: Any  # an fx.Node, or what the network returns
    position: int


@dataclass(frozen=True, kw_only=True)
class _Boundary(_Place):
    path: str
    layout: Layout


class _Flow:
    """What is alive where in a traced network."""

    def __init__(self, traced: fx.GraphModule, values: Mapping[fx.Node, tuple[Any, Any]]) -> None:
        self.traced = traced
        self.values = values
        self.nodes = list(traced.graph.nodes)
        self.index = {node: k for k, node in enumerate(self.nodes)}
        self.data: set[fx.Node] = set()
        for node in self.nodes:
            inputs = any(n in self.data for n in node.all_input_nodes)
            images = node.op == "placeholder" and not self.data
            if images or (inputs and _holds_tensor(values.get(node, (None,))[0])):
                self.data.add(node)
        images = next(n for n in self.nodes if n.op == "placeholder")
        self.images = _Place(node=images, position=self.index[images])
        self.logits = _Place(node=self.nodes[-1].args[0], position=len(self.nodes))
        self.last_use = {n: max((self.index[u] for u in n.users), default=-1) for n in self.data}

    @property
    def classes(self) -> int | None:
        """Width of the logits; None where the output is not logits (N, classes)."""
        node = self.logits.node
        shape = self.shape(node) if isinstance(node, fx.Node) else None
        return shape[0] if shape is not None and len(shape) == 1 else None

    def alive(self, position: int) -> list[fx.Node]:
        """Nodes at or before a position that depend on the image and are used after it."""
        return [n for n in self.data if self.index[n] <= position < self.last_use[n]]

    def owners_of(self, node: fx.Node, owners: Mapping[str, int | None]) -> set[int | None]:
        """Whose parameters a node uses."""
        if node.op == "get_attr":
            return {owners[str(node.target)]} if node.target in owners else set()
        if node.op != "call_module":
            return set()
        return {o for n, o in owners.items() if n.startswith(f"{node.target}.")}

    def shape(self, node: fx.Node) -> tuple[int, ...] | None:
        """A tensor's shape without the batch; None for what is not one tensor per image."""
        first, second = self.values[node]
        if not isinstance(first, Tensor) or first.dim() < 2:
            return None
        if (first.shape[0], second.shape[0]) != BATCHES or first.shape[1:] != second.shape[1:]:
            return None
        return tuple(first.shape[1:])

    def part(self, start: _Place, end: _Place) -> fx.GraphModule:
        """The network between two places, as a module from the one tensor to the other."""
        graph = fx.Graph()
        known = {start.node: graph.placeholder("x")}
        x = known[start.node]

        def bring(node: fx.Node) -> Any:
            if node not in known:
                known[node] = _expressed(*self.values[node], x, node.name)
            return known[node]

        needed = self._needed(start, end)
        for node in self.nodes:
            if node in needed:
                known[node] = graph.node_copy(node, bring)
        graph.output(fx.node.map_arg(end.node, bring))
        part = fx.GraphModule(self.traced, graph)
        if _mutates_input(part, self.values[start.node][0]):
            # The activation before the block belongs to others too; the block may not change it.
            with graph.inserting_after(x):
                own = graph.call_method("clone", (x,))
            x.replace_all_uses_with(own, delete_user_cb=lambda user: user is not own)
            part.recompile()
        return part

    def _needed(self, start: _Place, end: _Place) -> set[fx.Node]:
        """What has to be computed between two places."""
        needed: set[fx.Node] = set()
        stack: list[fx.Node] = []
        fx.node.map_arg(end.node, stack.append)
        while stack:
            node = stack.pop()
            behind = self.index[node] <= start.position
            if node is start.node or node in needed or (behind and not self._is_table(node)):
                continue
            needed.add(node)
            stack += node.all_input_nodes
        return needed

    def _is_table(self, node: fx.Node) -> bool:
        """Whether a node is a tensor that does not depend on the image."""
        return node not in self.data and _holds_tensor(self.values[node][0])


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
    if not _holds_tensor(small) and small == large:
        return small
    if type(small) is int and small * BATCHES[1] == large * BATCHES[0]:
        factor, rest = divmod(small, BATCHES[0])
        if rest == 0:
            size = x.graph.call_method("size", (x, 0))
            return x.graph.call_function(operator.mul, (size, factor))
    raise _InseparableError(f"{name} depends on what lies before the cut")


class _InseparableError(Exception):
    """Two parts share more than one tensor and numbers of known form."""


def _mutates_input(part: fx.GraphModule, like: Tensor) -> bool:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        x = torch.empty(like.shape, dtype=like.dtype)
        before = x._version
        part(x)
        return x._version != before


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds_tensor(v) for v in value)
    if isinstance(value, Mapping):
        return any(_holds_tensor(v) for v in value.values())
    return isinstance(value, Tensor)


# -- where to cut ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Where a block runs: node numbers."""

    opens: int  # its first node, or that of what lies between it and the block before
    last: int


def _boundaries(
    flow: _Flow,
    owners: Mapping[str, int | None],
    model: nn.Module,
    input_size: tuple[int, int, int],
) -> tuple[list[_Boundary], list[str]]:
    """Cut 0..n in order, and the paths of blocks after which there is none."""
    spans, after = _spans(flow, owners)
    found: list[_Boundary] = []
    merged: list[str] = []
    for k in range(len(spans) + 1):
        begin = max((span.last for span in spans[:k]), default=0)
        end = min((span.opens for span in spans[k:]), default=after)
        choices: list[_Boundary] = []
        for position in range(begin, end):
            alive = flow.alive(position)
            shape = flow.shape(alive[0]) if len(alive) == 1 else None
            layout = _layout(shape, model, input_size) if shape is not None else None
            if layout is not None and (k == 0 or not choices or layout == choices[0].layout):
                choices.append(_Boundary(node=alive[0], position=position, path="", layout=layout))
        if choices:
            # The stem runs up to the first block. Behind a block stays what keeps the form (an
            # activation function); what changes it (pooling, patch merging) belongs to the next.
            path = _path(flow.nodes[spans[k - 1].last] if k else choices[-1].node)
            found.append(replace(choices[-1], path=path))
        elif k:
            merged.append(_path(flow.nodes[spans[k - 1].last]))
    return found, merged


def _spans(flow: _Flow, owners: Mapping[str, int | None]) -> tuple[list[_Span], int]:
    """The blocks in the order of execution, and the number of the node where the head begins."""
    runs: dict[int, list[int]] = {}
    loose: list[int] = []  # nodes with parameters of no block
    for k, node in enumerate(flow.nodes):
        for owner in flow.owners_of(node, owners):
            if owner is None:
                loose.append(k)
            else:
                runs.setdefault(owner, []).append(k)
    spans: list[_Span] = []
    previous: int | None = None
    for run in sorted(runs.values()):
        # The stem's tail is the stem's; between blocks it belongs to the block that follows.
        between = [k for k in loose if previous is not None and previous < k < run[0]]
        spans.append(_Span(opens=min([run[0], *between]), last=run[-1]))
        previous = max(previous or 0, run[-1])
    after = [k for k in loose if previous is not None and k > previous]
    return spans, min(after, default=len(flow.nodes) - 1)


def _path(node: fx.Node) -> str:
    while node.op != "call_module" and node.prev.op != "root":
        node = node.prev
    return str(node.target)


def _layout(
    shape: tuple[int, ...], model: nn.Module, input_size: tuple[int, int, int]
) -> Layout | None:
    """What a shape without the batch means; None where it has no positions."""
    if len(shape) == 2:
        length, channels = shape
        declared = int(getattr(model, "num_prefix_tokens", 0) or 0)
        for prefix in dict.fromkeys((declared, 0)):
            grid = _grid(length - prefix, input_size)
            if grid is not None:
                return Layout(channels=channels, grid=grid, prefix=prefix, form="NLC")
        return None
    if len(shape) != 3:
        return None
    last = _fits(shape[0], shape[1], input_size)  # (H, W, C)
    first = _fits(shape[1], shape[2], input_size)  # (C, H, W)
    if first and last:
        first = getattr(model, "output_fmt", "NCHW") != "NHWC"
    if first:
        return Layout(channels=shape[0], grid=(shape[1], shape[2]), prefix=0, form="NCHW")
    if last:
        return Layout(channels=shape[2], grid=(shape[0], shape[1]), prefix=0, form="NHWC")
    return None


def _grid(positions: int, input_size: tuple[int, int, int]) -> tuple[int, int] | None:
    """Height and width of so many positions, shaped as the images are."""
    for height in range(1, positions + 1):
        width, rest = divmod(positions, height)
        if rest == 0 and positions > 1 and _fits(height, width, input_size):
            return height, width
    return None


def _fits(height: int, width: int, input_size: tuple[int, int, int]) -> bool:
    """Whether a grid has the images' aspect ratio, to a rounding of one position."""
    if not (0 < height <= input_size[1] and 0 < width <= input_size[2]):
        return False
    return abs(height - width * input_size[1] / input_size[2]) < (
        1e-6 if input_size[1] == input_size[2] else 1
    )


@torch.inference_mode()
def _in_order(
    model: nn.Module, stem: nn.Module, layout: Layout, input_size: tuple[int, int, int]
) -> bool:
    """Whether cut 0 answers to a change in the image where the change is.

    A network may shuffle its tokens for its own convenience; as a map they would be scrambled.
    """
    device = next(model.parameters()).device
    channels, height, width = input_size
    images = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    top, left = 5 * height // 8, width // 8
    changed[:, :, top : top + max(height // 8, 1), left : left + max(width // 8, 1)] += 2
    before, after = (maps_and_prefix(stem(x.to(device)), layout)[0] for x in (images, changed))
    answer = (after - before).float().abs().sum((0, 3))
    total = answer.sum()
    if not bool(torch.isfinite(total)) or total == 0:
        return True  # nothing can be told: weights without values, or a dead stem
    found = divmod(int(answer.argmax()), layout.grid[1])
    wanted = (top / height + 1 / 16, left / width + 1 / 16)
    where = [(k + 0.5) / size for k, size in zip(found, layout.grid)]
    return all(abs(a - b) < max(0.2, 1 / size) for a, b, size in zip(where, wanted, layout.grid))
