"""Row ``least_squares``: stitch layers of all candidates from the same rows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.harness import Claim, Row, Sides, faster, seconds_of, within
from klas.measures.least_squares import CrossMoments
from klas.networks.layout import Layout
from klas.networks.stitch import State

PSEUDO_INVERSE = "pseudo-inverse per pair, float32, as SN-Net"
PRODUCT = "the one float64 matrix product that bounds it"


def token_activations(
    cuts: int, width: int, images: int, shared: Tensor, device: torch.device
) -> list[Tensor]:
    """Activations (images, 197, width) at some cuts, as a ViT has them.

    Channels are correlated, some a hundred times as large as others, and a part of them is a
    linear map of what both anchors share.
    """
    scale = torch.logspace(-1, 1, width, device=device)
    activations = []
    for _ in range(cuts):
        mix = torch.randn(shared.shape[-1], width, device=device) / shared.shape[-1] ** 0.5
        own = torch.randn(images, shared.shape[1], width, device=device)
        activations.append((shared @ mix + 0.3 * own) * scale + 1)
    return activations


def _sides(
    device: torch.device, *, cuts: int, images: int, widths: tuple[int, int]
) -> Iterator[Sides]:
    torch.manual_seed(0)
    have, want = ([Layout(channels=w, grid=(14, 14), prefix=1)] * cuts for w in widths)
    shared = torch.randn(images, 197, min(widths) // 2, device=device)
    source, target = (token_activations(cuts, w, images, shared, device) for w in widths)
    pairs = [(i, j) for i in range(cuts) for j in range(cuts)]
    ones = torch.ones(images * 197, 1, device=device)

    def ours() -> dict[tuple[int, int], State]:
        moments = CrossMoments(have, want, pairs)
        moments.update(source, target)
        return moments.solve()

    def pseudo_inverses() -> list[Tensor]:
        return [
            torch.linalg.pinv(torch.cat([x.flatten(0, 1), ones], 1)) @ y.flatten(0, 1)
            for x in source
            for y in target
        ]

    every_x, every_y = (
        torch.cat([a.flatten(0, 1) for a in side], 1).double() for side in (source, target)
    )

    def product() -> Tensor:
        return every_x.T @ every_y

    def claims() -> list[Claim]:
        states, worst = ours(), 0.0
        for i, j in (pairs[0], pairs[cuts // 2], pairs[-1]):
            x = torch.cat([source[i].flatten(0, 1), ones], 1).double().cpu()
            y = target[j].flatten(0, 1).double().cpu()
            wanted = x @ torch.linalg.lstsq(x, y, driver="gelsd").solution
            state = {name: value.double().cpu() for name, value in states[i, j].items()}
            fitted = x[:, :-1] @ state["weight"].T + state["bias"]
            worst = max(worst, float((fitted - wanted).norm() / wanted.norm()))
        return [Claim("relative difference of the fitted values from lstsq's", worst, 1e-4)]

    yield Sides(
        ours=seconds_of(ours, device),
        others={
            PSEUDO_INVERSE: seconds_of(pseudo_inverses, device),
            PRODUCT: seconds_of(product, device),
        },
        claims=claims,
    )


ROWS = (
    Row(
        name="least_squares",
        what="stitch layers of all candidates, from activations",
        reach={PSEUDO_INVERSE: faster(6), PRODUCT: within(1.2)},
        sides=_sides,
        sizes={
            "cpu": {"cuts": 12, "images": 100, "widths": (192, 384)},
            "cuda": {"cuts": 12, "images": 100, "widths": (192, 384)},
        },
        rounds=3,
    ),
)
