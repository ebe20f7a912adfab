"""The bench: a study bound to its networks, its data, a store and a device."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import klas.digits  # noqa: F401 - registers the built-in networks and images
from klas.data import (
    Images,
    Unreadable,
    balanced_order,
    find_unreadable,
    open_images,
    subset,
    unreadable_sentence,
)
from klas.data import batches as image_batches
from klas.data.labels import Output, columns_by_anchor, read_class_map
from klas.errors import AnchorError, DataError
from klas.measures.schedule import batch_rows
from klas.networks.anchor import Anchor, freeze
from klas.networks.batch_size import BatchSize, image_bytes, memory_budget_bytes
from klas.networks.cost import AnchorCost, anchor_cost, stitch_cost
from klas.networks.device import forward_precision, pick_device
from klas.networks.load import check_model_name, load_anchor
from klas.networks.splitting.split import SPLITTER
from klas.networks.stitch import State, StitchLayer, stitch_layer
from klas.progress import Progress
from klas.results import keys
from klas.selection.space import Stitch, candidates
from klas.storage.store import Store
from klas.study import FinetuningSpec, Study, TuningSpec


class Bench:
    """Everything that the stages work with; see the module's text.

    Attributes:
        precision: what forward passes compute in.
        anchors: name → the network, frozen, on the device.
        described: name → what identifies the anchor, as JSON values.
        train, val, test: the images, of a test split if there is one; ``train_rows``,
            ``val_rows`` and ``test_rows`` those that are looked at, ``fit_rows`` those that
            stitch layers are fitted to.
        train_data, val_data, test_data: what identifies them, as JSON values.
        classes: how many the images have.
        notes: what people should know about the data, in sentences.
        batch: how many images go through the networks at once.
        costs: name → MACs and parameters of the anchor's parts.
        pairs: (source, target) names, in order.

    Raises:
        KlasError: anything about the study, its anchors or its data that does not fit.
    """

    def __init__(
        self, study: Study, store: Store, progress: Progress, *, device: str, allow_code: bool
    ) -> None:
        self.study = study
        self.store = store
        self.progress = progress
        self.device = pick_device(device)
        self.precision = forward_precision(self.device, study.precision)
        # Where keys say float32, convolutions must not round to TF32 on CUDA.
        torch.backends.cudnn.allow_tf32 = False
        data = study.data
        # What is cheap to refuse comes first; weights may take minutes to load.
        for spec in study.anchors:
            check_model_name(spec, allow_code=allow_code)
        class_map = read_class_map(data.class_map)
        self.train, self.val = open_images(data.train), open_images(data.val)
        self.test = open_images(data.test) if data.test is not None else None
        self._check_class_names()
        self.classes = len(self.train.class_names)
        self.anchors: dict[str, Anchor] = {}
        for spec in study.anchors:
            self.anchors[spec.name] = load_anchor(
                spec, crop=data.crop, interpolation=data.interpolation, allow_code=allow_code
            )
        self._match_classes(class_map)
        for name, anchor in self.anchors.items():
            freeze(anchor, self.device)
            if study.probes.pool == "prefix" and not all(lay.prefix for lay in anchor.info.layouts):
                raise AnchorError(
                    f'{name}: not every cut has prefix tokens; set [probes] pool = "mean"'
                )
        self.described = {n: _describe(a) for n, a in self.anchors.items()}
        self.notes: list[str] = []
        self.train_data, unreadable = self._described_data(
            data.train, self.train, data.train_samples, max(data.train_samples, study.fit.samples)
        )
        self.train_rows = subset(self.train, data.train_samples, study.seed, without=unreadable)
        order = balanced_order(self.train.labels, study.seed, without=unreadable)
        self.fit_rows = order[: study.fit.samples]
        self.val_data, unreadable = self._described_data(
            data.val, self.val, data.val_samples, data.val_samples
        )
        self.val_rows = subset(self.val, data.val_samples, study.seed, without=unreadable)
        self.test_data: dict[str, Any] | None = None
        if self.test is not None and data.test is not None:
            self.test_data, unreadable = self._described_data(
                data.test, self.test, data.test_samples, data.test_samples
            )
            self.test_rows = subset(self.test, data.test_samples, study.seed, without=unreadable)
        self.costs = {name: self._cost(name) for name in self.anchors}
        self.pairs = self._pairs()
        layouts = (anchor.info.layouts for anchor in self.anchors.values())
        at_most_two = sorted(map(image_bytes, layouts))[-2:]  # source and target run together
        self.batch = BatchSize(sum(at_most_two), memory_budget_bytes(self.device))

    def candidates(self, source: str, target: str) -> list[tuple[Stitch, bool, bool]]:
        """A pair's candidates: ((i, j), in the space?, in SN-Net's set?)."""
        stages = (self.anchors[source].info.stages, self.anchors[target].info.stages)
        return candidates(*stages, self.study.selection.space)

    def stitch_cost(self, source: str, i: int, target: str, j: int) -> tuple[int, int]:
        """(MACs, parameters) of a stitch."""
        return stitch_cost(
            self.anchors[source].info,
            self.costs[source],
            i,
            self.anchors[target].info,
            self.costs[target],
            j,
        )

    def layers(
        self, source: str, target: str, states: Mapping[Stitch, State]
    ) -> dict[Stitch, StitchLayer]:
        """A stitch layer on the device for each (i, j), with the given values."""
        have, want = self.anchors[source].info.layouts, self.anchors[target].info.layouts
        return {
            (i, j): stitch_layer(have[i], want[j], state).to(self.device)
            for (i, j), state in states.items()
        }

    def batches(
        self, images: Images, rows: NDArray[np.int64], *viewers: str, batch: int | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """Batches of some rows: the images as each of the viewers sees them, then labels.

        As many at once as the memory takes, if ``batch`` does not say it.
        """
        transforms = [self.anchors[name].info.transform for name in viewers]
        size = batch or self.batch.size
        return image_batches(images, rows, transforms, device=self.device, batch=size)

    def training_batches(
        self,
        source: str,
        target: str,
        rows: NDArray[np.int64],
        settings: TuningSpec | FinetuningSpec,
    ) -> Callable[[int], Iterator[tuple[Tensor, ...]]]:
        """From a first step to its batch of training rows and all that follow, in seeded order."""
        steps, batch, seed = settings.steps, settings.batch, self.study.order_seed(settings)

        def batches_from(first: int) -> Iterator[tuple[Tensor, ...]]:
            order = batch_rows(first, steps, rows=len(rows), batch=batch, seed=seed)
            return self.batches(self.train, rows[order], source, target, batch=batch)

        return batches_from

    def readable_training_rows(self, samples: int) -> NDArray[np.int64]:
        """A class-balanced prefix of the training images, every one of which can be read."""
        found = self._unreadable(self.study.data.train, self.train, samples)
        without = [bad.row for bad in found]
        return balanced_order(self.train.labels, self.study.seed, without=without)[:samples]

    def readable_val_rows(self) -> NDArray[np.int64]:
        """Every validation image that can be read, in a seeded order."""
        samples = len(self.val.labels)
        found = self._unreadable(self.study.data.val, self.val, samples)
        return subset(self.val, samples, self.study.seed, without=[bad.row for bad in found])

    def split(self, name: Literal["val", "test"]) -> tuple[Images, NDArray[np.int64], Any]:
        """A split's images, the rows that are looked at, and what identifies them."""
        if name == "val":
            return self.val, self.val_rows, self.val_data
        assert self.test is not None
        return self.test, self.test_rows, self.test_data

    def _cost(self, name: str) -> AnchorCost:
        key = keys.cost_key(self.described[name])
        raw = self.store.compute(key, lambda: asdict(anchor_cost(self.anchors[name])))
        return AnchorCost(
            macs=tuple(raw["macs"]),
            front_params=tuple(raw["front_params"]),
            back_params=tuple(raw["back_params"]),
            total_params=raw["total_params"],
        )

    def _pairs(self) -> list[tuple[str, str]]:
        wanted = self.study.pairs
        if wanted == "cheaper-first":
            pairs = []
            for a, b in combinations(self.anchors, 2):
                cost_a, cost_b = self.costs[a].total_macs, self.costs[b].total_macs
                if cost_a <= cost_b:
                    pairs.append((a, b))
                if cost_a >= cost_b:
                    pairs.append((b, a))
        elif wanted == "both-directions":
            pairs = [p for a, b in combinations(self.anchors, 2) for p in ((a, b), (b, a))]
        else:
            pairs = list(wanted)
        headless = [name for name, anchor in self.anchors.items() if not anchor.info.classes]
        if not isinstance(wanted, str):
            for _, target in pairs:
                if target in headless:
                    raise AnchorError(
                        f"{target}: has no head, so it can be a source only; turn the pair round"
                    )
        usable = [pair for pair in pairs if pair[1] not in headless]
        if not usable:
            raise AnchorError("no pair has a target with a head, so nothing can be stitched")
        return usable

    def _match_classes(self, class_map: Mapping[str, int] | None) -> None:
        """Let every anchor's logits be the classes of the images, in their order."""
        outputs = {
            name: Output(anchor.info.classes, tagged="tag" in anchor.info.weights)
            for name, anchor in self.anchors.items()
        }
        names, where = self.train.class_names, self.study.data.train
        columns = columns_by_anchor(outputs, names, class_map=class_map, where=where)
        for name, wanted in columns.items():
            self.anchors[name].select(wanted)

    def _described_data(
        self, ref: str, images: Images, samples: int, looked_at: int
    ) -> tuple[dict[str, Any], list[int]]:
        """What identifies a subset, as JSON values, and the rows that cannot be read."""
        found = self._unreadable(ref, images, looked_at)
        if found:
            self.notes.append(unreadable_sentence(ref, found))
        rows = [bad.row for bad in found]
        count = min(samples, len(images.labels) - len(rows))
        described = {
            "ref": ref,
            "fingerprint": images.fingerprint,
            "samples": count,
            "images": len(images.labels),
            "seed": self.study.seed,
            "left_out": rows,
        }
        return described, rows

    def _unreadable(self, ref: str, images: Images, samples: int) -> list[Unreadable]:
        if not images.stored:
            return []
        samples = min(samples, len(images.labels))
        seed = self.study.seed
        key = keys.unreadable_key(ref, images.fingerprint, samples, seed)
        found = self.store.compute(
            key, lambda: find_unreadable(ref, images, samples, seed, progress=self.progress)
        )
        return [Unreadable(*entry) for entry in found]

    def _check_class_names(self) -> None:
        for ref, images in ((self.study.data.val, self.val), (self.study.data.test, self.test)):
            if images is not None and self.train.class_names != images.class_names:
                odd = sorted(set(self.train.class_names) ^ set(images.class_names))
                raise DataError(
                    f"{ref}: its classes are not those of the training images; "
                    f"in only one of them: {', '.join(odd[:5])}"
                )


def _describe(anchor: Anchor) -> dict[str, Any]:
    info = anchor.info
    return {
        "name": info.name,
        "model": info.model,
        "digest": info.digest,
        "source": info.weights.get("source"),
        "splitter": SPLITTER,
        "transform": info.transform.to_json(),
        "columns": None if info.columns is None else list(info.columns),
    }
