"""A decoder as an anchor: what is known about it, and its parts."""

from collections.abc import Mapping

from torch import nn

from klas.networks.accepted import refuse_wrapped
from klas.networks.anchor import Anchor, AnchorInfo, TextInput, tensors_digest
from klas.networks.decoders.split import split_decoder


def decoder_anchor(
    network: nn.Module,
    name: str,
    *,
    transform: TextInput,
    model: str | None = None,
    origin: Mapping[str, str] | None = None,
) -> Anchor:
    """Cut a causal decoder of ``transformers``; the anchor shares its weights.

    Args:
        network: the decoder.
        name: what files and errors call it.
        transform: how it takes a text.
        model: what it is; by default its class.
        origin: where its weights are from, for the records.

    Raises:
        AnchorError: it cannot be cut, or is parallel, compiled or not in single precision; the
            sentence says why.
    """
    refuse_wrapped(network, name)
    parts = split_decoder(network, name)
    info = AnchorInfo(
        name=name,
        model=model or type(network).__qualname__,
        weights={**(origin or {}), "sha256": tensors_digest(network)},
        cuts=parts.cuts,
        layouts=parts.layouts,
        classes=parts.classes,
        transform=transform,
    )
    return Anchor(info, parts.stem, parts.blocks, parts.head, network)
