"""Train the digits zoo again: ``python -m klas.digits.train``.

Deterministic on one kind of machine (with a fixed number of threads, however many cores there
are), and resumable: stop it at any moment, start it again, and it goes on from its last checkpoint
to the same weights.
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import numpy as np
import timm
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from klas.digits.scenes import SCENES_VERSION, Split, make_scenes
from klas.digits.zoo import CONVNET, SHAPES, WEIGHTS, ZOO
from klas.measures.schedule import batch_rows, load_training, one_cycle, save_training
from klas.storage.files import default_root, write_whole

SCENES = 200_000
BATCH = 128
STEPS = 12_500  # eight epochs
CHECKPOINT_EVERY = 500
VAL_SCENES = 2_000  # for the printed accuracy, by which nothing is chosen
PEAK_LR = {
    "digits_vit_tiny": 4e-3,
    "digits_vit_small": 2e-3,
    "digits_convnet": 2e-2,
    "digits_vit_base": 1e-3,
}
# Sums depend on the number of threads. Convolutions as small as these are faster with one.
THREADS = {name: 1 if name == "digits_convnet" else 2 for name in ZOO}


def normalised(images: np.ndarray) -> Tensor:
    """Scenes (N, H, W) of uint8 as the zoo's own transform gives them: (N, 1, H, W), float32."""
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
    images, labels = make_scenes("train", SCENES)
    target = torch.from_numpy(labels)
    torch.manual_seed(seed)
    model = timm.create_model(name)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    checkpoint = work / f"{name}.checkpoint"
    done = load_training(checkpoint, {"model": model}, optimizer)
    bar = progress.add_task(name, total=STEPS, completed=done)
    model.train()
    for step in range(done, STEPS):
        rows = batch_rows(step, step + 1, rows=SCENES, batch=BATCH, seed=seed)
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR[name] * one_cycle(step, STEPS)
        loss = cross_entropy(model(normalised(images[rows])), target[torch.from_numpy(rows)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.update(bar, completed=step + 1)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_training(checkpoint, step + 1, {"model": model}, optimizer)
            accuracy = evaluate(model, "val", VAL_SCENES)
            progress.console.print(
                f"{name} step {step + 1:,}: loss {loss.item():.3f}, val {accuracy:.4f}"
            )
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_whole(finished, save(state))
    checkpoint.unlink(missing_ok=True)
    return finished


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, scenes: int) -> float:
    """Top-1 accuracy on the first ``scenes`` scenes of a split; leaves the model training."""
    images, labels = make_scenes(split, scenes)
    model.eval()
    correct = 0
    for start in range(0, scenes, 1000):
        guess = model(normalised(images[start : start + 1000])).argmax(1).numpy()
        correct += int((guess == labels[start : start + 1000]).sum())
    model.train()
    return correct / scenes


def main() -> None:
    """Train the zoo in the cache folder; put the weights in place when all are finished."""
    parser = argparse.ArgumentParser(prog="python -m klas.digits.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    settings = (SCENES_VERSION, SCENES, BATCH, STEPS, PEAK_LR, SHAPES, CONVNET, arguments.seed)
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    work = default_root() / "zoo" / digest
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        finished = []
        for name in ZOO:
            torch.set_num_threads(THREADS[name])
            finished.append(train(name, work, seed=arguments.seed, progress=progress))
    for path in finished:
        write_whole(arguments.out / path.name, path.read_bytes())
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
