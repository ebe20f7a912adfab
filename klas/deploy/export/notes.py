"""What an exported file says of itself, for those who have nothing but the file."""

import json
from math import floor
from typing import cast

from klas.deploy.network import Network
from klas.pipeline.scores_document import made_with
from klas.results.documents.exports import ExportNotes, Preparation

KEY = "klas"
"""The name of the notes among a file's other metadata."""


def notes(network: Network) -> ExportNotes:
    """How a network takes an image, what its outputs are called, and what it costs."""
    transform, member = network.transform, network.member
    _, height, width = transform.input_size
    resize = [floor(side / transform.crop) for side in (height, width)]
    return {
        "format": "klas-export",
        "version": 1,
        "made_with": made_with(),
        "name": member.name,
        "tier": network.tier,
        "class_names": None if network.class_names is None else list(network.class_names),
        "preprocessing": cast(Preparation, {**transform.to_json(), "resize": resize}),
        "fused": any(anchor.get("fused", False) for anchor in network.anchors),
        "macs": member.macs,
        "params": member.params,
        "accuracy": dict(member.accuracy),
    }


def as_text(network: Network) -> str:
    """The notes as JSON, for a file's metadata."""
    return json.dumps(notes(network), ensure_ascii=False, allow_nan=False)
