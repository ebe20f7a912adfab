"""The bench: a study bound to its networks, its data, a store and a device."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas import keys
from klas.choice.space import Stitch, candidates
from klas.data import FORWARD_BATCH, Images, balanced_order, open_images, subset
from klas.data import batches as image_batches
from klas.device import forward_precision, pick_device
from klas.errors import AnchorError, DataError
from klas.measures.schedule import batch_rows
from klas.networks.anchor import Anchor, freeze
from klas.networks.count import AnchorCost, anchor_cost, stitch_cost
from klas.networks.load import check_model_name, load_anchor
from klas.networks.split import SPLITTER
from klas.networks.stitch import State, StitchLayer, stitch_layer
from klas.store import Store
from klas.study import Study


class Bench:
    """Everything that the stages work with; see the module's text.

    Attributes:
        precision: what forward passes compute in.
        anchors: name → the network, frozen, on the device.
        described: name → what identifies the anchor, as JSON values.
        train, val: the images; ``train_rows`` and ``val_rows`` those that are looked at,
            ``fit_rows`` those that stitch layers are fitted to.
        train_data, val_data: what identifies them, as JSON values.
        costs: name → MACs and parameters of the anchor's parts.
        pairs: (source, target) names, in order.

    Raises:
        KlasError: anything about the study, its anchors or its data that does not fit.
    """

    def __init__(self, study: Study, store: Store, *, device: str = "auto") -> None:
        self.study = study
        self.store = store
        self.device = pick_device(device)
        self.precision = forward_precision(self.device, study.precision)
        # Where keys say float32, convolutions must not round to TF32 on CUDA.
        torch.backends.cudnn.allow_tf32 = False
        data = study.data
        # What is cheap to refuse comes first; weights may take minutes to load.
        for spec in study.anchors:
            check_model_name(spec)
        self.train, self.val = open_images(data.train), open_images(data.val)
        self.anchors: dict[str, Anchor] = {}
        for spec in study.anchors:
            anchor = load_anchor(spec, crop=data.crop, interpolation=data.interpolation)
            self.anchors[spec.name] = freeze(anchor, self.device)
        self._check_classes()
        for name, anchor in self.anchors.items():
            if study.probes.pool == "prefix" and not all(lay.prefix for lay in anchor.info.layouts):
                raise AnchorError(
                    f'{name}: not every cut has prefix tokens; set [probes] pool = "mean"'
                )
        self.described = {n: _describe(a) for n, a in self.anchors.items()}
        self.train_data = _describe_data(data.train, self.train, data.train_samples, study.seed)
        self.val_data = _describe_data(data.val, self.val, data.val_samples, study.seed)
        self.train_rows = subset(self.train, data.train_samples, study.seed)
        self.val_rows = subset(self.val, data.val_samples, study.seed)
        self.fit_rows = balanced_order(self.train.labels, study.seed)[: study.fit.samples]
        self.costs = {n: self._cost(a) for n, a in self.anchors.items()}
        self.pairs = self._pairs()

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
        self, images: Images, rows: NDArray[np.int64], *viewers: str, batch: int = FORWARD_BATCH
    ) -> Iterator[tuple[Tensor, ...]]:
        """Batches of some rows: the images as each of the viewers sees them, then labels."""
        transforms = [self.anchors[name].info.transform for name in viewers]
        return image_batches(images, rows, transforms, device=self.device, batch=batch)

    def training_batches(
        self, source: str, target: str, rows: NDArray[np.int64], steps: int, batch: int
    ) -> Callable[[int], Iterator[tuple[Tensor, ...]]]:
        """From a first step to its batch of training rows and all that follow, in seeded order."""

        def batches_from(first: int) -> Iterator[tuple[Tensor, ...]]:
            order = batch_rows(first, steps, rows=len(rows), batch=batch, seed=self.study.seed)
            return self.batches(self.train, rows[order], source, target, batch=batch)

        return batches_from

    def _cost(self, anchor: Anchor) -> AnchorCost:
        key = keys.cost_key(_describe(anchor))
        raw = self.store.compute(key, lambda: asdict(anchor_cost(anchor)))
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
        return pairs

    def _check_classes(self) -> None:
        classes = {name: a.info.classes for name, a in self.anchors.items()}
        if len(set(classes.values())) > 1:
            listed = ", ".join(f"{n} has {c}" for n, c in classes.items())
            raise AnchorError(
                f"the anchors have different classes ({listed}); none can be stitched"
            )
        count = next(iter(classes.values()))
        for ref, images in ((self.study.data.train, self.train), (self.study.data.val, self.val)):
            if len(images.class_names) != count:
                raise DataError(
                    f"{ref}: holds {len(images.class_names)} classes, but the anchors tell "
                    f"{count} apart"
                )
        if self.train.class_names != self.val.class_names:
            odd = sorted(set(self.train.class_names) ^ set(self.val.class_names))
            raise DataError(
                f"{self.study.data.val}: its classes are not those of the training images; "
                f"in only one of them: {', '.join(odd[:5])}"
            )


def _describe(anchor: Anchor) -> dict[str, Any]:
    info = anchor.info
    return {
        "name": info.name,
        "model": info.model,
        "digest": info.digest,
        "splitter": SPLITTER,
        "transform": info.transform.to_json(),
    }


def _describe_data(ref: str, images: Images, samples: int, seed: int) -> dict[str, Any]:
    count = min(samples, len(images.labels))
    return {"ref": ref, "fingerprint": images.fingerprint, "samples": count, "seed": seed}
