"""Which modules of a network are its blocks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from timm.models._manipulate import group_with_matcher
from torch import nn

Owners = Mapping[str, int | None]
"""Name of a parameter → number of the block that it belongs to."""

JOINS = (99999,)  # timm's mark for what belongs to the group before it


def block_of_parameter(model: nn.Module, *, whole: bool = False) -> Owners:
    """For every parameter the number of its block; None in the stem, the head and between blocks.

    timm's own groups for layer-wise learning rates say what a block is. Where such a group is a
    whole stage, and in a network without groups, the elements of its lists of modules do.

    Args:
        model: the network.
        whole: whether timm's groups are taken as they are, never apart: a list in a group may be
            of modules that run side by side.
    """
    names = [name for name, _ in model.named_parameters()]
    groups = _timm_groups(model, names, whole=whole)
    if groups is None:
        paths = _elements(model, "") or _elements(model, "", plain=True)
        groups = [_under(names, path) for path in paths]
    blocks: list[tuple[str, ...]] = []
    for members in filter(None, groups):
        inner = [] if whole else _repeated(model, members)
        blocks += [_under(names, path) for path in inner] if inner else [members]
    # Scales and biases alone are a normalisation, which is no block whatever its group is called.
    flat = {name for name, parameter in model.named_parameters() if parameter.dim() < 2}
    blocks = [block for block in blocks if not flat.issuperset(block)]
    return dict.fromkeys(names) | {n: number for number, block in enumerate(blocks) for n in block}


def _under(names: Sequence[str], path: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith(path + "."))


def _timm_groups(
    model: nn.Module, names: Sequence[str], *, whole: bool
) -> list[tuple[str, ...]] | None:
    """The parameters of each of timm's block groups; None where the network has no groups."""
    grouping: Any = getattr(model, "group_matcher", None)
    matcher = grouping(coarse=False) if grouping is not None else None
    if matcher is None or (isinstance(matcher, Mapping) and "blocks" not in matcher):
        return None
    if isinstance(matcher, Mapping):
        blocks = matcher["blocks"]
        if not isinstance(blocks, str):
            blocks = [entry for entry in blocks if not _is_behind(*entry, whole=whole)]
        matcher = {"stem": matcher.get("stem"), "blocks": blocks}
        stem = _grouped(names, {"stem": matcher["stem"]})[:-1]
        outside = {name for group in stem for name in group}
    else:
        classifier = str(getattr(model, "pretrained_cfg", {}).get("classifier", "fc"))
        outside = {name for name in names if name.startswith(classifier + ".")}
        outside |= set(_grouped(names, matcher)[0])
    groups = _grouped(names, matcher)[:-1]
    inside = [tuple(n for n in group if n not in outside) for group in groups]
    return [group for group in inside if group]


def _is_behind(pattern: str, suffix: tuple[int, ...] | None, *, whole: bool) -> bool:
    """Whether a pattern that joins what precedes it is read as what follows the last block.

    Where groups are taken as they are, one that names a stage ends its last block.
    """
    return suffix == JOINS and not (whole and re.compile(pattern).groups)


def _grouped(names: Sequence[str], matcher: Any) -> list[list[str]]:
    """Names by group, in order. The last group is what no pattern matches; it may be empty."""
    nothing = "\0"  # no parameter is called so: it marks the group of what is not matched
    named = ((name, name) for name in (*names, nothing))
    groups = list(group_with_matcher(named, matcher).values())
    last = next(group for group in groups if nothing in group)
    rest = [list(group) for group in groups if group is not last]
    return [*rest, [name for name in last if name != nothing]]


def _repeated(model: nn.Module, members: Sequence[str]) -> list[str]:
    """The paths of a stage's blocks, if these parameters are those of a stage; else none.

    A stage is a list of several modules of one class.
    """
    paths = [name.split(".") for name in members]
    first, last = min(paths), max(paths)  # what these two share, all in between share
    same = next((k for k, (a, b) in enumerate(zip(first, last)) if a != b), len(first) - 1)
    prefix = ".".join(first[:same])
    elements = _elements(model.get_submodule(prefix), prefix)
    kinds = {type(model.get_submodule(path)) for path in elements}
    return elements if len(elements) > 1 and len(kinds) == 1 else []


def _elements(module: nn.Module, prefix: str, *, plain: bool = False) -> list[str]:
    """Paths of the composite elements of a module's outermost lists.

    Args:
        plain: whether a ``Sequential`` of single layers is an element too.
    """
    elements = []
    listed = isinstance(module, nn.Sequential | nn.ModuleList)
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        inner = isinstance(child, nn.Sequential | nn.ModuleList)
        if inner or not listed:
            deeper = _elements(child, path, plain=plain)
            whole = plain and listed and inner and len(list(child.children())) > 1
            elements += deeper or ([path] if whole else [])
        elif any(True for _ in child.children()):
            elements.append(path)
    return elements
