"""A study's data: its splits, each opened when it is first asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.data import (
    Images,
    Unreadable,
    Windows,
    balanced_order,
    find_unreadable,
    open_images,
    open_label_maps,
    passed_over_sentence,
    subset,
    unreadable_sentence,
)
from klas.errors import DataError
from klas.networks.decoders.load import shared_tokenizer
from klas.networks.decoders.tokenizer import Tokenizer
from klas.progress import Progress
from klas.results.documents.sources import SplitIdentity
from klas.results.keys import unreadable_key
from klas.results.result import SplitName
from klas.storage.key import Key
from klas.study import Study

Compute = Callable[[Key, Callable[[], Any]], Any]
"""The stored value under a key, made and stored first if it is absent."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The samples of a split.

    Attributes:
        images: the data set; of texts its windows.
        rows: (N,) which of its rows are used, in order.
        identity: what identifies them.
        unreadable: the rows that were checked and cannot be read.
    """

    images: Images | Windows
    rows: NDArray[np.int64]
    identity: SplitIdentity
    unreadable: tuple[Unreadable, ...]

    @property
    def samples(self) -> int:
        """N."""
        return len(self.rows)


class Splits:
    """The splits of a study.

    Raises (when a split is first asked for):
        DataError: it is not there, or its classes are not the training images'.
    """

    def __init__(self, study: Study, compute: Compute, progress: Progress) -> None:
        """Name what is to be opened.

        Args:
            compute: stores which images cannot be read.
            progress: where the search for them is reported.
        """
        self._study = study
        self._compute = compute
        self._progress = progress
        data = study.data
        self._refs: dict[SplitName, str | None] = {
            "train": data.train,
            "val": data.val,
            "test": data.test,
        }

    @cached_property
    def train(self) -> Split:
        """The training samples."""
        data = self._study.data
        return self._split(
            "train", data.train_samples, max(data.train_samples, self._study.fit.samples)
        )

    @cached_property
    def val(self) -> Split:
        """The validation samples."""
        samples = self._study.data.val_samples
        return self._split("val", samples, samples)

    @cached_property
    def test(self) -> Split | None:
        """The test samples, if the study names any."""
        samples = self._study.data.test_samples
        return None if self._refs["test"] is None else self._split("test", samples, samples)

    def named(self, name: SplitName) -> Split:
        """A split by its name; the test split has to be there."""
        split = {"train": self.train, "val": self.val, "test": self.test}[name]
        assert split is not None, f"this study has no {name} split"
        return split

    def images(self, name: SplitName) -> Images:
        """All of a split's data set, which the study has to name, and which holds images."""
        images = self._images[name]
        assert not isinstance(images, Windows), "this study is of texts"
        return images

    @property
    def class_names(self) -> tuple[str, ...]:
        """The images' classes, in the order of their labels."""
        return self._images["train"].class_names

    @property
    def notes(self) -> list[str]:
        """What people should know about the data, in sentences."""
        notes = []
        for split in (self.train, self.val, self.test):
            if split is not None and split.images.passed_over:
                notes.append(passed_over_sentence(split.identity["ref"], split.images.passed_over))
            if split is not None and split.unreadable:
                notes.append(unreadable_sentence(split.identity["ref"], split.unreadable))
        return notes

    @cached_property
    def fit_rows(self) -> NDArray[np.int64]:
        """The training rows that stitch layers are fitted to."""
        without = [bad.row for bad in self.train.unreadable]
        order = balanced_order(self.train.images.labels, self._study.seed, without=without)
        return order[: self._study.fit.samples]

    def readable_training_rows(self, samples: int) -> NDArray[np.int64]:
        """A class-balanced prefix of the training images, every one of which can be read."""
        without = [bad.row for bad in self._unreadable("train", samples)]
        labels = self._images["train"].labels
        return balanced_order(labels, self._study.seed, without=without)[:samples]

    def readable_val_rows(self) -> NDArray[np.int64]:
        """Every validation image that can be read, in a seeded order."""
        images = self._images["val"]
        samples = len(images.labels)
        without = [bad.row for bad in self._unreadable("val", samples)]
        return subset(images, samples, self._study.seed, without=without)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of a study's texts; all of its anchors share it."""
        return shared_tokenizer(self._study.anchors)

    @cached_property
    def _images(self) -> dict[SplitName, Images | Windows]:
        """The data sets of all splits; their classes are the same."""
        data, refs = self._study.data, self._refs.items()
        images: dict[SplitName, Images | Windows]
        if self._study.task == "language":
            images = {
                name: Windows(ref, self.tokenizer, data.length)
                for name, ref in refs
                if ref is not None
            }
        elif self._study.task == "segmentation":
            images = {
                name: open_label_maps(ref, classes=data.classes, void=data.void)
                for name, ref in refs
                if ref is not None
            }
        else:
            images = {name: open_images(ref) for name, ref in refs if ref is not None}
        wanted = images["train"].class_names
        for name, those in images.items():
            if those.class_names != wanted:
                odd = sorted(set(wanted) ^ set(those.class_names))
                raise DataError(
                    f"{self._refs[name]}: its classes are not those of the training images; "
                    f"in only one of them: {', '.join(odd[:5])}"
                )
        return images

    def _split(self, name: SplitName, samples: int, looked_at: int) -> Split:
        """A split of so many samples.

        Args:
            looked_at: how many samples are checked for damage.
        """
        images, ref, seed = self._images[name], self._refs[name], self._study.seed
        assert ref is not None
        unreadable = self._unreadable(name, looked_at)
        without = [bad.row for bad in unreadable]
        identity: SplitIdentity = {
            "ref": ref,
            "fingerprint": images.fingerprint,
            "samples": min(samples, len(images.labels) - len(without)),
            "images": len(images.labels),
            "seed": seed,
            "left_out": without,
        }
        if images.passed_over:
            identity["passed_over"] = dict(images.passed_over)
        return Split(
            images=images,
            rows=subset(images, samples, seed, without=without),
            identity=identity,
            unreadable=tuple(unreadable),
        )

    def _unreadable(self, name: SplitName, samples: int) -> list[Unreadable]:
        images, ref, seed = self._images[name], self._refs[name], self._study.seed
        assert ref is not None
        if isinstance(images, Windows) or not images.stored:
            return []
        samples = min(samples, len(images.labels))
        key = unreadable_key(ref, images.fingerprint, samples, seed)
        look = partial(find_unreadable, ref, images, samples, seed, progress=self._progress)
        return [Unreadable(*entry) for entry in self._compute(key, look)]
