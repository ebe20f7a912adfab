"""Cut a decoder at its layers: a stem, blocks and a head that give exactly what it gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from klas.errors import AnchorError, one_line
from klas.networks.decoders.layers import layers_path
from klas.networks.decoders.shell import HIDDEN, Call, Recorder, Shell
from klas.networks.layout import Layout
from klas.networks.splitting.flow import UncutError
from klas.networks.splitting.parts import Parts

LENGTH = 8  # tokens of the texts on which a decoder is tried

_PLAIN = (bool, int, float, str, torch.dtype, type(None))


class Stem(nn.Module):
    """Tokens (N, L) to the hidden state before layer 1, (N, L, C)."""

    def __init__(self, shell: Shell, used: Sequence[str]) -> None:
        super().__init__()
        self.shell = shell
        _hold(self, shell.network, used)

    def forward(self, ids: Tensor) -> Tensor:
        """From texts without padding; for the layers, their masks and tables are kept."""
        entered = self.shell.enter(ids)
        self.shell.keep(entered.hidden, entered.calls)
        return entered.hidden


class DecoderBlock(nn.Module):
    """One layer: (N, L, C) to (N, L, C), with the decoder's own masks and tables for L tokens."""

    def __init__(self, shell: Shell, number: int) -> None:
        super().__init__()
        self.shell = shell
        self.number = number
        self.layer = shell.layers[number]

    def forward(self, hidden: Tensor) -> Tensor:
        """From any hidden state of such texts."""
        return self.shell.calls(hidden)[self.number].run(self.layer, hidden)


class Head(nn.Module):
    """What follows the last layer: (N, L, C) to logits (N, L, words)."""

    def __init__(self, shell: Shell, used: Sequence[str]) -> None:
        super().__init__()
        self.shell = shell
        _hold(self, shell.network, used)

    def forward(self, hidden: Tensor) -> Tensor:
        """By the decoder's own code."""
        return self.shell.leave(hidden)


def _hold(part: nn.Module, network: nn.Module, used: Sequence[str]) -> None:
    """Make some of a network's modules children of a part, under the names that they have there."""
    for path in used:
        *outer, name = path.split(".")
        holder = part
        for step in outer:
            if step not in holder._modules:
                holder.add_module(step, nn.Module())
            holder = holder.get_submodule(step)
        holder.add_module(name, network.get_submodule(path))


def split_decoder(network: nn.Module, name: str) -> Parts:
    """Cut a causal decoder of ``transformers`` at its layers.

    Nothing is known about its architecture: that its layers follow one another, each once, that
    only the hidden state passes between them and that the rest of what they take is the same for
    all texts of one length is tried out, and the parts must give its logits to the last bit.

    Args:
        network: from tokens to logits; it stays as it is, and the parts share its weights.
        name: what errors call it.

    Raises:
        AnchorError: it is no such decoder; the sentence says what stands in the way.
    """
    training = network.training
    network.eval()
    try:
        return _cut(network)
    except UncutError as why:
        raise AnchorError(
            f"{name}: {type(network).__name__} cannot be cut at its layers: {why}; take a causal "
            "decoder such as LLaMA, Qwen, Gemma 3, GPT-2, OPT or GPT-NeoX"
        ) from None
    finally:
        network.train(training)


def _cut(network: nn.Module) -> Parts:
    path = layers_path(network)
    if path is None or len(network.get_submodule(path)._modules) < 2:
        raise UncutError("it has no list of layers")
    one, other = _texts(network)
    with torch.no_grad():
        seen, logits = _observed(network, path, one)
        _refuse_another_order(seen, len(network.get_submodule(path)._modules))
        shell = Shell(network, path, tuples=seen[0].tuples)
        entered = shell.enter(one)
        _refuse_what_depends_on_the_text(entered.calls, shell.enter(other).calls)
        _refuse_what_passes(entered.calls)
        hidden = entered.hidden
        for call, layer in zip(entered.calls, shell.layers):
            hidden = call.run(layer, hidden)
        if not torch.equal(shell.leave(hidden), logits):
            raise UncutError("its layers, one after another, do not give its logits")
    stem, head = _used(shell, one)
    depth, layout = len(shell.layers), Layout(channels=hidden.shape[-1], grid=(), prefix=0)
    return Parts(
        stem=Stem(shell, stem),
        blocks=tuple(DecoderBlock(shell, k) for k in range(depth)),
        head=Head(shell, head),
        cuts=(stem[0], *(f"{path}.{k}" for k in range(depth))),
        layouts=(layout,) * (depth + 1),
        classes=logits.shape[-1],
        merged=(),
    )


