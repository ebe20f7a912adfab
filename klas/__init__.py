"""KLAS: find the networks between your pretrained networks.

The names below are the public face; what needs torch is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from klas.errors import KlasError
from klas.store import Store
from klas.study import DIGITS, Study, load_study

if TYPE_CHECKING:
    from klas.networks.anchor import Anchor, Transform
    from klas.pipeline import Pipeline
    from klas.reload import load_stitch

__all__ = [
    "DIGITS",
    "Anchor",
    "KlasError",
    "Pipeline",
    "Store",
    "Study",
    "Transform",
    "load_stitch",
    "load_study",
]

_LAZY = {
    "Anchor": "klas.networks.anchor",
    "Transform": "klas.networks.anchor",
    "Pipeline": "klas.pipeline",
    "load_stitch": "klas.reload",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'klas' has no attribute {name!r}")
