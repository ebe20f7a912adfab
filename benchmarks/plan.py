"""A plan on paper: what studies of many anchors cost, from figures that anybody can replace.

``python -m benchmarks.plan`` prints the tables of ``docs/scaling.md``, which says where each figure
is from; ``python -m benchmarks.plan --measure`` measures again, on one core, those that were
measured, and ``--help`` lists the options by which others take their place. All anchors are alike
here, as DeiT-S is: 12 blocks of width 384, 1,000 classes.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from klas.selection.groups import balanced_groups
from klas.selection.space import Place

BLOCKS, WIDTH, CLASSES = 12, 384, 1_000  # of every anchor
CUTS = BLOCKS + 1
CANDIDATES = BLOCKS * (BLOCKS - 1)  # of a pair: 1 ≤ i ≤ 12, 1 ≤ j ≤ 11
REST = sum(1 - j / BLOCKS for j in range(1, BLOCKS)) * BLOCKS  # of the target, by all candidates
FLOAT = 4  # bytes
TRIANGLE, CHUNK = 2_016, 64  # values of a Gram matrix, of so many samples
EVALUATIONS, PRODUCTS = 150, 3  # of a probe's loss and gradient until it converges
BACKWARD = 1.6  # in forward passes
FIT_IMAGES = 100 + 1_000  # least squares, and what direct matching looks at
FIT_PASSES = 2  # least squares takes as long again as its passes
HOUR = 3_600.0
ANCHORS, GPUS = (10, 100, 1_000), (1, 8, 64)
MACS, PIXELS = 4_610_000_000, 600_000_000  # of an anchor; what its images weigh in groups


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the plan is made from.

    Attributes:
        train, val: images of each split.
        steps, batch: of a stitch's tuning.
        gpu_images: that a GPU passes forward, a second.
        gpu_macs: of float32 products, a second.
        gpu_cores: how many cores a GPU is worth where memory is what limits.
        cores: that decode images for each GPU.
        decode: seconds of a core for an image.
        theta: seconds of a core for a validation image of a pair, beside the probes' own products.
        cka: seconds of a core for a pair, for each 1,000 validation images.
        core_macs: that a core passes forward, a second; what ``gpu_images`` is compared with.
    """

    train: int = 1_281_167
    val: int = 50_000
    steps: int = 100
    batch: int = 128
    gpu_images: float = 7_688.0
    gpu_macs: float = 2e13
    gpu_cores: float = 100.0
    cores: int = 16
    decode: float = 2.8e-3
    theta: float = 5.0e-5
    cka: float = 1.3e-3
    core_macs: float = 4.8e10


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part of the work takes: seconds of GPUs and of cores, and bytes that stay."""

    name: str
    gpu: float = 0.0
    cores: float = 0.0
    disk: float = 0.0


def per_anchor(f: Figures) -> list[Part]:
    """What each anchor takes."""
    features = CUTS * WIDTH * FLOAT
    grams = CUTS * TRIANGLE * FLOAT / CHUNK
    products = EVALUATIONS * PRODUCTS * f.train * CUTS * WIDTH * CLASSES
    return [
        Part(
            name="sweep of the validation images",
            gpu=f.val / f.gpu_images,
            cores=f.val * f.decode,
            disk=f.val * (features + grams + CLASSES * FLOAT),
        ),
        Part(
            name="sweep of the training images",
            gpu=f.train / f.gpu_images,
            cores=f.train * f.decode,
            disk=f.train * features,
        ),
        Part(
            name="probes",
            gpu=products / f.gpu_macs,
            disk=CUTS * WIDTH * CLASSES * FLOAT,
        ),
    ]


def per_pair(f: Figures) -> list[Part]:
    """What each pair takes."""
    logits = 2 * CUTS * f.val * WIDTH * CLASSES
    tuning = f.steps * f.batch
    # Each group of candidates loads the images and runs the source.
    rests = {(i, j): 1 - j / BLOCKS for i in range(1, BLOCKS + 1) for j in range(1, BLOCKS)}
    measured_apart = _groups(rests, 1.0, MACS + PIXELS)
    tuned_apart = _groups(rests, 1 + BACKWARD, MACS + PIXELS + MACS // 2)
    measured = f.val * (measured_apart + REST)
    trained = tuned_apart + REST * (1 + BACKWARD)
    layers = CANDIDATES * WIDTH * WIDTH * FLOAT
    return [
        Part(name="Θ", gpu=logits / f.gpu_macs + f.val * f.theta / f.gpu_cores),
        Part(name="CKA", cores=f.val / 1_000 * f.cka),
        Part(
            name="least squares",
            gpu=2 * FIT_IMAGES * FIT_PASSES / f.gpu_images,
            cores=2 * FIT_IMAGES * f.decode,
            disk=layers,
        ),
        Part(
            name="zero_shot",
            gpu=measured / f.gpu_images,
            cores=f.val * f.decode * measured_apart,
            disk=CANDIDATES * f.val / 8,
        ),
        Part(
            name="tuned",
            gpu=(tuning * trained + f.val * (tuned_apart + REST)) / f.gpu_images,
            cores=(f.val + tuning) * f.decode * tuned_apart,
            disk=layers + CANDIDATES * f.val / 8,
        ),
    ]


def _groups(rests: Mapping[Place, float], passes: float, shared: int) -> int:
    """In how many groups a pair's candidates are made, each of which does ``shared``."""
    costs = {place: round(MACS * passes * rest) for place, rest in rests.items()}
    return len(balanced_groups(costs, shared))


