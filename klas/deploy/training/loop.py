"""The loop: one random member a step, all anchors and stitches of an elastic network."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from klas.data.loading import normalised
from klas.deploy.elastic import Elastic
from klas.deploy.training.drawing import DROPOUT, words
from klas.deploy.training.loading import Part, StepImages
from klas.deploy.training.log import LOG, Log
from klas.deploy.training.losses import make_loss, taught_by
from klas.deploy.training.mixing import Mixing, mixed
from klas.deploy.training.optimisation import make_optimiser, make_schedule
from klas.deploy.training.ranks import Ranks
from klas.deploy.training.synchronised import synchronised
from klas.errors import DivergedError
from klas.measures.schedule import load_training, save_training
from klas.measures.steps import descend
from klas.measures.sweep import Tick
from klas.networks.batch_size import enough_memory_for
from klas.networks.device import Precision, autocast
from klas.tasks.objective import Objective

CHECKPOINT = "checkpoint.safetensors"

Validate = Callable[[Elastic], Mapping[str, float]]
"""The accuracy of every member, in every process. The statistics of its layers may be changed."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training is made of, beside the network.

    Attributes:
        images: the batches; their plan has the recipe.
        mixing: what is mixed.
        teacher: the frozen anchor that teaches, if one does.
        objective: the task.
        ranks: the processes.
        precision: of forward passes.
        folder: where the log and the checkpoint are written.
        workers: processes that prepare images.
    """

    images: StepImages
    mixing: Mixing
    teacher: nn.Module | None
    objective: Objective
    ranks: Ranks
    precision: Precision
    folder: Path
    workers: int = 0


def train(elastic: Elastic, training: Training, *, validate: Validate, tick: Tick) -> Elastic:
    """Train all members; resumes from the folder's checkpoint, to the same weights.

    Args:
        elastic: is trained in place.
        validate: measures every member, if the recipe asks for that on the way.
        tick: called with the number of steps just done, by this call.

    Returns:
        The network to keep: the moving average, if the recipe has one. In eval mode; batch
        normalisation statistics still have to be taken.

    Raises:
        DivergedError: the loss is no longer a number; names the step and the member.
        StudyError: timm doesn't know the recipe's optimiser or schedule.
        KlasError: a batch does not fit into memory; or processes have different checkpoints.
    """
    plan, ranks = training.images.plan, training.ranks
    recipe = plan.recipe
    elastic.requires_grad_(True)
    ranks.start_alike(elastic)
    average = (
        ModelEmaV3(elastic, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
    )
    kept: Elastic = elastic if average is None else average.module
    optimiser = make_optimiser(elastic, recipe)
    rate = make_schedule(optimiser, recipe)
    modules: dict[str, nn.Module] = {"elastic": elastic}
    if average is not None:
        modules["average"] = kept
    checkpoint = training.folder / CHECKPOINT
    done = load_training(checkpoint, modules, optimiser)
    ranks.agree({f"steps in {checkpoint}": str(done)})
    log = Log(training.folder / LOG, done) if ranks.first else None

    def save(step: int) -> None:
        if not all(bool(torch.isfinite(p).all()) for p in elastic.parameters()):
            raise DivergedError(_diverged(training, step - 1))
        save_training(checkpoint, step, modules, optimiser)

    taken = descend(
        optimiser,
        training.images.batches(
            done, recipe.steps, workers=training.workers, pin=ranks.device.type == "cuda"
        ),
        _losses(elastic, training),
        first=done,
        last=recipe.steps,
        rate=rate,
        clip=recipe.clip,
        diverged=lambda step: _diverged(training, step),
        share=ranks.share,
    )
    elastic.train()
    saved = time.monotonic()
    images = recipe.batch // plan.parts
    what = f"{images} images at once; lower [training] batch, or raise accumulate"
    try:
        with enough_memory_for(what), _normalising_together(elastic, ranks):
            for step, loss in enumerate(taken, done + 1):
                if average is not None:
                    average.update(elastic, step=step)
                if log is not None and (step % recipe.log_every == 0 or step == recipe.steps):
                    log.step(step, plan.member(step - 1), loss, optimiser.param_groups[0]["lr"])
                if recipe.validate_every and step % recipe.validate_every == 0:
                    accuracy = validate(kept)
                    elastic.train()
                    if log is not None:
                        log.accuracies(step, accuracy)
                due = time.monotonic() - saved > recipe.checkpoint_seconds
                if ranks.first and (due or step == recipe.steps):
                    save(step)
                    saved = time.monotonic()
                tick(1)
    except DivergedError as error:
        left = f"; the last checkpoint is kept in {checkpoint}" if checkpoint.exists() else ""
        raise DivergedError(f"{error}{left}") from None
    finally:
        if log is not None:
            log.close()
    return kept.eval()


def _losses(elastic: Elastic, training: Training) -> Callable[[int, list[Part]], Iterator[Tensor]]:
    plan, ranks, precision = training.images.plan, training.ranks, training.precision
    recipe, own = plan.recipe, training.images.parts
    loss_of = make_loss(recipe, training.objective)
    anchors = elastic.anchors

    def view(images: dict[str, Tensor], name: str, share: Tensor | None) -> Tensor:
        pixels = images[name].to(ranks.device, non_blocking=True)
        return mixed(normalised(pixels, anchors[name].info.images), share)

    def losses(step: int, parts: list[Part]) -> Iterator[Tensor]:
        member = plan.member(step)
        elastic.use(member)
        for number, (images, labels) in zip(own, parts):
            share, targets = training.mixing.draw(step, labels)
            targets = targets.to(ranks.device, non_blocking=True)
            taught = None
            if training.teacher is not None and plan.teacher is not None:
                seen = view(images, plan.teacher, share)
                taught = taught_by(training.teacher, seen, precision)
            # Dropout is a function of the step and the part, whichever process takes it.
            torch.manual_seed(words(DROPOUT, recipe.seed, step, number, count=1)[0])
            with autocast(ranks.device, precision):
                outputs = elastic(view(images, plan.viewers[member], share))
                loss = loss_of(outputs, targets, taught)
            yield loss / len(own)

    return losses


def _normalising_together(elastic: Elastic, ranks: Ranks) -> AbstractContextManager[None]:
    """On GPUs batch normalisation is over all processes' images; elsewhere torch can't do that."""
    together = ranks.count > 1 and ranks.device.type == "cuda"
    return synchronised(elastic) if together else nullcontext()


def _diverged(training: Training, step: int) -> str:
    member = training.images.plan.member(step)
    return (
        f"the training diverged at step {step + 1}, member {member}: its loss is no number; lower "
        "[training] lr, or raise warmup"
    )