def _texts(network: Any) -> tuple[Tensor, Tensor]:
    """Two texts (2, L) that differ everywhere."""
    words = network.get_input_embeddings().num_embeddings
    longest = getattr(network.config, "max_position_embeddings", None) or LENGTH
    one = torch.randint(
        words, (2, min(LENGTH, longest)), generator=torch.Generator().manual_seed(0)
    )
    one = one.to(next(network.parameters()).device)
    return one, (one + 1) % words


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A layer as it ran within its decoder."""

    number: int
    before: Any
    after: Any
    tuples: int


def _observed(network: nn.Module, path: str, ids: Tensor) -> tuple[list[_Seen], Tensor]:
    """What passes through the layers in a pass of the whole decoder, and its logits."""
    seen: list[_Seen] = []

    def hook(number: int) -> Any:
        def note(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tuples = len(output) if isinstance(output, tuple) else 0
            before = kwargs.get(HIDDEN, args[0] if args else None)
            after = output[0] if tuples else output
            seen.append(_Seen(number=number, before=before, after=after, tuples=tuples))

        return note

    layers = network.get_submodule(path).children()
    hooks = [
        layer.register_forward_hook(hook(k), with_kwargs=True) for k, layer in enumerate(layers)
    ]
    try:
        logits = network(input_ids=ids, use_cache=False).logits
    except Exception as error:  # a network may raise anything
        raise UncutError(f"it does not take tokens alone ({one_line(error)})") from None
    finally:
        for each in hooks:
            each.remove()
    return seen, logits


def _refuse_another_order(seen: Sequence[_Seen], depth: int) -> None:
    if [each.number for each in seen] != list(range(depth)):
        raise UncutError("its layers do not run one after another, each once")
    for each in seen:
        shapes = [value.shape for value in (each.before, each.after) if isinstance(value, Tensor)]
        if len(shapes) < 2 or shapes[0] != seen[0].before.shape or len({*shapes}) > 1:
            raise UncutError("more than one hidden state of one size passes between its layers")
    for each, following in pairwise(seen):
        if not torch.equal(each.after, following.before):
            where = f"{each.number + 1} and {following.number + 1}"
            raise UncutError(f"something runs between its layers {where}")


def _refuse_what_passes(calls: Sequence[Call]) -> None:
    """A state in which one layer may leave something for another."""
    for value in (value for call in calls for value in call.others()):
        if not isinstance(value, _PLAIN):
            kind = type(value).__name__
            raise UncutError(f"a state ({kind}) passes from layer to layer beside the hidden one")


def _refuse_what_depends_on_the_text(one: Sequence[Call], other: Sequence[Call]) -> None:
    """Such as Gemma 4's inputs for each layer, or anything that is learned and trained."""
    for k, (a, b) in enumerate(zip(one, other), 1):
        same = [torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors())]
        if not all(same) or len(a.tensors()) != len(b.tensors()):
            raise UncutError(
                f"its layer {k} takes more of the text than the hidden state (inputs of its own "
                "for each layer)"
            )


def _used(shell: Shell, ids: Tensor) -> tuple[list[str], list[str]]:
    """Paths of the modules that run before the first layer, and of those after the last.

    Those whose weights are used without running them are among them.
    """
    outside = {
        path: module
        for path, module in shell.network.named_modules()
        if path and not _holds_recorders(module)
    }
    outermost = {
        path: module for path, module in outside.items() if path.rpartition(".")[0] not in outside
    }
    with _trained(shell.network) as weights, torch.enable_grad():
        with _noting(outermost) as before:
            hidden = shell.enter(ids).hidden
            entering = _reached(hidden, weights)
        state = hidden.detach().requires_grad_()
        with _noting(outermost) as whole:
            reading = _reached(shell.leave(state), weights)
    # The decoder's whole code runs in a pass through it: what runs first is known already.
    after = whole[len(before) :]
    stem = _with_owners(before, entering, outermost)
    head = _with_owners(after, reading, outermost)
    return stem, head


def _holds_recorders(module: nn.Module) -> bool:
    return any(isinstance(part, Recorder) for part in module.modules())


@contextmanager
def _trained(network: nn.Module) -> Iterator[list[nn.Parameter]]:
    """All weights of a network, for a while with gradients."""
    weights = list(network.parameters())
    before = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_()
        yield weights
    finally:
        for weight, wanted in zip(weights, before):
            weight.requires_grad_(wanted)


@contextmanager
def _noting(modules: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """The paths of the modules that run meanwhile, in order, repeated where they run again."""
    ran: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, args, path=path: ran.append(path))
        for path, module in modules.items()
    ]
    try:
        yield ran
    finally:
        for each in hooks:
            each.remove()


def _reached(output: Tensor, weights: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The weights on which an output depends."""
    gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
    return [weight for weight, gradient in zip(weights, gradients) if gradient is not None]


def _with_owners(
    ran: Iterable[str], reached: Iterable[nn.Parameter], modules: Mapping[str, nn.Module]
) -> list[str]:
    """The modules that ran, each once, and the owners of weights that were reached otherwise."""
    paths = dict.fromkeys(ran)
    for weight in reached:
        owners = [p for p, m in modules.items() if any(weight is own for own in m.parameters())]
        if not owners:
            raise UncutError("it has weights beside its layers that are in no module")
        if not paths.keys() & set(owners):
            paths[owners[0]] = None
    return list(paths)
