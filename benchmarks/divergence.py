"""Row ``theta``: Θ for all pairs of cuts beside one ``F.kl_div`` a pair."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from benchmarks.harness import Claim, Row, Sides, faster, seconds_of
from klas.measures.divergence import chunk_rows, theta

PER_PAIR = "F.kl_div per pair, softmaxes taken once"
IN_CHUNKS = "the same in chunks of 256 samples, which fit the cache better"


def probe_like_logits(cuts: int, samples: int, classes: int, device: torch.device) -> list[Tensor]:
    """Logits (cuts, N, C) of two anchors: a signal that both share grows with depth.

    Neighbouring cuts of an anchor share most of the rest too, as probes' predictions do.
    """
    torch.manual_seed(0)
    signal = torch.randn(samples, classes, device=device)
    anchors = []
    for _ in range(2):
        logits, noise = [], torch.zeros_like(signal)
        for cut in range(cuts):
            noise = 0.8 * noise + 0.5 * torch.randn_like(signal)
            logits.append(signal * (0.5 + 2 * cut / cuts) + noise)
        anchors.append(torch.stack(logits))
    return anchors


def _sides(device: torch.device, *, cuts: int, samples: int, classes: int) -> Iterator[Sides]:
    first, second = probe_like_logits(cuts, samples, classes, device)
    rows = chunk_rows(2 * cuts, classes)

    def ours() -> Tensor:
        return theta(zip(first.split(rows, 1), second.split(rows, 1)))

    def per_pair(at_once: int, *, wide: bool = False) -> Callable[[], Tensor]:
        def work() -> Tensor:
            total = torch.zeros(cuts, cuts, dtype=torch.float64, device=device)
            for part, other in zip(first.split(at_once, 1), second.split(at_once, 1)):
                if wide:
                    part, other = part.double(), other.double()
                log_p, log_q = part.log_softmax(-1), other.log_softmax(-1)
                # With log_target it takes half of the time that it takes with probabilities.
                total += torch.stack(
                    [
                        torch.stack([kl_div(q, p, reduction="sum", log_target=True) for q in log_q])
                        for p in log_p
                    ]
                )
            return total / samples

        return work

    def claims() -> list[Claim]:
        wanted = per_pair(256, wide=True)().cpu()
        error = ((ours() - wanted).abs() / wanted.clamp_min(1e-5)).max()
        return [Claim("greatest error of Θ, relative or over 1e-5, to float64", float(error), 1e-4)]

    baselines = {PER_PAIR: per_pair(samples), IN_CHUNKS: per_pair(256)}
    measures = {name: seconds_of(work, device) for name, work in baselines.items()}
    yield Sides(ours=seconds_of(ours, device), others=measures, claims=claims)


ROWS = (
    Row(
        name="theta",
        what="Θ for all pairs of cuts of two anchors, log-softmax counted",
        reach={PER_PAIR: faster(10), IN_CHUNKS: faster()},
        sides=_sides,
        sizes={
            "cpu": {"cuts": 24, "samples": 4_096, "classes": 1_000},
            "cuda": {"cuts": 24, "samples": 4_096, "classes": 1_000},
        },
    ),
)
