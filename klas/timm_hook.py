"""Let timm know our exported networks once klas is imported, without importing timm."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

MODEL = "klas.deploy.export.timm_model"
"""The module that registers them when it is imported."""


def register_with_timm() -> None:
    """Register them now if timm is imported, or else right after it will be."""
    if "timm" in sys.modules:
        import_module(MODEL)
    else:
        sys.meta_path.insert(0, _AfterTimm())


class _AfterTimm(MetaPathFinder):
    """Stands aside for every import but the first of timm, to which it adds something."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of timm, whose loader registers our models when it is done."""
        if name != "timm":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            run = loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                import_module(MODEL)

            loader.exec_module = run_and_register
        return spec
