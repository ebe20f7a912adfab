"""Networks that a user's function makes: ``"package.module:factory"``, only when allowed."""

import hashlib
import importlib
import inspect
import re
import sys
from pathlib import Path

from torch import nn

from klas.errors import AnchorError
from klas.foreign import reading
from klas.networks.accepted import refuse_wrapped
from klas.networks.checkpoint import read_checkpoint, shared_filled
from klas.networks.weights_folder import weights_file
from klas.study import AnchorSpec

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_factory(spec: AnchorSpec) -> bool:
    """Whether an anchor's model names a Python function."""
    return _FUNCTION.fullmatch(spec.model) is not None


def check_allowed(spec: AnchorSpec, allow_code: bool) -> None:
    """Refuse to run code that was not allowed.

    Raises:
        AnchorError: it was not.
    """
    if not allow_code:
        raise AnchorError(
            f"{spec.name}: {spec.model} is Python code, which is run only where you allow it: "
            "add --allow-code on the command line (allow_code=True in Python)"
        )


def build(spec: AnchorSpec) -> tuple[nn.Module, dict[str, str]]:
    """The network that the function makes, in eval mode, and where it and its weights come from.

    The anchor's weights are loaded into it where the anchor names a file. The module may carry a
    ``pretrained_cfg`` with ``input_size``, ``mean`` and ``std``, as timm's do; without one they are
    224 pixels and ImageNet's.

    Raises:
        AnchorError: there is no such function, it fails, it returns something else than a module,
            one that is parallel, compiled or not in single precision, or the weights do not fit.
    """
    path, _, name = spec.model.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    try:
        module = getattr(importlib.import_module(path), name)()
    except Exception as error:  # the user's code may raise anything
        raise AnchorError(
            f"{spec.name}: {spec.model} gave {type(error).__name__}: {error}"
        ) from None
    if not isinstance(module, nn.Module):
        raise AnchorError(
            f"{spec.name}: {spec.model} returned {type(module).__name__}, not an nn.Module"
        )
    refuse_wrapped(module, spec.name)
    origin = {"code": spec.model, "source": _source_digest(path, module)}
    if spec.weights is not None:
        state, entry = read_checkpoint(weights_file(spec.weights, spec.name), spec.name)
        wrong = f"{spec.name}: the weights of {spec.weights} do not fit {spec.model}"
        with reading(AnchorError, wrong, "name others"):
            try:
                module.load_state_dict(shared_filled(state, module))
            except RuntimeError as error:
                detail = " ".join(str(error).split())[:200]
                raise AnchorError(f"{wrong}: {detail}") from None
        origin |= {"file": spec.weights} | ({"entry": entry} if entry else {})
    return module.eval(), origin


def _source_digest(path: str, module: nn.Module) -> str:
    """SHA-256 of the source files of the function and of the network's classes.

    Results depend on them as on the weights. Files of torch and timm don't count.
    """
    names = {path} | {type(part).__module__ for part in module.modules()}
    total = hashlib.sha256()
    for name in sorted(n for n in names if n.partition(".")[0] not in ("torch", "timm")):
        total.update(f"{name}\n".encode())
        try:
            total.update(inspect.getsource(sys.modules[name]).encode())
        except (OSError, TypeError, KeyError):  # made at run time: there is no file to read
            total.update(b"?")
    return total.hexdigest()
