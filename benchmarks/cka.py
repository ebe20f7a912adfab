"""Row ``cka``: minibatch CKA of all pairs of cuts beside ``torch_cka``."""

import io
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stderr
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.harness import Claim, NotMeasuredError, Row, Sides, faster, seconds_of
from klas.measures.cka import CHUNK, GramMatrices, cka_terms
from klas.networks.anchor import Anchor
from klas.selection.scores import cka


class _Recorded(nn.Module):
    """A network whose layers give recorded activations (N, …), so that no forward pass counts."""

    def __init__(self, activations: list[Tensor]) -> None:
        super().__init__()
        self._activations = activations
        self.layers = nn.ModuleList(nn.Identity() for _ in activations)

    def forward(self, samples: Tensor) -> None:
        first, last = int(samples[0]), int(samples[-1])
        for layer, activation in zip(self.layers, self._activations):
            layer(activation[first : last + 1])


def _theirs(
    package: Any, first: list[Tensor], second: list[Tensor], device: torch.device
) -> NDArray[np.float64]:
    """CKA (I, J) by ``torch_cka``, batches of 64."""
    loader = [(samples,) for samples in torch.arange(len(first[0])).split(CHUNK)]
    names = [[f"layers.{k}" for k in range(len(side))] for side in (first, second)]
    nets = [_Recorded(side) for side in (first, second)]
    comparison = package.CKA(*nets, "first", "second", *names, device=str(device))
    with torch.no_grad(), redirect_stderr(io.StringIO()):  # its progress bar
        comparison.compare(_Loader(loader), _Loader(loader))
    return cast(NDArray[np.float64], comparison.export()["CKA"].double().numpy())


class _Loader(list[tuple[Tensor, ...]]):
    """Batches with what ``torch_cka`` asks of a loader."""

    dataset = "recorded"


class _Kept:
    """Takes what a collector appends, by name."""

    def __init__(self) -> None:
        self.rows: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        self.rows[name].append(rows)


def _ours(first: list[Tensor], second: list[Tensor]) -> NDArray[np.float64]:
    """CKA (I, J) as the pipeline makes it: an anchor's matrices, then the pair's terms."""
    samples = len(first[0])
    grams: list[list[NDArray[np.float32]]] = []
    for side in (first, second):
        kept = _Kept()
        anchor = cast(Anchor, SimpleNamespace(info=SimpleNamespace(name="recorded")))
        collector = GramMatrices(anchor, samples, kept.append)
        for cut, activation in enumerate(side):
            collector.update_cut(cut, activation)
        collector.update_output(torch.empty(samples, 0), torch.empty(samples))
        grams.append([np.concatenate(kept.rows[f"gram{k}"]) for k in range(len(side))])
    return cka(*(part.sum(0) for part in cka_terms(grams[0], grams[1], samples)))


def _sides(
    device: torch.device, *, cuts: int, samples: int, tokens: int, width: int
) -> Iterator[Sides]:
    try:
        package = import_module("torch_cka")
    except ImportError:
        raise NotMeasuredError("needs torch-cka, which `pip install -e .[test]` brings") from None
    torch.manual_seed(0)
    shared = torch.randn(samples, tokens, width, device=device)
    first, second = (
        [shared + k * torch.randn_like(shared) / 4 for k in range(cuts)] for _ in range(2)
    )

    def claims() -> list[Claim]:
        few = [[activation.double() for activation in side[:3]] for side in (first, second)]
        torch.set_default_dtype(torch.float64)  # in float32 it is off by 5e-5 itself
        wanted = _theirs(package, few[0], few[1], device)
        torch.set_default_dtype(torch.float32)
        error = float(np.abs(_ours(first[:3], second[:3]) - wanted).max())
        return [Claim("greatest difference from torch_cka in float64", error, 1e-5)]

    yield Sides(
        ours=seconds_of(lambda: _ours(first, second), device),
        others={"torch_cka": seconds_of(lambda: _theirs(package, first, second, device), device)},
        claims=claims,
    )


ROWS = (
    Row(
        name="cka",
        what="minibatch CKA of all pairs of 24 + 24 cuts, from activations",
        reach={"torch_cka": faster(10)},
        sides=_sides,
        sizes={
            "cpu": {"cuts": 24, "samples": 128, "tokens": 197, "width": 192},
            "cuda": {"cuts": 24, "samples": 512, "tokens": 197, "width": 384},
        },
        rounds=3,
    ),
)
