"""Batch normalisation over the batches of all processes, for as long as a training lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from klas.deploy.elastic import Elastic


@contextmanager
def synchronised(elastic: Elastic) -> Iterator[None]:
    """Let every layer that normalises over a batch do so over all processes' batches.

    Afterwards the layers are the ones that they were; their parameters are the same all along.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    stand_ins: dict[int, nn.Module] = {}
    for part in (elastic, *elastic.families.values()):
        # All places: a layer may stand at several.
        for name, layer in [*part.named_modules(remove_duplicate=False)]:
            if not isinstance(layer, _BatchNorm):
                continue
            parent, _, own = name.rpartition(".")
            if id(layer) not in stand_ins:
                stand_ins[id(layer)] = convert_sync_batchnorm(layer)
            holder = part.get_submodule(parent)
            setattr(holder, own, stand_ins[id(layer)])
            replaced.append((holder, own, layer))
    _look_up_again(elastic)
    try:
        yield
    finally:
        for holder, own, layer in replaced:
            setattr(holder, own, layer)
        _look_up_again(elastic)


def _look_up_again(elastic: Elastic) -> None:
    """Families remember the layers whose statistics change with the member until they move."""
    elastic.to(next(elastic.parameters()).device)
