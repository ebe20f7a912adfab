"""A decoder without its layers: it makes what they are called with, and reads what they give."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from klas.networks.decoders.layers import empty_cache
from klas.networks.splitting.flow import UncutError

HIDDEN = "hidden_states"


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a layer is called with.

    Attributes:
        args: after the hidden state, or all of them if that has a name.
        kwargs: without the hidden state.
        named: whether the hidden state has a name.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    named: bool

    def run(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The hidden state that the layer makes of one, both (N, L, C)."""
        if self.named:
            output = layer(*self.args, **self.kwargs, **{HIDDEN: hidden})
        else:
            output = layer(hidden, *self.args, **self.kwargs)
        made: Tensor = output[0] if isinstance(output, tuple) else output
        return made

    def tensors(self) -> list[Tensor]:
        """All tensors among them, in order."""
        return [v for v in _leaves((self.args, self.kwargs)) if isinstance(v, Tensor)]

    def others(self) -> list[Any]:
        """Everything else."""
        return [v for v in _leaves((self.args, self.kwargs)) if not isinstance(v, Tensor)]

    def without(self, unwanted: Any) -> "Call":
        """With None in the place of an object."""
        args = tuple(None if value is unwanted else value for value in self.args)
        kwargs = {name: None if v is unwanted else v for name, v in self.kwargs.items()}
        return Call(args=args, kwargs=kwargs, named=self.named)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """With every tensor changed."""
        args, kwargs = _mapped((self.args, self.kwargs), change)
        return Call(args=args, kwargs=kwargs, named=self.named)


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A text on its way in: the hidden state before layer 1, and what each layer is called with."""

    hidden: Tensor
    calls: list[Call]


class _LeftError(Exception):
    """The decoder's own code has called its last layer; what follows is not wanted."""


