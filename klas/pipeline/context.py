"""The context: a study bound to its networks, its data, a store and a device.

Nothing is opened before it is asked for, so a context is cheap to make wherever a result is to be
made: in this process, in another one, on another host.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import klas.digits
import klas.tales  # noqa: F401 - both register built-in networks and data
from klas.data import Images, Windows, text_batches
from klas.data import batches as image_batches
from klas.data.labels import Output, columns_by_anchor, read_class_map
from klas.errors import AnchorError, StoreError
from klas.measures.schedule import batch_rows
from klas.networks.anchor import Anchor, freeze
from klas.networks.batch_size import BatchSize, image_bytes, memory_budget_bytes
from klas.networks.cost import AnchorCost, Cost, anchor_cost, deployed_stitch_cost, stitch_cost
from klas.networks.decoders.load import load_decoder
from klas.networks.device import forward_precision, pick_device, visible_devices
from klas.networks.family import Family
from klas.networks.load import check_model_name, load_anchor
from klas.networks.pretrained import pixels
from klas.networks.splitting.split import SPLITTER
from klas.pipeline.splits import Split, Splits
from klas.progress import Progress, Silent
from klas.results.documents.sources import AnchorIdentity, Data, Transform
from klas.results.keys import Keys, cost_key
from klas.results.refs import note_used
from klas.results.result import Fit, Layers, Result, ZeroShot
from klas.selection.space import Place, candidates
from klas.storage.arrays import Arrays
from klas.storage.key import Key
from klas.storage.store import Store
from klas.study import FinetuningSpec, Study, TuningSpec
from klas.tasks.objective import Objective
from klas.tasks.objectives import objective_of


class Context:
    """Everything that results are made from.

    Attributes:
        study, store: what is computed, and where it is kept.
        progress: where the progress of the work is reported.
        device: where networks run.
        wish: the device as it was asked for.
        devices: where those of workers may run, as torch calls them.
        precision: what forward passes compute in.
        allow_code: whether an anchor may be a Python function of the user's.
        objective: the study's task.
        splits: its data.
        used: digests of the results that were read or made through this context.

    Raises (when the thing in question is first asked for):
        KlasError: anything about the study, its anchors or its data that does not fit.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        *,
        device: str = "auto",
        devices: Sequence[str] = (),
        allow_code: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Bind a study to a store and a device.

        Args:
            device: ``auto`` (CUDA, else MPS, else the CPU) or what torch calls it.
            devices: all that workers may take, this one included; without a word that is every
                GPU if the device is ``auto`` or ``cuda``, else this one alone.
            allow_code: whether an anchor may be a Python function of the user's
                (``"package.module:factory"``), which is then run.
            progress: where the progress of the work is reported.
        """
        self.study = study
        self.store = store
        self.progress: Progress = progress or Silent()
        self.wish = device
        self.device = pick_device(device)
        self.devices = tuple(devices) or visible_devices(self.device)
        self.precision = forward_precision(self.device, study.precision)
        self.objective: Objective = objective_of(study.task)
        self.used: set[str] = set()
        self.splits = Splits(study, self.compute, self.progress)
        self.allow_code = allow_code
        # Where keys say float32, convolutions must not round to TF32 on CUDA.
        torch.backends.cudnn.allow_tf32 = False

    def open(self) -> list[str]:
        """Open everything now, beginning with what is cheap to refuse.

        Returns:
            What people should know about the data, in sentences.

        Raises:
            KlasError: anything about the study, its anchors or its data that does not fit.
        """
        _ = self.anchors, self.pairs
        return self.splits.notes

    # -- networks --------------------------------------------------------------------------

    @cached_property
    def anchors(self) -> dict[str, Anchor]:
        """Name → the network, frozen, on the device."""
        if self.study.task == "language":
            return self._decoders()
        study = self.study
        # What is cheap to refuse comes first; weights may take minutes to load.
        for spec in study.anchors:
            check_model_name(spec, allow_code=self.allow_code)
        class_map = read_class_map(study.data.class_map)
        class_names = self.splits.class_names
        anchors = {
            spec.name: load_anchor(
                spec,
                crop=study.data.crop,
                interpolation=study.data.interpolation,
                allow_code=self.allow_code,
                task=study.task,
            )
            for spec in study.anchors
        }
        if study.task == "segmentation":
            _refuse_sizes(anchors)
        # Every anchor's outputs are the classes of the images, in their order.
        outputs = {
            name: Output(anchor.info.classes, tagged="tag" in anchor.info.weights)
            for name, anchor in anchors.items()
        }
        columns = columns_by_anchor(
            outputs, class_names, class_map=class_map, where=study.data.train
        )
        for name, wanted in columns.items():
            anchors[name].select(wanted)
        for name, anchor in anchors.items():
            freeze(anchor, self.device)
            if study.probes.pool == "prefix" and not all(lay.prefix for lay in anchor.info.layouts):
                raise AnchorError(
                    f'{name}: not every cut has prefix tokens; set [probes] pool = "mean"'
                )
        return anchors

    def _decoders(self) -> dict[str, Anchor]:
        """The anchors of a study of texts; their tokenizer and the texts come first."""
        _ = self.splits.train, self.splits.val, self.splits.test
        anchors = {
            spec.name: load_decoder(spec, self.study.data.length) for spec in self.study.anchors
        }
        for anchor in anchors.values():
            freeze(anchor, self.device)
        return anchors

    @property
    def words(self) -> int:
        """How many words all decoders of the study have; beyond them is padding."""
        return min(anchor.info.classes for anchor in self.anchors.values())

    @cached_property
    def identities(self) -> dict[str, AnchorIdentity]:
        """Name → what identifies the anchor."""
        return {name: _identity(anchor) for name, anchor in self.anchors.items()}

    @cached_property
    def costs(self) -> dict[str, AnchorCost]:
        """Name → MACs and parameters of the anchor's parts."""
        return {name: self._cost(name) for name in self.anchors}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(source, target) of the study's pairs, in order."""
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
            for _, target in pairs:
                if target in self.headless:
                    raise AnchorError(
                        f"{target}: has no head, so it can only be a source; swap the pair"
                    )
        usable = [pair for pair in pairs if pair[1] not in self.headless]
        if not usable:
            raise AnchorError("no pair has a target with a head, so nothing can be stitched")
        return usable

    @cached_property
    def headless(self) -> frozenset[str]:
        """The anchors that have no head."""
        return frozenset(name for name, anchor in self.anchors.items() if not anchor.info.classes)

    def candidates(self, source: str, target: str) -> list[tuple[Place, bool, bool]]:
        """A pair's candidates: ((i, j), in the space?, in SN-Net's set?)."""
        stages = (self.anchors[source].info.stages, self.anchors[target].info.stages)
        return candidates(*stages, self.study.selection.space)

    def places(self, source: str, target: str) -> list[Place]:
        """(i, j) of a pair's candidates, in order."""
        return [place for place, _, _ in self.candidates(source, target)]

    def stitch_cost(self, source: str, i: int, target: str, j: int) -> Cost:
        """What a stitch costs."""
        have, want = self.anchors[source].info, self.anchors[target].info
        return stitch_cost(have, self.costs[source], i, want, self.costs[target], j)

    def deployed_stitch_cost(self, source: str, i: int, target: str, j: int) -> Cost | None:
        """What a stitch costs with its parts fused; None where nothing in the pair can be fused."""
        have, want = self.anchors[source].info, self.anchors[target].info
        return deployed_stitch_cost(have, self.costs[source], i, want, self.costs[target], j)

    def family(
        self, names: Iterable[str], arrays: Mapping[str, NDArray[Any]], places: Iterable[Place]
    ) -> Family:
        """Some stitches of a pair, with their values from a stored tier."""
        source, target = (self.anchors[name] for name in names)
        return Family.from_arrays(source, target, arrays, places)

    # -- data ------------------------------------------------------------------------------

    @property
    def train(self) -> Split:
        """The training samples; probes are trained on them."""
        return self.splits.train

    @property
    def val(self) -> Split:
        """The validation samples."""
        return self.splits.val

    @property
    def test(self) -> Split | None:
        """The samples that no choice sees, if the study names any."""
        return self.splits.test

    @cached_property
    def batch(self) -> BatchSize:
        """How many samples go through the networks at once."""
        each = (
            image_bytes(anchor.info.layouts) * anchor.info.transform.positions
            + self.objective.output_bytes(anchor.info)
            for anchor in self.anchors.values()
        )
        at_most_two = sorted(each)[-2:]  # source and target run together
        return BatchSize(sum(at_most_two), memory_budget_bytes(self.device))

    def batches(
        self,
        images: Images | Windows,
        rows: NDArray[np.int64],
        *viewers: str,
        batch: int | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Batches of some rows: the samples as each of the viewers sees them, then targets.

        Without ``batch``, a batch is as large as memory allows.
        """
        size = batch or self.batch.size
        if isinstance(images, Windows):
            return text_batches(images, rows, views=len(viewers), device=self.device, batch=size)
        transforms = [self.anchors[name].info.images for name in viewers]
        return image_batches(images, rows, transforms, device=self.device, batch=size)

    def training_batches(
        self,
        names: tuple[str, str],
        rows: NDArray[np.int64],
        settings: TuningSpec | FinetuningSpec,
    ) -> Callable[[int], Iterator[tuple[Tensor, ...]]]:
        """A function from a first step to its batch and all later ones, in seeded order."""
        steps, batch, seed = settings.steps, settings.batch, self.study.order_seed(settings)

        def batches_from(first: int) -> Iterator[tuple[Tensor, ...]]:
            order = batch_rows(first, steps, rows=len(rows), batch=batch, seed=seed)
            return self.batches(self.train.images, rows[order], *names, batch=batch)

        return batches_from

    # -- results ---------------------------------------------------------------------------

    @property
    def data(self) -> Data:
        """What identifies the splits."""
        return {
            "train": self.train.identity,
            "val": self.val.identity,
            "test": None if self.test is None else self.test.identity,
        }

    @cached_property
    def keys(self) -> Keys:
        """The keys of the study's results."""
        return Keys(
            study=self.study,
            anchors=self.identities,
            data=self.data,
            precision=self.precision,
            candidates=self.places,
        )

    def has(self, result: Result) -> bool:
        """Whether a result is stored and whole."""
        key = self.keys.of(result)
        there = self.store.has(key)
        if there:
            self.used.add(key.digest)
        return there

    def get(self, result: Result) -> Any:
        """A stored result, or None."""
        key = self.keys.of(result)
        value = self.store.get(key)
        if value is not None:
            self.used.add(key.digest)
        return value

    def read(self, result: Result) -> Any:
        """A result that another one is made from.

        Raises:
            StoreError: it is not there, though it was made before.
        """
        value = self.get(result)
        if value is None:
            label = self.keys.of(result).label
            raise StoreError(
                f"{self.store.root}: {label} was deleted while it was needed; run it again"
            )
        return value

    def layers(self, result: Layers) -> Arrays:
        """What a tier holds: ``i-j.weight``, …, ``statistics/i-j/…``, and anchors if trained.

        Raises:
            StoreError: it is not there.
        """
        arrays: Arrays = self.read(result)
        if isinstance(result, ZeroShot):
            fitted = Fit(source=result.source, target=result.target)
            arrays = self.read(fitted) | arrays
        return arrays

    def compute(self, key: Key, make: Callable[[], Any]) -> Any:
        """The stored value, made and stored first if it is absent.

        It is noted as the study's before it is made, so whatever ends the run, at no moment does
        it belong to no study.
        """
        self.used.add(key.digest)
        self.record()
        return self.store.compute(key, make)

    def note(self, results: Iterable[Result]) -> None:
        """Note results as this study's before any is looked for: others leave them alone."""
        self.used.update(self.keys.of(result).digest for result in results)
        self.record()

    def record(self) -> None:
        """Note which results of the store are this study's."""
        note_used(self.store, self.study, self.used)

    def _cost(self, name: str) -> AnchorCost:
        key = cost_key(self.identities[name])
        raw = self.compute(key, lambda: asdict(anchor_cost(self.anchors[name])))
        return AnchorCost.from_json(raw)


def _refuse_sizes(anchors: Mapping[str, Anchor]) -> None:
    """Refuse anchors that see label maps of different sizes: their mIoU would not compare."""
    sizes = {name: anchor.info.images.input_size[1:] for name, anchor in anchors.items()}
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{name} {pixels(size)}" for name, size in sizes.items())
        raise AnchorError(
            f"the anchors are compared pixel by pixel, but see images of different sizes ({each}); "
            "give each the same `image_size`"
        )


def _identity(anchor: Anchor) -> AnchorIdentity:
    info = anchor.info
    identity: AnchorIdentity = {
        "name": info.name,
        "model": info.model,
        "digest": info.digest,
        "source": info.weights.get("source"),
        "splitter": SPLITTER,
        "transform": cast(Transform, info.transform.to_json()),
        "columns": None if info.columns is None else list(info.columns),
    }
    if info.fused:
        identity["fused"] = True
    return identity
