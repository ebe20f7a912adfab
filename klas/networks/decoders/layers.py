"""The layers of a decoder: where they are, and copies of some that are numbered anew."""

from collections.abc import Sequence
from copy import copy
from typing import Any

from torch import nn


def layers_path(network: nn.Module) -> str | None:
    """The path of the longest list of modules that lies in no other; None if there is no list.

    Examples:
        >>> network = nn.ModuleDict(
        ...     {
        ...         "norms": nn.ModuleList([nn.LayerNorm(4)]),
        ...         "layers": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]),
        ...     }
        ... )
        >>> layers_path(network)
        'layers'
    """
    lists: dict[str, int] = {}
    for path, module in network.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and not inside:
            lists[path] = len(module)
    return max(lists, key=lambda path: lists[path], default=None)


def numbered_from(layers: Sequence[nn.Module], first: int) -> list[nn.Module]:
    """Layers ``first`` … of a decoder as layers 0 …: a cache of their own begins with them.

    They share all weights with the given ones. What says a layer's number is known by being it in
    every layer.

    Args:
        layers: all of the decoder's.
        first: the number of the layer that becomes layer 0.
    """
    numbers = set.intersection(*(_equal_to(k, layer) for k, layer in enumerate(layers)))
    return [_renumbered(layer, numbers, k) for k, layer in enumerate(layers[first:])]


def _equal_to(number: int, layer: nn.Module) -> set[tuple[str, str]]:
    """(module path, attribute) of everything in a layer that is this number."""
    return {
        (path, name)
        for path, module in layer.named_modules()
        for name, value in vars(module).items()
        if type(value) is int and value == number
    }


def _renumbered(layer: nn.Module, numbers: set[tuple[str, str]], number: int) -> nn.Module:
    renamed = copy(layer)
    renamed._modules = {
        name: child and _renumbered(child, _below(numbers, name), number)
        for name, child in layer._modules.items()
    }
    for path, name in numbers:
        if not path:
            setattr(renamed, name, number)
    return renamed


def _below(numbers: set[tuple[str, str]], child: str) -> set[tuple[str, str]]:
    """What lies in a child, by paths that begin there."""
    inside = [(path.partition("."), name) for path, name in numbers if path]
    return {(rest, name) for (head, _, rest), name in inside if head == child}


def config_of(config: Any, first: int, stop: int) -> Any:
    """A decoder's configuration with what it says of each layer, for some of the layers alone.

    Args:
        config: the whole decoder's.
        first, stop: numbers of layers; the last is excluded.
    """
    depth = config.num_hidden_layers
    part = copy(config)
    part.__dict__ |= {
        name: value[first:stop]
        for name, value in vars(config).items()
        if isinstance(value, list) and len(value) == depth
    }
    part.num_hidden_layers = stop - first
    return part


def empty_cache(config: Any) -> Any:
    """A cache of ``transformers`` for the layers of a configuration."""
    from transformers import DynamicCache  # an extra: only texts need it

    return DynamicCache(config=config)
