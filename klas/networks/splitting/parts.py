"""What cutting a network gives, however it is cut."""

from dataclasses import dataclass

from torch import nn

from klas.networks.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A network as a chain: ``stem``, ``blocks``, ``head``. They share its parameters.

    Attributes:
        cuts: for cut 0..n the path of the module that ends there.
        layouts: for cut 0..n the form of the activation.
        classes: width of the logits.
        merged: paths of blocks after which no cut is possible, so that each joins the next.
    """

    stem: nn.Module
    blocks: tuple[nn.Module, ...]
    head: nn.Module
    cuts: tuple[str, ...]
    layouts: tuple[Layout, ...]
    classes: int
    merged: tuple[str, ...]