def total(parts: Sequence[Part], times: float) -> Part:
    """Some parts together, so many times."""
    return Part(
        name="",
        gpu=times * sum(part.gpu for part in parts),
        cores=times * sum(part.cores for part in parts),
        disk=times * sum(part.disk for part in parts),
    )


def wall(part: Part, gpus: int, f: Figures) -> float:
    """Seconds on so many GPUs, each with its cores: what is slower decides."""
    return max(part.gpu, part.cores / f.cores) / gpus


def parts_table(f: Figures) -> str:
    """What an anchor and a pair take, part by part."""
    lines = [
        "| each | part | GPU seconds | core seconds | disk |",
        "|---|---|--:|--:|--:|",
    ]
    for each, parts in (("anchor", per_anchor(f)), ("pair", per_pair(f))):
        lines += [
            f"| {each} | {p.name} | {number(p.gpu)} | {number(p.cores)} | {size(p.disk)} |"
            for p in parts
        ]
    return "\n".join(lines)


def plan_table(f: Figures) -> str:
    """What studies of 10, 100 and 1,000 anchors take, up to some stages."""
    head = " | ".join(f"wall on {gpus}" for gpus in GPUS)
    lines = [
        f"| anchors | pairs | up to | GPU hours | core hours | disk | {head} |",
        "|--:|--:|---|--:|--:|--:|" + "--:|" * len(GPUS),
    ]
    for anchors in ANCHORS:
        every = anchors * (anchors - 1) // 2
        nearest = min(every, 5 * anchors)
        for pairs, stages in ((every, ("scores", "tuned")), (nearest, ("tuned",))):
            if pairs == nearest == every and stages == ("tuned",):
                continue
            for stage in stages:
                # Up to scores a pair takes what is before zero_shot.
                parts = per_pair(f)[: 5 if stage == "tuned" else 3]
                anchor, pair = total(per_anchor(f), anchors), total(parts, pairs)
                both = total([anchor, pair], 1)
                walls = " | ".join(duration(wall(both, gpus, f)) for gpus in GPUS)
                lines.append(
                    f"| {anchors:,} | {pairs:,} | {stage} | {number(both.gpu / HOUR)} | "
                    f"{number(both.cores / HOUR)} | {size(both.disk)} | {walls} |"
                )
    return "\n".join(lines)


