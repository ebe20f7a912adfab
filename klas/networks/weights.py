"""A network with its weights: timm's own for a pretrained tag, or those of a local file.

timm builds and loads in both cases, so its checkpoint filters apply. What is added here: an
answer at once where nothing can be downloaded, the number of classes that a file was trained
for, and one sentence for everything that can be wrong.
"""

import argparse
import contextlib
import io
import os
import pickle
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import PretrainedCfg, clean_state_dict, get_pretrained_cfg
from torch import Tensor, nn

from klas.errors import AnchorError
from klas.study import AnchorSpec

CONNECT_SECONDS = 3.0  # how long a download's address may take to answer at all
ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training loops keep the weights in a checkpoint, best first: timm's own order."""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them
_MISSING = re.compile(r"Missing key\(s\) in state_dict: (.*)\.")
_UNEXPECTED = re.compile(r"Unexpected key\(s\) in state_dict: (.*)\.")
_QUOTED = re.compile(r'"([^"]+)"')
_MISMATCH = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\(\[([\d, ]*)\]\) "
    r"from checkpoint, the shape in current model is torch\.Size\(\[([\d, ]*)\]\)"
)


def load_model(spec: AnchorSpec) -> tuple[nn.Module, dict[str, str]]:
    """The network in eval mode on the CPU, and where its weights come from.

    The origin is ``{"tag": …}`` or ``{"file": …}``, with the ``"entry"`` of a checkpoint that
    holds more than weights.

    Raises:
        AnchorError: the weights are absent, cannot be had without a network connection, are no
            plain tensors, are damaged or do not fit the model.
    """
    if spec.weights is None:
        return _pretrained(spec), {"tag": spec.model}
    state, entry = read_checkpoint(Path(spec.weights), spec.name)
    origin = {"file": spec.weights} | ({"entry": entry} if entry else {})
    return _from_state(spec, state), origin


def read_checkpoint(file: Path, name: str) -> tuple[dict[str, Tensor], str | None]:
    """A file's tensors, and the entry of :data:`ENTRIES` that held them, ``None`` at the top.

    Averaged weights come first, as in timm; prefixes of parallel and compiled training are
    removed. Code in a file is never run. ``name`` is the anchor's, for the error's sentence.

    Raises:
        AnchorError: no such file; it is damaged; or it holds something other than tensors.
    """
    if not os.path.isfile(file):  # Path's own method raises for what is no name at all
        raise AnchorError(f"{name}: the weights file {file} does not exist")
    checkpoint = _read_safetensors(file, name) if _is_safetensors(file) else _unpickle(file, name)
    entry = next((e for e in ENTRIES if isinstance(checkpoint.get(e), dict)), None)
    found = checkpoint[entry] if entry else checkpoint
    if not found or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
        raise AnchorError(
            f"{name}: {file} holds no weights under {', '.join(ENTRIES)} or at its top, where "
            f"it has {_listing(checkpoint)}; save the network's state_dict() alone"
        )
    return clean_state_dict(found), entry


def _is_safetensors(file: Path) -> bool:
    return file.suffix == ".safetensors"


def _read_safetensors(file: Path, name: str) -> dict[str, Any]:
    try:
        tensors: dict[str, Any] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise AnchorError(
            f"{name}: {file} cannot be loaded, it is cut off or no safetensors file "
            f"({_first_line(error)})"
        ) from None
    return tensors