class Shell:
    """A decoder's own code around its layers, in whose places recorders stand.

    Attributes:
        network: a copy of the decoder that shares every module but the layers, and holds those
            that contain them.
        layers: the decoder's own layers.
    """

    def __init__(self, network: nn.Module, path: str, *, tuples: int) -> None:
        """Take a decoder's layers out.

        Args:
            path: of the list of its layers.
            tuples: how many things a layer returns, if it returns a tuple; else 0.
        """
        layers = network.get_submodule(path)
        assert isinstance(layers, nn.ModuleList)
        self.layers = tuple(layers)
        self._tuples = tuples
        self._takes_positions = "position_ids" in inspect.signature(network.forward).parameters
        self._seen: Callable[[int, Tensor, Call], Tensor] = _pass_on
        self._key: tuple[Any, ...] | None = None
        self._calls: list[Call] = []
        recorders = nn.ModuleList(Recorder(layer, self, k) for k, layer in enumerate(layers))
        self.network = _with(network, path.split("."), recorders)

    @property
    def words(self) -> int:
        """How many words the decoder takes."""
        return int(self.network.get_input_embeddings().num_embeddings)  # type: ignore[operator]

    @property
    def longest(self) -> int | None:
        """How many tokens a text may have; None where nothing is said of it."""
        most: int | None = getattr(self.network.config, "max_position_embeddings", None)
        return most

    def enter(
        self,
        ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: Any = None,
        *,
        position_ids: Tensor | None = None,
    ) -> Entered:
        """What the decoder makes of a text before and for its layers; none of them runs.

        Args:
            ids: (N, L) tokens.
            attention_mask: (N, tokens so far) 0 where there is padding.
            cache: what layers keep of the tokens before these, of ``transformers``.
            position_ids: (N, L) which token of its text each is, for decoders that take them; by
                default as the decoder counts them.

        Raises:
            UncutError: the decoder runs other layers.
        """
        states: list[Tensor] = []
        calls: list[Call] = []

        def see(number: int, hidden: Tensor, call: Call) -> Tensor:
            states.append(hidden)
            calls.append(call if empty is None else call.without(empty))
            if len(calls) == len(self.layers):
                raise _LeftError
            return hidden

        # Decoders look for several texts in one by the positions, unless there is a cache; tokens
        # without content have no positions to look at.
        empty = empty_cache(self.network.config) if ids.is_meta and cache is None else None
        given = {"attention_mask": attention_mask, "cache": cache or empty}
        if self._takes_positions:
            given["position_ids"] = position_ids
        self._seen = see
        try:
            self.network(input_ids=ids, use_cache=cache is not None, **_without_nothing(given))
        except _LeftError:
            pass
        finally:
            self._seen = _pass_on
        if len(calls) < len(self.layers):
            raise UncutError("its own code has been replaced, and runs other layers than it has")
        return Entered(hidden=states[0], calls=calls)

    def leave(self, hidden: Tensor) -> Tensor:
        """(N, L, words) the logits that the decoder reads from what its last layer gave."""
        last = len(self.layers) - 1
        stack = ExitStack()

        def see(number: int, before: Tensor, call: Call) -> Tensor:
            if number < last:
                return before
            stack.close()
            return hidden

        self._seen = see
        try:
            with stack:
                # Any tokens will do: what becomes of them ends at the last layer.
                stack.enter_context(self._beside(hidden))
                output = self.network(input_ids=self._any_text(hidden), use_cache=False)
        finally:
            self._seen = _pass_on
        logits: Tensor = output.logits
        return logits

    def calls(self, hidden: Tensor) -> list[Call]:
        """What the layers are called with for texts without padding of a hidden state's length.

        Those of the last length are kept, so the layers of one pass ask once.

        Args:
            hidden: (N, L, C) at any layer.
        """
        key = self._place(hidden)
        if key != self._key:
            with torch.no_grad(), self._beside(hidden):
                calls = self.enter(self._any_text(hidden)).calls
            self.keep(hidden, calls)
        return self._calls

    def keep(self, hidden: Tensor, calls: list[Call]) -> None:
        """Keep what a pass without padding has given its layers; it holds for every text."""
        device = hidden.device
        self._key = self._place(hidden)
        self._calls = [call.mapped(lambda t: t.detach().to(device)) for call in calls]

    def __getstate__(self) -> dict[str, Any]:
        """Copies begin without what was kept."""
        return self.__dict__ | {"_key": None, "_calls": []}

    def seen(self, number: int, hidden: Tensor, call: Call) -> Any:
        """What a recorder gives back, in the form in which its layer would."""
        given = self._seen(number, hidden, call)
        return (given, *[None] * (self._tuples - 1)) if self._tuples else given

    def _any_text(self, hidden: Tensor) -> Tensor:
        return torch.zeros(hidden.shape[:2], dtype=torch.long, device=self._device)

    def _beside(self, hidden: Tensor) -> AbstractContextManager[object]:
        """For work on the decoder's own device that is no part of a count without content."""
        if not hidden.is_meta:
            return nullcontext()
        stack = ExitStack()
        stack.enter_context(_disable_current_modes())
        stack.enter_context(self._device)
        return stack

    @property
    def _device(self) -> torch.device:
        return next(self.network.get_input_embeddings().parameters()).device  # type: ignore[operator,no-any-return]

    @staticmethod
    def _place(hidden: Tensor) -> tuple[Any, ...]:
        # Tensors that are made for inference alone cannot serve a training.
        return (*hidden.shape[:2], hidden.device, torch.is_inference_mode_enabled())


class Recorder(nn.Module):
    """Stands where a layer was."""

    def __init__(self, layer: nn.Module, shell: Shell, number: int) -> None:
        super().__init__()
        self._of = (layer, shell, number)  # in a tuple, or the layer would be a part of it

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Whatever the layer takes to what it would return."""
        _, shell, number = self._of
        named = HIDDEN in kwargs
        rest = {name: value for name, value in kwargs.items() if name != HIDDEN}
        hidden = kwargs[HIDDEN] if named else args[0]
        call = Call(args=args if named else args[1:], kwargs=rest, named=named)
        return shell.seen(number, hidden, call)

    def __getattr__(self, name: str) -> Any:
        # Some decoders look at their layers to see what to call them with.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_of"][0], name)


def _pass_on(number: int, hidden: Tensor, call: Call) -> Tensor:
    return hidden


def _with(module: nn.Module, path: list[str], layers: nn.ModuleList) -> nn.Module:
    """A module with other layers at a path; all else is shared."""
    if not path:
        return layers
    name, *rest = path
    changed = copy(module)
    child = module.get_submodule(name)
    changed._modules = module._modules | {name: _with(child, rest, layers)}
    return changed


def _without_nothing(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _leaves(value: Any) -> list[Any]:
    if type(value) in (tuple, list):
        return [leaf for each in value for leaf in _leaves(each)]
    if type(value) is dict and value:
        return _leaves(list(value.values()))
    return [value]


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)(_mapped(each, change) for each in value)
    if type(value) is dict:
        return {name: _mapped(each, change) for name, each in value.items()}
    return value
