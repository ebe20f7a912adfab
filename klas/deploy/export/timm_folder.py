"""A folder that ``timm.create_model("local-dir:…")`` opens: ``config.json`` and safetensors."""

from pathlib import Path
from typing import Any

import timm

from klas.deploy.export.agreement import Run, without_gradients
from klas.deploy.export.timm_model import NAME
from klas.deploy.network import Network
from klas.deploy.tensors import distinct, write_tensors
from klas.deploy.writing import CONFIG, signed
from klas.results.formats import write as write_json


def write(network: Network, path: Path) -> None:
    """Write the network as timm saves its own, safetensors only, never a pickle."""
    path.mkdir()
    weights = write_tensors(path, distinct(network.state_dict()))
    document = signed({**network.document(), "weights": weights})
    transform, last = network.transform, network.anchors[-1]
    config: dict[str, Any] = {
        "architecture": NAME,
        "num_classes": last["classes"],
        "num_features": last["layouts"][-1]["channels"],
        "model_args": {"config": document},
        "pretrained_cfg": {
            "num_classes": last["classes"],
            "input_size": list(transform.input_size),
            "fixed_input_size": True,
            "mean": list(transform.mean),
            "std": list(transform.std),
            "crop_pct": transform.crop,
            "crop_mode": "center",
            "interpolation": transform.interpolation,
            "pool_size": None,
            "first_conv": None,
            "classifier": None,
        },
    }
    if network.class_names is not None:
        config["label_names"] = list(network.class_names)
    write_json(config, path / CONFIG)


def read(path: Path, *, allow_code: bool = False) -> Run:
    """What was written, opened by timm."""
    return without_gradients(
        timm.create_model(f"local-dir:{path}", pretrained=True, allow_code=allow_code).eval()
    )


def lines(path: Path) -> tuple[str, ...]:
    """The Python that loads it and says how it takes an image."""
    return (
        "import klas, timm",
        f'network = timm.create_model("local-dir:{path}", pretrained=True).eval()',
        "how = timm.data.resolve_model_data_config(network)",
        "transform = timm.data.create_transform(**how)",
    )
