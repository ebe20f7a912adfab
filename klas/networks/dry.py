"""Run a network on tensors without content, and leave no trace of it in the network."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def no_trace(module: nn.Module) -> Iterator[None]:
    """Undo what a forward pass assigns to attributes and buffers of a network.

    Some networks keep tables that they compute in their first pass; one made of tensors without
    content would stay and break the next real pass.
    """
    before = [(m, dict(m.__dict__), dict(m._buffers)) for m in module.modules()]
    try:
        yield
    finally:
        for part, attributes, buffers in before:
            part.__dict__.clear()
            part.__dict__.update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)
