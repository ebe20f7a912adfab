"""Published networks, trained on for a little on the images at hand.

A copy of CIFAR-10 as JPEG costs networks that were trained on the original ten points. Two epochs
win most of them back, and then what a stitch loses is the stitch's.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from klas.data import open_images
from klas.measures.schedule import batch_rows, load_training, one_cycle, save_training
from klas.measures.sweep import Tick
from klas.networks.factory import build
from klas.storage.files import write_whole
from klas.study import AnchorSpec

EPOCHS = 2
BATCH = 128
PEAK_LR = 0.05
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
PADDING = 4
CHECKPOINT_EVERY = 100


def steps_of(images: int) -> int:
    """How many steps a network is adapted for."""
    return EPOCHS * images // BATCH


def adapt(anchor: AnchorSpec, data: str, out: Path, tick: Tick) -> None:
    """Train a small network of 32 × 32 images by SGD, with flips and shifted crops.

    Deterministic for one number of threads, and resumable.

    Args:
        anchor: the published network.
        data: the training images.
        out: where its new weights go, a safetensors file.
        tick: called after every step.
    """
    images = open_images(data)
    pixels = np.stack([np.asarray(images.image(row)) for row in range(len(images.labels))])
    labels = torch.from_numpy(images.labels)
    model, _ = build(anchor)
    optimizer = torch.optim.SGD(
        model.parameters(), PEAK_LR, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    checkpoint, steps = out.with_suffix(".checkpoint"), steps_of(len(pixels))
    done = load_training(checkpoint, {"model": model}, optimizer)
    tick(done)
    model.train()
    for step in range(done, steps):
        rows = batch_rows(step, step + 1, rows=len(pixels), batch=BATCH, seed=0)
        views = augmented(normalised(pixels[rows], model), np.random.default_rng([0, step]))
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * one_cycle(step, steps)
        optimizer.zero_grad()
        cross_entropy(model(views), labels[torch.from_numpy(rows)]).backward()
        optimizer.step()
        tick(1)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_training(checkpoint, step + 1, {"model": model}, optimizer)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_whole(out, save(state))
    checkpoint.unlink(missing_ok=True)


def normalised(pixels: NDArray[np.uint8], model: nn.Module) -> Tensor:
    """(N, 3, H, W) as the network's configuration has it, of (N, H, W, 3) bytes."""
    mean, std = (torch.tensor(model.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def augmented(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image flipped or not, and shifted by up to four pixels with zeros around it."""
    count, _, height, width = images.shape
    flipped = torch.from_numpy(rng.random(count) < 0.5)
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    padded = pad(images, [PADDING] * 4)
    corners = rng.integers(0, 2 * PADDING + 1, (count, 2))
    return torch.stack(
        [view[:, y : y + height, x : x + width] for view, (y, x) in zip(padded, corners)]
    )
