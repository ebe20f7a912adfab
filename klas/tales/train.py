"""Train the tales zoo again: ``python -m klas.tales.train``.

Deterministic on one kind of machine, and resumable: stop it at any moment, start it again, and it
goes on from its last checkpoint to the same weights.
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from klas.data.texts import Windows
from klas.measures.schedule import batch_rows, load_training, one_cycle, save_training
from klas.networks.decoders.tokenizer import Tokenizer
from klas.storage.files import default_root, write_whole
from klas.tales.stories import PREFIX, SIZES, TALES_VERSION
from klas.tales.zoo import SHAPES, WEIGHTS, ZOO, blank_decoder, make_tokenizer

LENGTH = 64  # tokens of a sample; a tale has about 40
BATCH = 32
STEPS = 1_200
CHECKPOINT_EVERY = 100
VAL_WINDOWS = 200  # for the printed loss, by which nothing is chosen
PEAK_LR = {"klas/tales-tiny": 1e-2, "klas/tales-small": 4e-3, "klas/tales-base": 3e-3}


def train(name: str, work: Path, *, seed: int, progress: Progress) -> Path:
    """Train one decoder; its checkpoint lies beside the finished file.

    Args:
        name: of the decoder.
        work: the folder.
        seed: of the initialisation and of the order of texts.
        progress: shows how far it is.

    Returns:
        The weights in ``work``, which may exist already.
    """
    finished = work / f"{name.rpartition('/')[2]}.safetensors"
    if finished.exists():
        return finished
    tokenizer = Tokenizer(make_tokenizer())
    texts, held_out = (Windows(PREFIX + split, tokenizer, LENGTH) for split in ("train", "val"))
    torch.manual_seed(seed)
    model = blank_decoder(name)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.05)
    checkpoint = finished.with_suffix(".checkpoint")
    done = load_training(checkpoint, {"model": model}, optimizer)
    bar = progress.add_task(name, total=STEPS, completed=done)
    model.train()
    for step in range(done, STEPS):
        rows = batch_rows(step, step + 1, rows=len(texts), batch=BATCH, seed=seed)
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR[name] * one_cycle(step, STEPS)
        loss = _loss(model, _stacked(texts, rows))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.update(bar, completed=step + 1)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_training(checkpoint, step + 1, {"model": model}, optimizer)
            with torch.inference_mode():
                there = _loss(model, _stacked(held_out, np.arange(VAL_WINDOWS)))
            progress.console.print(
                f"{name} step {step + 1:,}: loss {loss.item():.4f}, val {there.item():.4f}"
            )
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_whole(finished, save(state, {"format": "pt"}))
    checkpoint.unlink(missing_ok=True)
    return finished


def _stacked(texts: Windows, rows: np.ndarray) -> Tensor:
    """(n, L + 1) some windows."""
    return torch.from_numpy(np.stack([texts.window(int(row)) for row in rows]))


def _loss(model: nn.Module, windows: Tensor) -> Tensor:
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def main() -> None:
    """Train the zoo in the cache folder; put the weights in place when all are finished."""
    parser = argparse.ArgumentParser(prog="python -m klas.tales.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums depend on the number of threads
    settings = (TALES_VERSION, SIZES, LENGTH, BATCH, STEPS, PEAK_LR, SHAPES, arguments.seed)
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    work = default_root() / "zoo" / digest
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        finished = [train(name, work, seed=arguments.seed, progress=progress) for name in ZOO]
    for name, path in zip(ZOO, finished):
        folder = arguments.out / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        blank_decoder(name).config.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        write_whole(folder / "model.safetensors", path.read_bytes())
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
