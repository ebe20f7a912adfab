"""Export a network: write it in one of the formats, load it again, compare and time it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from klas.deploy.export import network_folder, onnx_file, timm_folder, torch_program
from klas.deploy.export.agreement import Run, example_images, largest_difference
from klas.deploy.network import Network
from klas.errors import ExportError
from klas.pipeline.recipes.latency import device_name, time_runs
from klas.results.documents.exports import FormatName
from klas.results.export_formats import EXPORT_FORMATS
from klas.storage.files import made_beside


@dataclass(frozen=True, kw_only=True)
class _Format:
    """How a format is written and read.

    Attributes:
        write: a network to a path.
        read: what was written, ready to run; the flag allows the functions that make anchors.
        lines: the Python that loads it.
    """

    write: Callable[[Network, Path], None]
    read: Callable[[Path, bool], Run]
    lines: Callable[[Path], tuple[str, ...]]


_FORMATS: Mapping[FormatName, _Format] = {
    "safetensors": _Format(
        write=network_folder.write,
        read=lambda path, allow_code: network_folder.read(path, allow_code=allow_code),
        lines=network_folder.lines,
    ),
    "torch": _Format(
        write=torch_program.write,
        read=lambda path, allow_code: torch_program.read(path),
        lines=torch_program.lines,
    ),
    "onnx": _Format(
        write=onnx_file.write,
        read=lambda path, allow_code: onnx_file.read(path),
        lines=onnx_file.lines,
    ),
    "timm": _Format(
        write=timm_folder.write,
        read=lambda path, allow_code: timm_folder.read(path, allow_code=allow_code),
        lines=timm_folder.lines,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        path: the file, or the folder.
        difference: the largest of any output to the network's, at batches 1 and 5.
        milliseconds: the median of one image, of what was written, by its own runtime.
        machine: where that was measured.
        lines: the Python that loads it.
    """

    path: Path
    difference: float
    milliseconds: float
    machine: str
    lines: tuple[str, ...]


def export(network: Network, to: FormatName, path: Path, *, allow_code: bool = False) -> Exported:
    """Write a network, whole or not at all: what does not give its outputs is not kept.

    Args:
        network: in eval mode on the CPU.
        to: the format.
        path: the file that is written, or the folder.
        allow_code: whether the Python functions that make its anchors may be run to load it again.

    Raises:
        ExportError: a package is lacking, torch can't follow the network, the outputs differ, the
            path has another ending than such files, or the network takes texts.
        StoreError: the path can't be written.
    """
    refuse_ending(to, path)
    if network.task == "language":
        raise ExportError(
            f"{network.name}: takes texts, and what is exported takes images; its method save "
            "writes it as a folder, which klas.load reads"
        )
    form, size = _FORMATS[to], network.transform.input_size
    with made_beside(path) as fresh:
        form.write(network, fresh)
        run = form.read(fresh, allow_code)
        difference = largest_difference(network, run, size)
        image = example_images(size, 1)
        seconds = time_runs({network.name: lambda: _once(run, image)}, lambda n: None)
    return Exported(
        path=path,
        difference=difference,
        milliseconds=1e3 * float(np.median(seconds[network.name])),
        machine=device_name(torch.device("cpu")),
        lines=form.lines(path),
    )


def refuse_ending(to: FormatName, path: Path) -> None:
    """Refuse a file whose name another program would take for something else.

    Raises:
        ExportError: it hasn't the ending of the format's files.

    Examples:
        >>> refuse_ending("onnx", Path("model.pt2"))
        Traceback (most recent call last):
            ...
        klas.errors.ExportError: model.pt2: what is exported to onnx ends in .onnx
    """
    ending = EXPORT_FORMATS[to].ending
    if ending and path.suffix != ending:
        raise ExportError(f"{path}: what is exported to {to} ends in {ending}")


def about_seconds(network: nn.Module, to: FormatName) -> float:
    """About how long :func:`export` takes."""
    layers = sum(not any(module.children()) for module in network.modules())
    return EXPORT_FORMATS[to].about_seconds(layers)


def loading_lines(to: FormatName, path: Path) -> tuple[str, ...]:
    """The Python that loads what was exported to a path, wherever that is by then."""
    return _FORMATS[to].lines(path)


def _once(run: Run, image: torch.Tensor) -> None:
    run(image)
