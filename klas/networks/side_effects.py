"""Run a network on tensors without content and leave the network as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def undo_side_effects(network: nn.Module) -> Iterator[None]:
    """Undo what forward passes assign to the attributes and buffers of a network.

    Some networks keep tables that they compute in their first pass. A table of tensors without
    content would stay and break the next real pass.
    """
    before = [(m, dict(m.__dict__), dict(m._buffers)) for m in network.modules()]
    try:
        yield
    finally:
        for module, attributes, buffers in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)
