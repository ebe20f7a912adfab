"""Train a stitch list into an elastic network in a folder: from the list to the saved network."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from klas.data import batches as image_batches
from klas.deploy.elastic import Elastic
from klas.deploy.load import load
from klas.deploy.training.augmentation import Augmentation, largest_grid
from klas.deploy.training.expected import Expected, expected
from klas.deploy.training.loading import StepImages, loader_processes
from klas.deploy.training.log import LOG, NOTE, Log, read_log
from klas.deploy.training.loop import CHECKPOINT, Training, train
from klas.deploy.training.measuring import measured
from klas.deploy.training.mixing import Mixing
from klas.deploy.training.prepared import Prepared, prepare
from klas.deploy.training.ranks import Ranks
from klas.deploy.writing import CONFIG
from klas.errors import KlasError, StoreError, listing
from klas.measures.normalisation import CALIBRATION, has_statistics, in_whole_batches
from klas.measures.schedule import steps_done
from klas.networks.anchor import freeze
from klas.networks.batch_size import BatchSize, image_bytes, memory_budget_bytes
from klas.networks.device import forward_precision, place
from klas.progress import Progress
from klas.recipe import TrainingSpec
from klas.results.formats import dumps
from klas.storage.files import BESIDE, write_whole
from klas.storage.records import parsed
from klas.storage.store import Store
from klas.study import Study
from klas.tasks.objectives import objective_of

TIER = "trained"
"""What the accuracies are called that a training gives."""

_MAY_DIFFER = ("versions of torch",)  # where an interrupted training goes on


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What is known before the steps begin.

    Attributes:
        notes: sentences for people.
        expected: what it takes; None where nothing is left to train.
    """

    notes: tuple[str, ...]
    expected: Expected | None


def train_list(
    path: Path,
    out: Path,
    *,
    ranks: Ranks,
    store: Store,
    progress: Progress,
    announce: Callable[[Announcement], None],
    study: Study | None = None,
    steps: int | None = None,
    allow_code: bool = False,
) -> Elastic:
    """Train all members of a list and its anchors jointly, measure them, and save the network.

    The folder gets ``log.csv`` and a checkpoint while it is trained, and the network when that is
    done; a training that was interrupted goes on, one that is finished is read.

    Args:
        path: a stitch list.
        out: the folder.
        ranks: the processes that train together, of which this is one.
        study: whose recipe and images are taken; by default the list's images.
        steps: instead of the recipe's.

    Raises:
        KlasError: anything about the list, the images, the recipe, the processes or the folder
            that does not fit; or the training diverged.
    """
    prepared = ranks.together(
        lambda: prepare(
            path,
            study,
            steps=steps,
            processes=ranks.count,
            store=store,
            progress=progress,
            allow_code=allow_code,
        )
    )
    ranks.agree(prepared.facts)
    finished = ranks.together(lambda: ranks.first and _claim(out, prepared))
    if ranks.collect(finished)[0]:
        if ranks.first:
            (out / CHECKPOINT).unlink(missing_ok=True)  # of one that was killed at its end
        announce(Announcement(notes=prepared.notes, expected=None))
        network = load(out, allow_code=allow_code)
        assert isinstance(network, Elastic), f"{out}: is no elastic network"
        return network
    try:
        training = _opened(prepared, out, ranks)
        announce(_known(prepared, training))
        return _train(prepared, training, progress)
    except KlasError:
        if ranks.first:
            _withdraw(out)
        raise


def expect_training(
    path: Path, out: Path, *, ranks: Ranks, store: Store, progress: Progress, study: Study
) -> Announcement:
    """What :func:`train_list` would announce, without a step; the folder is only looked at.

    Raises:
        KlasError: as that.
    """
    prepared = prepare(
        path, study, steps=None, processes=ranks.count, store=store, progress=progress
    )
    return _known(prepared, _opened(prepared, out, ranks))


def _opened(prepared: Prepared, out: Path, ranks: Ranks) -> Training:
    """All on its device, and what feeds it."""
    elastic, plan, splits = prepared.elastic, prepared.plan, prepared.splits
    place(elastic, ranks.device)
    transforms = {name: anchor.info.images for name, anchor in elastic.anchors.items()}
    images = StepImages(
        images=splits.images("train"),
        plan=plan,
        augmentation=Augmentation(transforms, plan.recipe),
        parts=range(ranks.rank, plan.parts, ranks.count),
    )
    return Training(
        images=images,
        mixing=Mixing(plan.recipe, len(splits.class_names), largest_grid(transforms)),
        teacher=None if prepared.teacher is None else freeze(prepared.teacher, ranks.device),
        objective=objective_of(elastic.task),
        ranks=ranks,
        precision=forward_precision(ranks.device, plan.recipe.precision),
        folder=out,
        workers=loader_processes(images.images),
    )


