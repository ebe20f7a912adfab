"""Train the built-in networks again: ``python -m klas.digits.train``, or with some of their names.

Deterministic on one kind of machine (with a fixed number of threads, however many cores there
are), and resumable: stop it at any moment, start it again, and it goes on from its last checkpoint
to the same weights.
"""

import argparse
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from torch import Tensor, nn

from klas.digits.label_scenes import CLASS_NAMES, LABEL_SCENES_VERSION, SIZE, make_label_scenes
from klas.digits.scenes import SCENES_VERSION, Split, make_scenes
from klas.digits.segmenters import SEGMENTER_CONVNETS, SEGMENTER_VIT, SEGMENTERS
from klas.digits.zoo import CONVNET, SHAPES, WEIGHTS, ZOO
from klas.measures.schedule import batch_rows, load_training, one_cycle, save_training
from klas.networks.segmenter import Segmenter, bare_network
from klas.storage.files import default_root, write_whole
from klas.study import AnchorSpec
from klas.tasks.classification import Classification
from klas.tasks.objective import Objective
from klas.tasks.segmentation import Segmentation

CHECKPOINT_EVERY = 500
VAL_SCENES = 2_000  # for the printed accuracy, by which nothing is chosen

Scenes = tuple[NDArray[np.uint8], NDArray[np.uint8] | NDArray[np.int64]]
"""Images (N, H, W), and their classes: (N,), or (N, H, W) of every pixel."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a network is trained.

    Attributes:
        make: the network, by its name, with random weights.
        draw: the first scenes of a split.
        settings: what makes these, for the name of the folder of checkpoints.
        objective: the loss and the metric.
        scenes: how many it learns from.
        batch: scenes of a step.
        steps: how many.
        peak_lr: the highest learning rate.
        threads: of torch; sums depend on their number.
    """

    make: Callable[[str], nn.Module]
    draw: Callable[[Split, int], Scenes]
    settings: tuple[object, ...]
    objective: Objective
    scenes: int
    batch: int
    steps: int
    peak_lr: float
    threads: int


def _classifier(peak_lr: float, *, threads: int) -> Course:
    """Eight epochs."""
    return Course(
        make=timm.create_model,
        draw=make_scenes,
        settings=(SCENES_VERSION, SHAPES, CONVNET),
        objective=Classification(),
        scenes=200_000,
        batch=128,
        steps=12_500,
        peak_lr=peak_lr,
        threads=threads,
    )


def segmenter(name: str) -> Segmenter:
    """A network for segmentation by its name, with random weights."""
    size = (1, SIZE, SIZE)
    network = bare_network(AnchorSpec(name=name, model=name), size)
    return Segmenter(network, name, classes=len(CLASS_NAMES), input_size=size)


def _segmenter(peak_lr: float, *, steps: int) -> Course:
    return Course(
        make=segmenter,
        draw=make_label_scenes,
        settings=(LABEL_SCENES_VERSION, SEGMENTER_VIT, SEGMENTER_CONVNETS),
        objective=Segmentation(),
        scenes=50_000,
        batch=64,
        steps=steps,
        peak_lr=peak_lr,
        threads=1,
    )


# Convolutions as small as the convnet's are faster with one thread.
COURSES = {
    "digits_vit_tiny": _classifier(4e-3, threads=2),
    "digits_vit_small": _classifier(2e-3, threads=2),
    "digits_convnet": _classifier(2e-2, threads=1),
    "digits_vit_base": _classifier(1e-3, threads=2),
    "digits_seg_vit_tiny": _segmenter(4e-3, steps=3_000),
    "digits_seg_convnet_small": _segmenter(2e-2, steps=3_000),
    "digits_seg_convnet": _segmenter(1e-2, steps=3_000),
}


def normalised(images: np.ndarray) -> Tensor:
    """Scenes (N, H, W) of uint8 as a zoo's own transform gives them: (N, 1, H, W), float32."""
    return torch.from_numpy(images)[:, None].float().div(255).sub(0.5).div(0.25)


def train(name: str, work: Path, *, seed: int, progress: Progress) -> Path:
    """Train one network; its checkpoint lies beside the finished file.

    Args:
        name: of the network, as timm knows it.
        work: the folder.
        seed: of the initialisation and of the order of images.
        progress: shows how far it is.

    Returns:
        ``work/<name>.safetensors``, which may exist already.
    """
    finished = work / f"{name}.safetensors"
    if finished.exists():
        return finished
    course = COURSES[name]
    images, labels = course.draw("train", course.scenes)
    target = torch.from_numpy(labels)
    torch.manual_seed(seed)
    model = course.make(name)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    checkpoint = work / f"{name}.checkpoint"
    done = load_training(checkpoint, {"model": model}, optimizer)
    bar = progress.add_task(name, total=course.steps, completed=done)
    model.train()
    for step in range(done, course.steps):
        rows = batch_rows(step, step + 1, rows=course.scenes, batch=course.batch, seed=seed)
        for group in optimizer.param_groups:
            group["lr"] = course.peak_lr * one_cycle(step, course.steps)
        outputs = model(normalised(images[rows]))
        loss = course.objective.loss(outputs, target[torch.from_numpy(rows)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.update(bar, completed=step + 1)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_training(checkpoint, step + 1, {"model": model}, optimizer)
            accuracy = evaluate(model, "val", VAL_SCENES, course=course)
            progress.console.print(
                f"{name} step {step + 1:,}: loss {loss.item():.3f}, val {accuracy:.4f}"
            )
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_whole(finished, save(state))
    checkpoint.unlink(missing_ok=True)
    return finished


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, scenes: int, *, course: Course) -> float:
    """The metric on the first ``scenes`` scenes of a split; leaves the model training."""
    images, labels = course.draw(split, scenes)
    targets = torch.from_numpy(labels)
    model.eval()
    outcomes = [
        course.objective.outcomes(model(normalised(images[start:end])), targets[start:end])
        for start, end in ((start, start + 1000) for start in range(0, scenes, 1000))
    ]
    model.train()
    return course.objective.task.metric.value(torch.cat(outcomes).numpy())


def main() -> None:
    """Train networks in the cache folder; put the weights in place when all are finished."""
    parser = argparse.ArgumentParser(prog="python -m klas.digits.train", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=", ".join(COURSES))
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.names or [*ZOO, *SEGMENTERS]
    if unknown := [name for name in names if name not in COURSES]:
        parser.error(f"there is no network {unknown[0]}; there are {', '.join(COURSES)}")
    torch.use_deterministic_algorithms(True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        finished = []
        for name in names:
            course = COURSES[name]
            torch.set_num_threads(course.threads)
            folder = _work(course, arguments.seed)
            finished.append(train(name, folder, seed=arguments.seed, progress=progress))
    for path in finished:
        write_whole(arguments.out / path.name, path.read_bytes())
    for folder in {path.parent for path in finished}:
        shutil.rmtree(folder)


def _work(course: Course, seed: int) -> Path:
    """Where a network's checkpoints lie: another course does not go on from them."""
    numbers = (course.scenes, course.batch, course.steps, course.peak_lr, course.threads)
    digest = hashlib.sha256(repr((course.settings, numbers, seed)).encode()).hexdigest()[:12]
    return default_root() / "zoo" / digest


if __name__ == "__main__":
    main()
