"""Make docs/architectures.md: how every family of networks in timm and torchvision can be cut.

``python docs/architectures.py`` takes the smallest model of each family, cuts it, chains the
parts and compares them with the whole, at a batch size that was not used for cutting.
"""

import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import timm
import torch
import torchvision
from rich.progress import track
from torch import nn

from klas.errors import AnchorError
from klas.networks.splitting.parts import Parts
from klas.networks.splitting.split import split

OUT = Path(__file__).with_suffix(".md")
SMALL = 128
"""Pixels of a side, for networks that take images of any size."""

HEAD = """# What can be cut

Made by `python docs/architectures.py` in {minutes:.0f} minutes of one core, with timm {timm},
torchvision {torchvision} and torch {torch}. A family is all models of one class whose names begin
with the same word, digits left out: `resnet18` and `resnet50` are of one family, `resnext50_32x4d`
is of another. Of each family the smallest model was tried, with random weights, at {small}×{small}
pixels, or at its own size where it takes no other.

*Every block* means that the network can be cut after each of its blocks: timm's, or where timm
groups whole stages or says nothing, the elements of its lists of modules; where blocks are single
layers or attributes, or pass on more than one tensor, a block is what lies between two places
where exactly one tensor passes. *Some* means that exactly one tensor passes after only as many
blocks as the table says. The difference is the largest one between the logits of the chained parts
and those of the whole, over a batch of four.

{every} families are cut at every block, {some} at some, and {refused} are refused.
"""

TABLE = """
## {library}

| class | model | pixels | cut | blocks | first cut | last cut | difference |
|---|---|--:|---|--:|---|---|--:|
"""


class Model(NamedTuple):
    """A network that can be made.

    Attributes:
        kind: its class, or the module of its class.
        side: of its images, in pixels.
        fixed: whether it takes no other size.
    """

    name: str
    kind: str
    side: int
    fixed: bool
    make: Callable[[], nn.Module]


def of_timm() -> Iterator[tuple[int, Model]]:
    """Number of parameters and model, for all models of timm but those for its own tests."""
    for name in timm.list_models(exclude_filters="test_*"):
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception as error:
            print(f"{name}: not built on meta ({error})", file=sys.stderr)
            continue
        config = model.pretrained_cfg
        yield (
            _size(model),
            Model(
                name=name,
                kind=type(model).__name__,
                side=config["input_size"][1],
                fixed=bool(config.get("fixed_input_size")),
                make=lambda name=name: timm.create_model(name),
            ),
        )


def of_torchvision() -> Iterator[tuple[int, Model]]:
    """The same of torchvision's classification models; a class is a module there."""
    for name in torchvision.models.list_models(torchvision.models):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        (side,) = weights.transforms().crop_size
        yield (
            weights.meta["num_params"],
            Model(
                name=name,
                kind=torchvision.models.get_model_builder(name).__module__,
                side=side,
                fixed=name.startswith(("vit", "maxvit")),
                make=lambda name=name: torchvision.models.get_model(name, **of_its_own(name)),
            ),
        )


def of_its_own(name: str) -> dict[str, bool]:
    """Options of torchvision's two models that would draw their weights for minutes."""
    return {"init_weights": False} if name in ("inception_v3", "googlenet") else {}


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def smallest_of_each_family(models: Iterator[tuple[int, Model]]) -> list[Model]:
    """The model with the fewest parameters of every family."""
    smallest: dict[tuple[str, str], tuple[int, Model]] = {}
    for size, model in track(models, "finding the families", transient=True):
        family = (model.kind, re.sub(r"\d", "", model.name.split("_")[0]))
        if family not in smallest or size < smallest[family][0]:
            smallest[family] = (size, model)
    return [model for _, (_, model) in sorted(smallest.items())]


def form(layout) -> str:
    """A layout in a few characters."""
    grid = "×".join(map(str, layout.grid))
    prefix = f"{layout.prefix} + " if layout.prefix else ""
    return f"{layout.form}, {prefix}{grid}, {layout.channels}"


@torch.inference_mode()
def difference(model: nn.Module, parts, images) -> float:
    """The largest difference between the chained parts and the whole."""
    activation = parts.stem(images)
    for block in parts.blocks:
        activation = block(activation)
    return float((parts.head(activation) - model(images)).abs().max())


def row(model: Model) -> tuple[str, str]:
    """The verdict (every, some or refused) on a network, and its row of the table."""
    torch.manual_seed(0)
    network = model.make().eval()
    side, parts = model.side, None
    if not model.fixed and side > SMALL:
        parts = cut(network, model.name, SMALL)
        side = SMALL if isinstance(parts, Parts) else side
    if not isinstance(parts, Parts):
        parts = cut(network, model.name, side)
    begin = f"| {type(network).__name__} | {model.name} | {side} "
    if not isinstance(parts, Parts):
        return "refused", f"{begin}| refused: {parts} | | | | |"
    verdict = "some" if parts.merged else "every"
    how = "some" if parts.merged else "every block"
    worst = difference(network, parts, torch.randn(4, 3, side, side))
    first, last = form(parts.layouts[0]), form(parts.layouts[-1])
    return verdict, f"{begin}| {how} | {len(parts.blocks)} | {first} | {last} | {worst:g} |"


def cut(network: nn.Module, name: str, side: int) -> Parts | str:
    """A network's parts, or why it has none."""
    try:
        return split(network, name, (3, side, side))
    except AnchorError as error:
        return str(error).split("cannot be cut at its blocks: ", 1)[1].split("; docs/")[0]


def main() -> None:
    """Write the page."""
    warnings.filterwarnings("ignore")
    begun = time.process_time()
    tables, verdicts = "", []
    for library, models in (("timm", of_timm()), ("torchvision", of_torchvision())):
        tables += TABLE.format(library=library)
        for model in track(smallest_of_each_family(models), f"cutting {library}'s"):
            verdict, text = row(model)
            verdicts.append(verdict)
            tables += text + "\n"
    counts = {verdict: verdicts.count(verdict) for verdict in ("every", "some", "refused")}
    head = HEAD.format(
        minutes=(time.process_time() - begun) / 60,
        small=SMALL,
        timm=timm.__version__,
        torchvision=torchvision.__version__.split("+")[0],
        torch=torch.__version__.split("+")[0],
        **counts,
    )
    OUT.write_text(head + tables, encoding="utf-8")
    print(counts)


if __name__ == "__main__":
    main()
