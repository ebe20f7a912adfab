"""``torch.export``: a ``.pt2`` file that needs torch alone."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from klas.deploy.export.agreement import EXAMPLE, Run, example_images, without_gradients
from klas.deploy.export.notes import KEY, as_text
from klas.deploy.network import Network
from klas.errors import ExportError

INPUT = "images"
"""What the input is called: the argument of every network's ``forward``."""

NOTES = f"{KEY}.json"
"""The notes' name among the extra files."""


def program(network: nn.Module, input_size: tuple[int, int, int]) -> ExportedProgram:
    """A network for batches of any size.

    Args:
        network: maps ``images`` (N, C, H, W) to logits (N, classes); in eval mode on the CPU.
        input_size: (channels, height, width) of an image.

    Raises:
        ExportError: torch cannot export it.
    """
    example = (example_images(input_size, EXAMPLE),)
    dynamic = {INPUT: {0: Dim("batch", min=1)}}
    try:
        with quiet(), torch.no_grad():
            exported = torch.export.export(network, example, dynamic_shapes=dynamic)
    except Exception as error:  # whatever the network's own code makes torch raise
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"torch.export cannot follow the network with a batch of any size ({reason}); "
            "`--to safetensors` and `--to timm` keep it as it is"
        ) from None
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names this machine's folders, line by line
    return exported


def write(network: Network, path: Path) -> None:
    """Write the network and its notes to a ``.pt2`` file.

    Raises:
        ExportError: torch cannot export it.
    """
    exported = program(network, network.transform.input_size)
    with quiet():
        torch.export.save(exported, path, extra_files={NOTES: as_text(network)})


def read(path: Path) -> Run:
    """What was written, ready to run."""
    with quiet():
        return without_gradients(torch.export.load(path).module())


def lines(path: Path) -> tuple[str, ...]:
    """The Python that loads it and reads its notes."""
    return (
        "import json, torch",
        f'notes = {{"{NOTES}": ""}}',
        f"network = torch.export.load({str(path)!r}, extra_files=notes).module()",
        f'how = json.loads(notes["{NOTES}"])  # class_names, preprocessing, …',
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's remarks about tables that some networks keep, which it restores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
