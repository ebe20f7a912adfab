"""A network with its parallel branches and normalisation folded into single convolutions."""

from dataclasses import replace
from typing import cast

import torch

from klas.deploy.architecture import describe, rebuild
from klas.deploy.network import Network
from klas.deploy.tensors import fill
from klas.errors import AnchorError, ExportError, FormatError
from klas.networks.anchor import Anchor
from klas.networks.cost import count_macs
from klas.networks.fusing import cut_alike, fused_form, fused_network
from klas.results.documents.networks import Architecture, NetworkDocument


def fused(network: Network, *, allow_code: bool = False) -> Network:
    """A network in timm's fused form, with the costs of that form: the outputs stay as they are.

    Args:
        network: in eval mode on the CPU.
        allow_code: whether the Python functions that make its anchors may be run.

    Raises:
        ExportError: there is nothing in it to fuse; or what is fused could not be built again from
            a description, because it can't be cut where the network is.
        AnchorError: an anchor can't be made.
    """
    name, size = network.name, network.transform.input_size
    try:
        folded = fused_network(network, name, size, asked="--fuse")
    except AnchorError as error:
        raise ExportError(str(error)) from None
    document = network.document()
    anchors = [_fused_entry(entry, name, allow_code) for entry in network.anchors]
    image = torch.empty(1, *size, device="meta")
    member = replace(
        network.member,
        macs=count_macs(folded, image).macs,
        params=sum(parameter.numel() for parameter in folded.parameters()),
        latency=None,
    )
    described = {**document, "anchors": anchors, "member": member.to_json()}
    try:
        again = Network.blank(cast(NetworkDocument, described), name, allow_code=allow_code)
        fill(again, folded.state_dict(), name)
    except FormatError as error:
        raise ExportError(f"--fuse: its fused form cannot be described ({error})") from None
    return again.refreshed()


def _fused_entry(entry: Architecture, name: str, allow_code: bool) -> Architecture:
    """The description of an anchor's fused form; its own where it has none."""
    anchor = rebuild(entry, name, allow_code=allow_code)
    form = None if entry.get("fused") else fused_form(anchor)
    if form is None:
        return entry
    if cut_alike(form, anchor.info) is None:
        raise ExportError(
            f"--fuse: {entry['name']} cannot be cut at the same places once it is fused; leave it "
            "out, or make the study with `fused = true` for this anchor"
        )
    made = Anchor.from_module(form, entry["name"], transform=anchor.info.transform)
    made.info = replace(
        made.info,
        model=entry["model"],
        weights=anchor.info.weights,
        image_size=anchor.info.image_size,
        fused=True,
    )
    made.select(anchor.info.columns)
    return describe(made)
