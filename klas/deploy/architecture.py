"""An anchor without its weights: described in plain values, and built again from them."""

import contextlib
import inspect
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import timm
from timm.models import get_model_args
from torch import nn

from klas.errors import AnchorError, FormatError, one_line
from klas.networks import factory
from klas.networks.anchor import Anchor, TextInput, Transform
from klas.networks.decoders.anchor import decoder_anchor
from klas.networks.decoders.load import blank_decoder, config_of_decoder
from klas.networks.fusing import fused_network
from klas.networks.load import check_model_name
from klas.networks.segmenter import Segmenter
from klas.networks.splitting.split import SPLITTER
from klas.pipeline.scores_document import made_with
from klas.results.documents.networks import Architecture, Saved
from klas.results.documents.sources import Layout, TextTransform, of_image, text_length
from klas.results.documents.sources import Transform as TransformEntry
from klas.study import AnchorSpec, TaskName
from klas.tasks.task import task_named

# Of a stranger's file only what makes the network counts, nothing that opens a file or a hub.
_NOT_THE_NETWORKS = frozenset(inspect.signature(timm.create_model).parameters)


def describe(anchor: Anchor) -> Architecture:
    """All that it takes to build an anchor again, but for its weights.

    Raises:
        AnchorError: it was made with arguments that a file can't hold.
    """
    info = anchor.info
    described: Architecture = {
        "name": info.name,
        "model": info.model,
        "arguments": None if "code" in info.weights else _arguments(anchor),
        "source": info.weights.get("source"),
        "splitter": SPLITTER,
        "transform": cast(TransformEntry, info.transform.to_json()),
        "columns": None if info.columns is None else list(info.columns),
        "classes": info.classes,
        "blocks": info.depth,
        "cuts": list(info.cuts),
        "layouts": [cast(Layout, layout.to_json()) for layout in info.layouts],
    }
    if info.image_size is not None:
        described["image_size"] = list(info.image_size)
    if info.fused:
        described["fused"] = True
    if info.plain_head is not None:
        described["plain_head"] = info.plain_head
    return described


def rebuild(described: Architecture, where: str, *, allow_code: bool = False) -> Anchor:
    """The anchor with weights that mean nothing yet, in eval mode on the CPU.

    No hub, no data and no cache is asked.

    Args:
        described: of :func:`describe`.
        where: the file that says so, for an error's sentence.
        allow_code: whether the network may be a Python function of the user's, which is then run.

    Raises:
        AnchorError: timm has no such model, or the function is not there or not allowed.
        FormatError: what is built is not what is described.
    """
    if (length := text_length(described["transform"])) is not None:
        anchor = _decoder(described, length)
    else:
        anchor = _network(described, where, allow_code)
    select_columns(anchor, described["columns"], where)
    built = describe(anchor)
    for key, value in described.items():
        if built.get(key) != value:
            raise FormatError(
                f"{where}: anchor {described['name']}: {key} is another one here than where the "
                "network was saved; install the versions that `made_with` names, or save it again"
            )
    return anchor.eval()


def _network(described: Architecture, where: str, allow_code: bool) -> Anchor:
    """A network of images."""
    name, size = described["name"], described.get("image_size")
    spec = AnchorSpec(name=name, model=described["model"])
    check_model_name(spec, allow_code=allow_code)
    if factory.is_factory(spec):
        model, origin = factory.build(spec)
    else:
        model, origin = _timm_network(described, where), {"tag": described["model"]}
    transform = transform_of(described)
    if (classes := described.get("plain_head")) is not None:
        model = Segmenter(model, name, classes=classes, input_size=transform.input_size).eval()
    if fused := described.get("fused", False):
        model = fused_network(model, name, transform.input_size)
    anchor = Anchor.from_module(model, name, transform=transform, model=spec.model, origin=origin)
    anchor.info = replace(
        anchor.info, image_size=(size[0], size[1]) if size else None, fused=bool(fused)
    )
    return anchor


def _decoder(described: Architecture, length: int) -> Anchor:
    stated = cast(TextTransform, described["transform"])
    return decoder_anchor(
        blank_decoder(described["arguments"] or {}, described["name"]),
        described["name"],
        transform=TextInput(tokenizer=stated["tokenizer"], length=length),
        model=described["model"],
        origin={"tag": described["model"]},
    )


def rebuild_all(
    described: Iterable[Architecture], where: str, *, allow_code: bool = False
) -> dict[str, Anchor]:
    """Several anchors, by name, as :func:`rebuild` makes them."""
    return {entry["name"]: rebuild(entry, where, allow_code=allow_code) for entry in described}


def saved(
    anchors: Iterable[Architecture], *, task: TaskName, class_names: Sequence[str] | None
) -> Saved:
    """What documents of saved networks share; ``weights`` is filled when they are written."""
    return {
        "made_with": made_with(),
        "task": task,
        "accuracy_metric": task_named(task).metric.name,
        "class_names": None if class_names is None else list(class_names),
        "anchors": list(anchors),
        "weights": {"name": "", "sha256": ""},
    }


def select_columns(anchor: Anchor, columns: Sequence[int] | None, where: str) -> None:
    """Let an anchor give the outputs that a file states.

    Raises:
        FormatError: its head has fewer.
    """
    if columns is not None and max(columns) >= anchor.info.classes:
        raise FormatError(
            f"{where}: anchor {anchor.info.name}: column {max(columns)} is stated, but its head "
            f"has {anchor.info.classes} outputs"
        )
    anchor.select(None if columns is None else tuple(columns))


def transform_of(described: Architecture) -> Transform:
    """How it takes an image."""
    stated = of_image(described["transform"])
    channels, height, width = stated["input_size"]
    return Transform(
        input_size=(channels, height, width),
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
        crop=stated["crop"],
        interpolation=stated["interpolation"],
        whole=stated.get("whole", False),
    )


def _arguments(anchor: Anchor) -> dict[str, Any]:
    whole = anchor.network
    if isinstance(anchor.info.transform, TextInput):
        return config_of_decoder(whole)
    network = whole.backbone if isinstance(whole, Segmenter) else whole
    if not hasattr(network, "_model_args"):
        raise AnchorError(
            f"{anchor.info.name}: nothing says how {type(network).__name__} is made; make "
            "it in a function (package.module:function) and name that as the model"
        )
    try:
        made: dict[str, Any] = json.loads(json.dumps(get_model_args(network)))
    except (TypeError, ValueError) as error:
        raise AnchorError(
            f"{anchor.info.name}: it was made with arguments that a file can't hold "
            f"({one_line(error)}); make it in a function (package.module:function) and name that "
            "as the model"
        ) from None
    return made


def _timm_network(described: Architecture, where: str) -> nn.Module:
    name, arguments = described["name"], described["arguments"] or {}
    if refused := sorted(_NOT_THE_NETWORKS & arguments.keys()):
        raise FormatError(f"{where}: anchor {name}: {refused[0]} is no argument of a network")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # some constructors print
            network: nn.Module = timm.create_model(
                described["model"].partition(".")[0], pretrained=False, **arguments
            )
    except Exception as error:  # a constructor may raise anything
        raise AnchorError(
            f"{name}: timm cannot make {described['model']} as {where} says ({one_line(error)})"
        ) from None
    return network.eval()
