"""A network with its parallel branches and normalisation folded into single convolutions."""

from dataclasses import replace

import torch

from klas.deploy.architecture import describe, rebuild
from klas.deploy.export.agreement import example_images
from klas.deploy.network import Network
from klas.errors import ExportError
from klas.networks.anchor import Anchor
from klas.networks.cost import count_macs
from klas.networks.fusing import TOLERANCE, cut_alike, fused_form
from klas.networks.stitch import Stitch, StitchLayer
from klas.results.documents.networks import Architecture


def fused(network: Network, *, allow_code: bool = False) -> Network:
    """A network in timm's fused form, with the costs of that form: the outputs stay as they are.

    The anchors are made again with the network's tensors, fused whole and cut again: a block that
    is several modules in the network folds as one.

    Args:
        network: in eval mode on the CPU.
        allow_code: whether the Python functions that make its anchors may be run.

    Raises:
        ExportError: there is nothing in it to fuse; an anchor can't be cut at the same places once
            it is fused; or the outputs would be others.
        AnchorError: an anchor can't be made.
    """
    member, (first, *_, last) = network.member, (*network.anchors, network.anchors[-1])
    source = _made_again(first, network, allow_code)
    source.stem.load_state_dict(network.stem.state_dict())
    for block, own in zip(source.blocks, network.front):
        block.load_state_dict(own.state_dict())
    if member.target_block is None:
        source.head.load_state_dict(network.head.state_dict())
        anchors = [_folded(source)]
        parts: Anchor | Stitch = anchors[0]
    else:
        assert isinstance(network.layer, StitchLayer)
        target, j = _made_again(last, network, allow_code), member.target_block
        for block, own in zip(target.blocks[j:], network.back):
            block.load_state_dict(own.state_dict())
        target.head.load_state_dict(network.head.state_dict())
        anchors = [_folded(source), _folded(target)]
        parts = Stitch(anchors[0], len(network.front), anchors[1], j, network.layer).eval()
    if _shapes(parts) == _shapes(network):
        raise ExportError(
            f"{network.name}: --fuse is asked for, but it has nothing that timm can fuse; leave "
            "--fuse out"
        )
    image = torch.empty(1, *network.transform.input_size, device="meta")
    folded = Network(
        parts,
        member=replace(
            member,
            macs=count_macs(parts, image).macs,
            params=sum(parameter.numel() for parameter in parts.parameters()),
            latency=None,
        ),
        anchors=[describe(anchor) for anchor in anchors][: len(network.anchors)],
        class_names=network.class_names,
        tier=network.tier,
        task=network.task,
    )
    _refuse_others(network, folded)
    return folded


def _made_again(entry: Architecture, network: Network, allow_code: bool) -> Anchor:
    return rebuild(entry, network.name, allow_code=allow_code)


def _folded(anchor: Anchor) -> Anchor:
    """An anchor's fused form, cut at the same places; itself where it has none."""
    anchor.forget_tables()
    info = anchor.info
    form = None if info.fused else fused_form(anchor)
    if form is None:
        return anchor
    if cut_alike(form, info) is None:
        raise ExportError(
            f"--fuse: {info.name} cannot be cut at the same places once it is fused; leave --fuse "
            "out, or give this anchor `fused = true` in the study"
        )
    folded = Anchor.from_module(form, info.name, transform=info.images, model=info.model)
    folded.info = replace(folded.info, weights=info.weights, image_size=info.image_size, fused=True)
    folded.select(info.columns)
    return folded.eval()


def _shapes(network: torch.nn.Module) -> list[torch.Size]:
    return sorted(parameter.shape for parameter in network.parameters())


def _refuse_others(network: Network, folded: Network) -> None:
    images = example_images(network.transform.input_size, 2)
    with torch.no_grad():
        want, have = network(images), folded(images)
    if not (want - have).abs().max() <= TOLERANCE * want.abs().max():
        raise ExportError(
            f"{network.name}: gives other outputs when timm fuses it; leave --fuse out"
        )