def number(value: float) -> str:
    """Two significant digits.

    Examples:
        >>> number(0.0123), number(3.14159), number(1234.5), number(0)
        ('0.012', '3.1', '1,200', '0')
    """
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 or not rounded else f"{rounded:g}"


def size(size_bytes: float) -> str:
    """Bytes in the unit that suits them.

    Examples:
        >>> size(85e6), size(2.5e13), size(0)
        ('85 MB', '25 TB', '0')
    """
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= least:
            return f"{number(size_bytes / least)} {unit}"
    return f"{number(size_bytes / 1e3)} kB" if size_bytes else "0"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    Examples:
        >>> duration(90), duration(7200), duration(1e6), duration(1e9)
        ('1.5 min', '2 h', '12 days', '32 years')
        >>> duration(30)
        '30 s'
    """
    if seconds < 60:
        return f"{number(seconds)} s"
    for unit, least in (("years", 365.25 * 24 * HOUR), ("days", 48 * HOUR), ("h", HOUR)):
        if seconds >= least:
            return f"{number(seconds / (least if unit != 'days' else 24 * HOUR))} {unit}"
    return f"{number(seconds / 60)} min"


def measured(f: Figures) -> Figures:
    """The figures that are measured, as they are on one core of this machine."""
    import numpy as np
    import timm
    import torch

    from klas.measures.cka import cka_terms
    from klas.measures.divergence import prediction_sums

    torch.set_num_threads(1)
    network = timm.create_model("deit_small_patch16_224").eval()
    images, samples = torch.randn(8, 3, 224, 224), 128
    with torch.inference_mode():
        forward = fastest(lambda: network(images)) / len(images)
    logits = [torch.randn(CUTS, samples, CLASSES) for _ in range(2)]
    bounds = [(0, samples, 0)]
    theta = fastest(lambda: prediction_sums([(logits[0], logits[1])], bounds)) / samples
    chunks = 32
    grams = [
        [np.random.default_rng(k).normal(size=(chunks, TRIANGLE)).astype(np.float32)] * CUTS
        for k in range(2)
    ]
    cka = fastest(lambda: cka_terms(grams[0], grams[1], chunks * CHUNK))
    return replace(
        f,
        core_macs=MACS / forward,
        decode=decode_seconds(),
        theta=theta,
        cka=cka / (chunks * CHUNK / 1_000),
    )


def decode_seconds() -> float:
    """To load and transform a JPEG file of ImageNet's usual size, 500 × 375 pixels."""
    import numpy as np
    import torch
    from PIL import Image

    from klas.data import batches, open_images
    from klas.networks.anchor import Transform

    rng, data = np.random.default_rng(0), io.BytesIO()
    coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
    pixels = np.clip(pixels + rng.normal(0, 12, (375, 500, 1)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(data, "JPEG", quality=90)  # 106 kB, about ImageNet's mean
    transform = Transform(
        input_size=(3, 224, 224),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        crop=0.9,
        interpolation="bicubic",
    )
    with tempfile.TemporaryDirectory() as folder:
        for number_of in range(64):
            path = Path(folder) / "ab"[number_of % 2] / f"{number_of}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data.getvalue())
        opened = open_images(folder)
        rows = np.arange(64)
        return fastest(
            lambda: list(batches(opened, rows, [transform], device=torch.device("cpu")))
        ) / len(rows)


def fastest(work: Callable[[], object], rounds: int = 5) -> float:
    """The least seconds of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__)
    for figure in fields(Figures):
        parser.add_argument(
            f"--{figure.name.replace('_', '-')}",
            type=type(figure.default),
            default=figure.default,
            help="default: %(default)s",
        )
    parser.add_argument("--measure", action="store_true", help="measure again on one core")
    given = vars(parser.parse_args(argv))
    measure = given.pop("measure")
    figures = Figures(**given)
    if measure:
        figures = measured(figures)
        print(figures, end="\n\n")
    print(parts_table(figures), plan_table(figures), sep="\n\n")


if __name__ == "__main__":
    main()
