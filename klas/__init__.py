"""KLAS: find the networks between your pretrained networks.

The names below are the public face. What takes long to import, as torch does, is loaded when it is
first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from klas.errors import KlasError
from klas.study import DIGITS, Study, load_study
from klas.timm_hook import register_with_timm

if TYPE_CHECKING:
    from klas.deploy.elastic import Elastic
    from klas.deploy.load import elastic_of_list, load, load_stitch
    from klas.deploy.network import Network
    from klas.networks.anchor import Anchor, Transform
    from klas.pipeline.run import Pipeline
    from klas.storage.store import Store

__all__ = [
    "DIGITS",
    "Anchor",
    "Elastic",
    "KlasError",
    "Network",
    "Pipeline",
    "Store",
    "Study",
    "Transform",
    "elastic_of_list",
    "load",
    "load_stitch",
    "load_study",
]

_LAZY = {
    "Anchor": "klas.networks.anchor",
    "Elastic": "klas.deploy.elastic",
    "Network": "klas.deploy.network",
    "Pipeline": "klas.pipeline.run",
    "Store": "klas.storage.store",
    "Transform": "klas.networks.anchor",
    "elastic_of_list": "klas.deploy.load",
    "load": "klas.deploy.load",
    "load_stitch": "klas.deploy.load",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'klas' has no attribute {name!r}")


register_with_timm()