def _known(prepared: Prepared, training: Training) -> Announcement:
    return Announcement(
        notes=prepared.notes + _apart(prepared.elastic, training.ranks),
        expected=expected(
            prepared.elastic,
            training.images,
            training.ranks,
            done=steps_done(training.folder / CHECKPOINT),
            workers=training.workers,
            precision=training.precision,
        ),
    )


def _train(prepared: Prepared, training: Training, progress: Progress) -> Elastic:
    elastic, plan, splits = prepared.elastic, prepared.plan, prepared.splits
    ranks, precision, out = training.ranks, training.precision, training.folder
    transforms = {name: anchor.info.images for name, anchor in elastic.anchors.items()}
    taken, batch = in_whole_batches(splits.readable_training_rows(CALIBRATION))

    def calibration(name: str) -> Iterator[tuple[Tensor, ...]]:
        pictures = splits.images("train")
        return image_batches(pictures, taken, [transforms[name]], device=ranks.device, batch=batch)

    def validation(name: str, size: int) -> Iterator[tuple[Tensor, ...]]:
        pictures, rows = splits.images("val"), splits.val.rows
        return image_batches(pictures, rows, [transforms[name]], device=ranks.device, batch=size)

    measure = partial(
        measured,
        calibration=calibration,
        validation=validation,
        size=_batch_size(elastic, ranks),
        objective=training.objective,
        ranks=ranks,
        precision=precision,
    )
    progress.start("train", "steps", plan.recipe.steps, steps_done(out / CHECKPOINT))
    network = train(
        elastic,
        training,
        validate=lambda kept: measure(kept, tick=lambda n: None),
        tick=progress.advance,
    )
    progress.start("measure", "members", len(network.members))
    accuracy = measure(network, tick=progress.advance)
    network.note_accuracy(TIER, accuracy)
    if ranks.first:
        with closing(Log(out / LOG, plan.recipe.steps)) as log:
            log.accuracies(plan.recipe.steps, accuracy)
        network.save(out)
        (out / CHECKPOINT).unlink(missing_ok=True)
    return network


def _claim(out: Path, prepared: Prepared) -> bool:
    """Make the folder this training's own; returns whether it is finished.

    Raises:
        StoreError: it holds another training or network, or can't be written.
    """
    note, recipe = out / NOTE, prepared.plan.recipe
    facts = {name: value for name, value in prepared.facts.items() if name not in _MAY_DIFFER}
    mine = {"facts": facts, "recipe": recipe.model_dump(mode="json")}
    try:
        other = _difference(mine, parsed(note.read_bytes()), recipe)
    except NotADirectoryError:
        raise StoreError(f"{out}: is no folder, or lies in none; name another") from None
    except FileNotFoundError:
        other = "another network" if (out / CONFIG).exists() else None
    except (OSError, ValueError, AttributeError):
        other = "something else"
    if other is not None:
        raise StoreError(f"{out}: holds {other}; name another folder, or remove this one")
    for left in out.glob(f"{BESIDE}*"):  # by one that was killed
        left.unlink(missing_ok=True)
    write_whole(note, dumps(mine))
    return (out / CONFIG).exists()


def _withdraw(out: Path) -> None:
    """Leave nothing of a training that failed before its first checkpoint but a log with curves."""
    if (out / CHECKPOINT).exists() or (out / CONFIG).exists():
        return
    with contextlib.suppress(OSError):
        (out / NOTE).unlink(missing_ok=True)
        if not read_log(out / LOG):
            (out / LOG).unlink(missing_ok=True)
        out.rmdir()  # which fails where anything is left


def _difference(mine: Mapping[str, Any], theirs: Any, recipe: TrainingSpec) -> str | None:
    """What a folder holds, if that isn't this training."""
    for name, value in recipe.decisive().items():
        there = theirs.get("recipe", {}).get(name)
        if there != value:
            return f"a training with {name} = {there}, not {value}"
    for name, value in mine["facts"].items():
        if theirs.get("facts", {}).get(name) != value:
            return f"a training with other {name}"
    return None


def _batch_size(elastic: Elastic, ranks: Ranks) -> BatchSize:
    layouts = (anchor.info.layouts for anchor in elastic.anchors.values())
    at_most_two = sorted(map(image_bytes, layouts))[-2:]  # a stitch has parts of two
    return BatchSize(sum(at_most_two), memory_budget_bytes(ranks.device))


def _apart(elastic: Elastic, ranks: Ranks) -> tuple[str, ...]:
    normalising = [name for name, anchor in elastic.anchors.items() if has_statistics(anchor)]
    if ranks.count == 1 or ranks.device.type == "cuda" or not normalising:
        return ()
    return (
        f"{listing(normalising)}: batch normalisation is over each process's own images, for "
        "only GPUs can normalise over all of them together",
    )
