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
from klas.storage.exports import export_bytes
from klas.storage.files import default_root
from klas.storage.store import Store, is_read_only
from klas.storage.trained import trained_bytes
from klas.storage.upkeep import glance

PACKAGES = (
    "klas", "torch", "timm", "numpy", "pydantic", "safetensors", "diskcache", "streamlit", "plotly",
    "transformers", "rouge-score", "ray", "onnx", "onnxruntime", "onnxscript", "datasets",
)  # fmt: skip
"""Those whose versions explain most; from transformers on they are optional."""


def doctor(options: argparse.Namespace) -> None:
    """Print devices, versions, the cache's health, free space, and whether weights can be had.

    It is a look: nothing is changed, and of what is stored only names and sizes are compared, which
    is quick. What is wrong is a line, not an error.
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
    if not root.exists():
        return found | {"problem": "is not there yet; the first command makes it"}
    if not root.is_dir():
        return found | {"problem": "is no folder; name another with --cache-dir or KLAS_CACHE_DIR"}
    try:
        with Store(root, look=True) as store:
            seen = glance(store)
            found |= {
                "read_only": is_read_only(root),
                "bytes": seen.bytes + export_bytes(store) + trained_bytes(store),
                "free_bytes": shutil.disk_usage(root).free,
                "results": seen.results,
                "missing": seen.missing,
                "unlisted": seen.unlisted,
                "rows": seen.rows,
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
