"""ONNX: a file that onnxruntime runs, with neither torch nor klas."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from klas.deploy.export.agreement import Run
from klas.deploy.export.notes import KEY, as_text
from klas.deploy.export.torch_program import INPUT, program, quiet
from klas.deploy.network import Network
from klas.errors import ExportError, one_line
from klas.results.export_formats import refuse_missing_extra

OPSET = 18
"""The version of ONNX's operators: the one that torch translates to, without a conversion."""

OUTPUT = "logits"

LARGEST = 2**31 - 2**20
"""Bytes of weights in one file: protobuf ends at 2 GiB, and the graph takes some of it."""


def write(network: Network, path: Path) -> None:
    """Write the network and its notes to an ``.onnx`` file.

    The weights are in it where they fit (:data:`LARGEST`), else in ``PATH.data`` beside it.

    Raises:
        ExportError: a package is lacking, or torch cannot export the network.
    """
    refuse_missing_extra("onnx")
    exported = program(network, network.transform.input_size)
    try:
        with quiet(), redirect_stdout(io.StringIO()):
            made: Any = torch.onnx.export(
                exported,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: {0: "batch"}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch's own, for an operator that ONNX lacks
        raise ExportError(
            f"torch cannot translate the network to ONNX ({one_line(error)})"
        ) from None
    _forget_origins(made.model)
    for value, name in ((made.model.graph.inputs[0], INPUT), (made.model.graph.outputs[0], OUTPUT)):
        value.name = name
    made.model.metadata_props[KEY] = as_text(network)
    size = sum(t.numel() * t.element_size() for t in exported.state_dict.values())
    made.save(path, external_data=size > LARGEST)


def _forget_origins(model: Any) -> None:
    """Leave out what torch noted of each operator: which line of which file it is from."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def read(path: Path) -> Run:
    """What was written, ready to run in onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return run


def lines(path: Path) -> tuple[str, ...]:
    """The Python that loads it and reads its notes."""
    return (
        "import json, onnxruntime",
        f"session = onnxruntime.InferenceSession({str(path)!r})",
        f'how = json.loads(session.get_modelmeta().custom_metadata_map["{KEY}"])',
        f'(logits,) = session.run(None, {{"{INPUT}": images}})  # float32 (N, C, H, W), prepared',
    )
