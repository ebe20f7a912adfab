"""A timm network with its weights: those of a pretrained tag, or those of a local file.

timm builds and loads in both cases, so its checkpoint filters apply. Added here for a file: as
many classes as it was trained for, and one sentence about weights that do not fit.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from klas.errors import AnchorError, listing, one_line
from klas.networks.checkpoint import read_checkpoint
from klas.networks.pretrained import create_network, load_pretrained, pixels
from klas.networks.weights_folder import WeightsConfig, weights_file
from klas.study import AnchorSpec

_MISSING = re.compile(r"Missing key\(s\) in state_dict: (.*)\.")
_UNEXPECTED = re.compile(r"Unexpected key\(s\) in state_dict: (.*)\.")
_QUOTED = re.compile(r'"([^"]+)"')
_MISMATCH = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\(\[([\d, ]*)\]\) "
    r"from checkpoint, the shape in current model is torch\.Size\(\[([\d, ]*)\]\)"
)


def load_model(
    spec: AnchorSpec, config: WeightsConfig | None = None
) -> tuple[nn.Module, dict[str, str]]:
    """The network in eval mode on the CPU, and where its weights come from.

    Args:
        spec: the anchor.
        config: what is said beside its file of weights; it replaces timm's own preprocessing.

    The origin is ``{"tag": …}`` or ``{"file": …}``, with the ``"entry"`` of a checkpoint that
    holds more than weights.

    Raises:
        AnchorError: the weights are missing, cannot be downloaded, are not plain tensors, are
            damaged or do not fit the model.
    """
    if spec.weights is None:
        return load_pretrained(spec), {"tag": spec.model}
    state, entry = read_checkpoint(weights_file(spec.weights, spec.name), spec.name)
    origin = {"file": spec.weights} | ({"entry": entry} if entry else {})
    return _from_state(spec, state, config.preprocessing if config else {}), origin


def _from_state(
    spec: AnchorSpec, state: dict[str, Tensor], preprocessing: Mapping[str, Any]
) -> nn.Module:
    """The model with as many classes as the file's own classifier has."""
    config = get_pretrained_cfg(spec.model)
    names = (config.classifier if config else None) or ()
    classifiers = (names,) if isinstance(names, str) else tuple(names)
    heads = (state[n] for n in map(_weight, classifiers) if n in state)
    rows = next((head.shape[0] for head in heads if head.dim()), None)
    try:
        try:
            model = _build(spec, state, rows, preprocessing)
        except RuntimeError as error:
            # timm's filter may have given the classifier its name only now.
            rows = _other_classes(str(error), classifiers)
            if rows is None:
                raise
            model = _build(spec, state, rows, preprocessing)
    except Exception as error:  # filters are given tensors that they were not written for
        raise AnchorError(_misfit(spec, error)) from None
    _refuse_silent_gaps(spec, model, state)
    return model


def _build(
    spec: AnchorSpec,
    state: dict[str, Tensor],
    classes: int | None,
    preprocessing: Mapping[str, Any],
) -> nn.Module:
    overlay: dict[str, Any] = {**preprocessing, "state_dict": state}
    if classes is not None:
        # In the weights' own configuration: as an argument it would make timm drop the classifier.
        overlay["num_classes"] = classes
    model = create_network(spec, overlay)
    config: Any = model.pretrained_cfg
    config.pop("state_dict", None)  # or the model would hold its weights twice
    return model


def _refuse_silent_gaps(spec: AnchorSpec, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Refuse a file in the model's own names that lacks some: some models load leniently."""
    wanted = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    lacking = [k for k in wanted if k not in state]
    if lacking and set(state) <= set(model.state_dict()):
        raise AnchorError(f"{_no_fit(spec)}: it lacks {listing(lacking)}")


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
    if missing := _MISSING.search(message):
        parts.append(f"it lacks {listing(_QUOTED.findall(missing[1]))}")
    if unexpected := _UNEXPECTED.search(message):
        parts.append(f"the model has no place for its {listing(_QUOTED.findall(unexpected[1]))}")
    mismatches = _MISMATCH.findall(message)
    if mismatches:
        name, there, here = mismatches[0]
        more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
        parts.append(f"{name!r} is ({there}) there and ({here}) in the model{more}")
    return f"{_no_fit(spec)}: {'; '.join(parts) or one_line(error)}"


def _no_fit(spec: AnchorSpec) -> str:
    size = f" at {pixels(spec.image_size)}" if spec.image_size else ""
    return f"{spec.name}: the weights of {spec.weights} do not fit {spec.model}{size}"


def _weight(classifier: str) -> str:
    return f"{classifier}.weight"
