"""``klas doctor``: what a bug report should say of this machine, on one screen."""

import argparse
import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Any

from klas.cli.steps import output
from klas.cli.tables.doctor import doctor_lines
from klas.errors import KlasError
from klas.results.health import examine
from klas.results.usage import usage
from klas.storage.files import default_root
from klas.storage.store import Store

PACKAGES = (
    "klas", "torch", "timm", "numpy", "pydantic", "safetensors", "diskcache", "streamlit", "plotly",
    "ray", "onnx", "onnxruntime", "onnxscript", "datasets",
)  # fmt: skip
"""Those whose versions explain most; the last five are optional."""


def doctor(options: argparse.Namespace) -> None:
    """Print devices, versions, the cache's health, free space, and whether weights can be had.

    All that is stored is read, as by `klas cache verify`. What is wrong is a line, not an error.
    """
    document = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _device(options.device),
        "cache": _cache(options.cache_dir or default_root()),
        "pretrained": _pretrained(),
    }
    output(options, document, lambda: doctor_lines(document))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(wanted: str) -> dict[str, Any]:
    import torch

    from klas.networks.device import forward_precision, pick_device, visible_devices
    from klas.pipeline.engines.processes import usable_cores
    from klas.pipeline.recipes.latency import device_name

    try:
        device = pick_device(wanted)
    except KlasError as error:
        return {"problem": str(error)}
    return {
        "name": str(device),
        "makers_name": device_name(device),
        "count": len(visible_devices(device)),
        "precision": forward_precision(device),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "problem": None,
    }


def _cache(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"folder": _short(root), "problem": None}
    try:
        with Store(root) as store:
            health = examine(store)
            found |= {
                "read_only": store.read_only,
                "bytes": usage(store).bytes,
                "free_bytes": shutil.disk_usage(store.root).free,
                "health": health.to_json(),
                "wrong": health.problem,
            }
    except KlasError as error:
        found["problem"] = str(error).replace(str(root), _short(root))
    except Exception as error:  # a doctor has to live through whatever it finds
        found["problem"] = f"cannot be looked at ({type(error).__name__})"
    return found


def _short(path: Path) -> str:
    """A path without the user's name, for a report that others read."""
    absolute = path.absolute()
    try:
        return str(Path("~") / absolute.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # elsewhere, or nobody knows where home is
        return str(absolute)


def _pretrained() -> dict[str, Any]:
    from huggingface_hub import constants

    from klas.networks.pretrained import unreachable

    return {"address": constants.ENDPOINT, "problem": unreachable(constants.ENDPOINT)}
