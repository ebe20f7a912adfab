"""All that a training needs, opened: the list's networks, the recipe, the images."""

import hashlib
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from klas.deploy.elastic import Elastic
from klas.deploy.listed import Listed, names_of
from klas.deploy.load import elastic_of
from klas.deploy.training.plan import Plan, check_parts
from klas.errors import DataError, SelectionError, StudyError
from klas.measures.normalisation import has_statistics
from klas.networks.anchor import Anchor
from klas.pipeline.splits import Splits
from klas.progress import Progress
from klas.recipe import TrainingSpec
from klas.results.documents.sources import of_image
from klas.results.documents.stitches import StitchList
from klas.results.formats import dumps, file_sha256
from klas.storage.store import Store
from klas.study import DIGITS, AnchorSpec, DataSpec, Study, change

_TRAINED: tuple[Literal["train", "val"], ...] = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A list, ready to be trained.

    Attributes:
        listed: the list.
        elastic: its networks, untrained, on the CPU.
        splits: the images.
        plan: the steps.
        teacher: the pretrained anchor that teaches, if the recipe wants one.
        notes: sentences for people.
    """

    listed: Listed
    elastic: Elastic
    splits: Splits
    plan: Plan
    teacher: Anchor | None
    notes: tuple[str, ...]

    @property
    def facts(self) -> dict[str, str]:
        """What makes this training the one that it is, by what it is called in a sentence."""
        recipe = hashlib.sha256(dumps(self.plan.recipe.decisive())).hexdigest()
        weights = self.listed.document["weights_file"]
        return {
            "stitch lists": file_sha256(self.listed.path),
            "weights": "none" if weights is None else weights["sha256"],
            "recipes": recipe,
            "training images": self.splits.images("train").fingerprint,
            "validation images": self.splits.images("val").fingerprint,
            "readable images": hashlib.sha256(self.plan.rows.tobytes()).hexdigest(),
            "versions of torch": torch.__version__,
        }


def prepare(
    path: Path,
    study: Study | None,
    *,
    steps: int | None,
    processes: int,
    store: Store,
    progress: Progress,
    allow_code: bool = False,
) -> Prepared:
    """Open a list and its images.

    Args:
        path: a stitch list.
        study: whose recipe and images are taken; None for the list's images and the recipe that
            suits them.
        steps: instead of the recipe's.
        processes: that train together.
        store: remembers which images cannot be read.

    Raises:
        KlasError: anything about the list, the images or the recipe that does not fit.
    """
    listed = Listed.open(path, allow_code=allow_code)
    notes = []
    if (task := listed.document["task"]) != "classification":
        raise StudyError(
            f"{path}: its networks are for {task}, but `klas train` is for classification "
            "alone; train them with `klas finetune`"
        )
    if not listed.document["stitches"]:
        raise SelectionError(f"{path}: has no stitches, so there is nothing to train; select some")
    study_here = change(study or _study_of(listed.document), "training", steps=steps)
    recipe = study_here.training
    splits = Splits(study_here, store.compute, progress)
    if study is None:
        _check_fingerprints(listed, splits)
    elif _others(listed, splits):
        notes.append(f"study {study.name} names other images than {path} was made with")
    pairs = {names_of(stitch) for stitch in listed.document["stitches"]}
    if listed.tier == "finetuned" and len(pairs) > 1:
        listed = replace(listed, weights=None)
        notes.append(
            f"{path}: its anchors were trained once for each pair, so the training begins with the "
            "pretrained ones and fitted layers"
        )
    rows = _rows(splits, recipe)
    wanted = min(recipe.steps * recipe.batch, len(splits.images("train").labels))
    if len(rows) < wanted:
        notes.append(f"left out {wanted - len(rows):,} training images that cannot be read")
    elastic = elastic_of(listed)
    _check_classes(elastic, splits)
    elastic.document()  # what can't be described in a file is refused now, not after the training
    normalising = next((n for n, a in elastic.anchors.items() if has_statistics(a)), None)
    teacher = None if recipe.distillation == "none" else _best_anchor(listed.document)
    plan = Plan(
        recipe=recipe,
        viewers={member.name: elastic.viewer(member.name) for member in elastic.members},
        rows=rows,
        teacher=teacher,
        parts=check_parts(recipe, processes, normalises=normalising),
    )
    return Prepared(
        listed=listed,
        elastic=elastic,
        splits=splits,
        plan=plan,
        teacher=None if teacher is None else deepcopy(listed.anchors[teacher]),
        notes=tuple(notes),
    )


def _rows(splits: Splits, recipe: TrainingSpec) -> NDArray[np.int64]:
    # The whole split, or as much of it as the steps can see.
    return np.sort(splits.readable_training_rows(recipe.steps * recipe.batch))


def _study_of(document: StitchList) -> Study:
    """A study of a list's anchors and images, with the recipe that suits these."""
    train, val = document["data"]["train"], document["data"]["val"]
    transform = of_image(document["anchors"][0]["transform"])
    recipe = DIGITS.training if train["ref"] == DIGITS.data.train else TrainingSpec()
    return Study(
        name="list",
        seed=train["seed"],
        anchors=tuple(
            AnchorSpec(name=entry["name"], model=entry["model"]) for entry in document["anchors"]
        ),
        data=DataSpec(
            train=train["ref"],
            val=val["ref"],
            train_samples=train["samples"],
            val_samples=val["samples"],
            crop=transform["crop"],
            interpolation=transform["interpolation"],
        ),
        training=recipe,
    )


def _check_fingerprints(listed: Listed, splits: Splits) -> None:
    if odd := _others(listed, splits):
        raise DataError(
            f"{odd[0]}: the images are not those that {listed.path} was made with; fetch them "
            "again, or name a study with the images to train on"
        )


def _others(listed: Listed, splits: Splits) -> list[str]:
    """The data sets that are not those of the list."""
    data = listed.document["data"]
    return [
        data[split]["ref"]
        for split in _TRAINED
        if data[split]["fingerprint"] != splits.images(split).fingerprint
    ]


def _check_classes(elastic: Elastic, splits: Splits) -> None:
    classes = len(splits.class_names)
    for name, anchor in elastic.anchors.items():
        if anchor.info.classes not in (0, classes):
            raise DataError(
                f"the training images have {classes} classes, but {name} tells "
                f"{anchor.info.classes} apart; train on the images that the list was made with"
            )


def _best_anchor(document: StitchList) -> str:
    """The most accurate anchor; the costlier of two equals.

    Raises:
        SelectionError: no accuracy is known.
    """
    known = [entry for entry in document["anchors"] if entry["accuracy"] is not None]
    if not known:
        raise SelectionError(
            "[training] distillation: the list knows no anchor's accuracy, so none can teach; "
            'set distillation = "none"'
        )
    best = max(known, key=lambda entry: (cast(float, entry["accuracy"]), entry["macs"]))
    return best["name"]