def _unpickle(file: Path, name: str) -> dict[str, Any]:
    try:
        # timm's training script keeps its arguments, a Namespace, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:
            raise AnchorError(
                f"{name}: {file} cannot be loaded, it is no torch checkpoint of plain tensors and "
                "was not run; give a .pth, .pt or .safetensors file of a state_dict"
            ) from None
        raise AnchorError(
            f"{name}: {file} is a pickle that holds more than tensors ({forbidden[1]}) and was "
            "not run; save its state_dict as safetensors"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise AnchorError(
            f"{name}: {file} cannot be loaded, it is cut off or no torch checkpoint "
            f"({_first_line(error)})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise AnchorError(
            f"{name}: {file} holds a {type(checkpoint).__name__}, not a state_dict; "
            "save the network's state_dict() alone"
        )
    return checkpoint


def _from_state(spec: AnchorSpec, state: dict[str, Tensor]) -> nn.Module:
    """The model with as many classes as the file's own classifier has."""
    config = get_pretrained_cfg(spec.model)
    classifiers = _names(config.classifier if config else None)
    heads = (state[n] for n in map(_weight, classifiers) if n in state)
    rows = next((head.shape[0] for head in heads if head.dim()), None)
    try:
        try:
            model = _build(spec, state, rows)
        except RuntimeError as error:
            # timm's filter may have given the classifier its name only now.
            rows = _other_classes(str(error), classifiers)
            if rows is None:
                raise
            model = _build(spec, state, rows)
    except Exception as error:  # filters are given tensors that they were not written for
        raise AnchorError(_misfit(spec, error)) from None
    _refuse_silent_gaps(spec, model, state)
    return model


def _build(spec: AnchorSpec, state: dict[str, Tensor], classes: int | None) -> nn.Module:
    overlay: dict[str, Any] = {"state_dict": state}
    if classes is not None:
        # In the weights' own configuration: as an argument it would make timm drop the classifier.
        overlay["num_classes"] = classes
    model: Any = _create(spec.model, overlay)
    model.pretrained_cfg.pop("state_dict", None)  # or the model would hold its weights twice
    whole: nn.Module = model
    return whole


def _refuse_silent_gaps(spec: AnchorSpec, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Some of timm's models load leniently. A file in the model's own names must name them all."""
    wanted = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    lacking = [k for k in wanted if k not in state]
    if lacking and set(state) <= set(model.state_dict()):
        raise AnchorError(f"{_no_fit(spec)}: it lacks {_listing(lacking)}")


def _pretrained(spec: AnchorSpec) -> nn.Module:
    config = get_pretrained_cfg(spec.model)
    if config is None or not config.has_weights:
        raise AnchorError(
            f"{spec.name}: timm has no weights for {spec.model}; give `weights`, or one of "
            "the names of timm.list_pretrained()"
        )
    overlay: dict[str, Any] | None = None
    if not config.file:
        local = _local_copy(config)
        if local is not None:
            # Named as a file it is loaded without a word to the hub.
            overlay = {"file": str(local)}
        else:
            _refuse_unreachable(spec, _address(config))
    try:
        return _create(spec.model, overlay)
    except Exception as error:  # the hub's, torch's and timm's own are of no common kind
        raise AnchorError(
            f"{spec.name}: timm's weights of {spec.model} cannot be loaded ({_first_line(error)})"
        ) from None


def _local_copy(config: PretrainedCfg) -> Path | None:
    """The tag's file in the caches that timm downloads to."""
    if not config.hf_hub_id:
        copy = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(config.url).path).name
        return copy if copy.is_file() else None
    repository, _, revision = config.hf_hub_id.partition("@")
    for file in _names(config.hf_hub_filename) or _HUB_FILES:
        found = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _address(config: PretrainedCfg) -> str:
    if not config.hf_hub_id:
        return str(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    file = config.hf_hub_filename or _HUB_FILES[0]
    return huggingface_hub.hf_hub_url(repository, file, revision=revision or None)


def _refuse_unreachable(spec: AnchorSpec, address: str) -> None:
    """Ask once, briefly: the download itself would try again and again for most of a minute.

    The hub's own session is what asks, so its proxies and HF_HUB_OFFLINE hold here too.
    """
    try:
        status = huggingface_hub.get_session().head(address, timeout=CONNECT_SECONDS).status_code
        problem = None if status < 500 else f"status {status}"
    except Exception as error:  # of whichever HTTP library the hub's client is made
        problem = type(error).__name__
    if problem is not None:
        raise AnchorError(
            f"{spec.name}: the weights of {spec.model} are not on this machine and "
            f"{urlsplit(address).netloc} cannot be reached ({problem}); go online once, or give "
            "a local file as `weights`"
        )


def _create(model: str, overlay: dict[str, Any] | None) -> nn.Module:
    with contextlib.redirect_stdout(io.StringIO()):  # some constructors print
        network: nn.Module = timm.create_model(
            model, pretrained=True, pretrained_cfg_overlay=overlay
        )
    return network.eval()


def _other_classes(message: str, classifiers: Sequence[str]) -> int | None:
    """The file's number of classes, if the classifier is all that does not fit."""
    if _MISSING.search(message) or _UNEXPECTED.search(message):
        return None
    shapes = {name: there for name, there, _ in _MISMATCH.findall(message)}
    allowed = {f"{name}.{kind}" for name in classifiers for kind in ("weight", "bias")}
    weights = [n for n in map(_weight, classifiers) if n in shapes]
    if not weights or not set(shapes) <= allowed:
        return None
    return int(shapes[weights[0]].split(",")[0])


def _misfit(spec: AnchorSpec, error: Exception) -> str:
    message = str(error)
    parts = []
    if found := _MISSING.search(message):
        parts.append(f"it lacks {_listing(_QUOTED.findall(found[1]))}")
    if found := _UNEXPECTED.search(message):
        parts.append(f"the model has no place for its {_listing(_QUOTED.findall(found[1]))}")
    mismatches = _MISMATCH.findall(message)
    if mismatches:
        name, there, here = mismatches[0]
        more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
        parts.append(f"{name!r} is ({there}) there and ({here}) in the model{more}")
    return f"{_no_fit(spec)}: {'; '.join(parts) or _first_line(error)}"


def _no_fit(spec: AnchorSpec) -> str:
    return f"{spec.name}: the weights of {spec.weights} do not fit {spec.model}"


def _listing(names: Iterable[str]) -> str:
    """The first three names, and how many there are."""
    listed = list(names)
    shown = ", ".join(repr(n) for n in listed[:3])
    return shown if len(listed) <= 3 else f"{shown} … ({len(listed)} in all)"


def _names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if not value else (value,) if isinstance(value, str) else tuple(value)


def _weight(classifier: str) -> str:
    return f"{classifier}.weight"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
