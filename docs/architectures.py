"""Make docs/architectures.md: how every class of networks in timm can be cut.

``python docs/architectures.py`` takes the smallest model of each class, cuts it, chains the
parts and compares them with the whole, at a batch size that was not used for cutting.
"""

import sys
import warnings
from pathlib import Path

import timm
import torch
from rich.progress import track
from torch import nn

from klas.errors import AnchorError
from klas.networks.splitting.split import split

OUT = Path(__file__).with_suffix(".md")
HEAD = """# What can be cut

Made by `python docs/architectures.py` with timm {timm} and torch {torch}, from the smallest model
of every class of networks in timm, with random weights, at its own input size. *Every block* means
that the network can be cut after each of timm's blocks (or, where timm groups whole stages, after
each element of their lists); *some* means that exactly one tensor passes after only as many blocks
as the table says. The difference is the largest one between the logits of the chained parts and
those of the whole, over a batch of four.

{every} classes are cut at every block, {some} at some, and {refused} are refused.

| class | model | cut | blocks | first cut | last cut | difference |
|---|---|---|--:|---|---|--:|
"""


def smallest_of_each_class() -> dict[str, str]:
    """Class → its model with the fewest parameters."""
    smallest: dict[str, tuple[int, str]] = {}
    for name in track(timm.list_models(), "finding the classes", transient=True):
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except Exception as error:
            print(f"{name}: not built on meta ({error})", file=sys.stderr)
            continue
        kind = type(model).__name__
        size = sum(p.numel() for p in model.parameters())
        if "test_" not in name and (kind not in smallest or size < smallest[kind][0]):
            smallest[kind] = (size, name)
    return {kind: name for kind, (_, name) in sorted(smallest.items())}


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


def row(kind: str, name: str) -> tuple[str, str]:
    """The verdict (every, some or refused) on a class of networks, and its row of the table."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    size = tuple(model.pretrained_cfg["input_size"])
    try:
        parts = split(model, name, size)
    except AnchorError as error:
        why = str(error).split("blocks: ", 1)[1].split("; docs/")[0]
        return "refused", f"| {kind} | {name} | refused: {why} | | | | |"
    verdict = "some" if parts.merged else "every"
    cut = "every block" if not parts.merged else "some"
    worst = difference(model, parts, torch.randn(4, *size))
    first, last = form(parts.layouts[0]), form(parts.layouts[-1])
    return (
        verdict,
        f"| {kind} | {name} | {cut} | {len(parts.blocks)} | {first} | {last} | {worst:g} |",
    )


def main() -> None:
    """Write the table."""
    warnings.filterwarnings("ignore")
    rows = [row(*item) for item in track(list(smallest_of_each_class().items()), "cutting")]
    counts = {
        verdict: sum(v == verdict for v, _ in rows) for verdict in ("every", "some", "refused")
    }
    head = HEAD.format(timm=timm.__version__, torch=torch.__version__.split("+")[0], **counts)
    OUT.write_text(head + "\n".join(text for _, text in rows) + "\n", encoding="utf-8")
    print(counts)


if __name__ == "__main__":
    main()
