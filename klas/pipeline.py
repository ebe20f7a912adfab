"""Run a study's stages into the store. What a worker process executes."""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas import keys
from klas.choice.scores import pair_scores
from klas.choice.space import Stitch, candidates
from klas.data import FORWARD_BATCH, Images, balanced_order, open_images, subset
from klas.data import batches as image_batches
from klas.errors import AnchorError, DataError, KlasError, SelectionError
from klas.exports import optional
from klas.measures.accuracy import network_hits, stitched_hits
from klas.measures.divergence import theta
from klas.measures.least_squares import CrossMoments
from klas.measures.probes import Probe, train_probe
from klas.measures.schedule import batch_rows
from klas.measures.sweep import Outputs, PooledFeatures, Tick, sweep
from klas.measures.training import finetune, tune
from klas.networks.anchor import Anchor, freeze
from klas.networks.count import AnchorCost, anchor_cost, stitch_cost
from klas.networks.load import check_model_name, load_anchor
from klas.networks.split import SPLITTER
from klas.networks.stitch import check_layouts, set_stitch_layer, stitch_layer
from klas.results import Pair, finetuned_pair_key
from klas.store import Arrays, Key, Store
from klas.study import STAGES, Stage, Study

THETA_CHUNK = 500  # samples whose probabilities are in memory at once


class Progress(Protocol):
    """Who is told how far the work is: a terminal, a status file, or nobody."""

    def start(self, stage: str, unit: str, total: int) -> None:
        """A stage begins that has ``total`` units to do; 0 when all of it was cached."""
        ...

    def label(self, text: str) -> None:
        """What of the stage is in hand."""
        ...

    def advance(self, amount: int) -> None:
        """So many units are done."""
        ...


class Silent:
    """Tells nobody."""

    def start(self, stage: str, unit: str, total: int) -> None:
        """Do nothing."""

    def label(self, text: str) -> None:
        """Do nothing."""

    def advance(self, amount: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One result to have: its key, whose it is, how much work it is, and how to make it."""

    key: Key
    anchors: tuple[str, ...]
    units: int
    make: Callable[[Tick], Any]


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA, else MPS, else the CPU; otherwise what torch calls the device.

    Raises:
        KlasError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise KlasError(f"device {name!r} is not available here; try cpu or auto") from None
    return device


class Pipeline:
    """A study bound to its networks, its data, a store and a device.

    Raises:
        KlasError: anything about the study, its anchors or its data that does not fit.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        *,
        device: str = "auto",
        progress: Progress | None = None,
    ) -> None:
        self.study = study
        self.store = store
        self.device = pick_device(device)
        self.progress: Progress = progress or Silent()
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
            if study.probes.pool == "prefix" and anchor.info.layouts[0].prefix == 0:
                raise AnchorError(f'{name}: has no prefix tokens; set [probes] pool = "mean"')
        self._described = {n: _describe(a) for n, a in self.anchors.items()}
        self._train_data = _describe_data(data.train, self.train, data.train_samples, study.seed)
        self._val_data = _describe_data(data.val, self.val, data.val_samples, study.seed)
        self.train_rows = subset(self.train, data.train_samples, study.seed)
        self.val_rows = subset(self.val, data.val_samples, study.seed)
        self.costs = {n: self._cost(a) for n, a in self.anchors.items()}
        self.pairs = self._pairs()

    # -- what there is to compute ----------------------------------------------------------

    def run(self, until: Stage = "tuned") -> dict[str, Any]:
        """Compute every stage up to ``until`` that is not cached; return the scores document.

        The document is also kept under the study's own name in the store, for the dashboard.
        """
        for stage in STAGES[: STAGES.index(until) + 1]:
            for name, unit, tasks in self.tasks(stage):
                missing = [t for t in tasks if not self.store.has(t.key)]
                self.progress.start(name, unit, sum(t.units for t in missing))
                for task in missing:
                    self.progress.label(task.key.label)
                    self._have(task)
        document = self.document()
        self.store.set_ref(f"scores-{self.study.key()}", document)
        return document

    def tasks(self, stage: Stage) -> list[tuple[str, str, list[Task]]]:
        """A stage's work in order: (name, unit, tasks)."""
        anchors, pairs = list(self.anchors), self.pairs
        match stage:
            case "anchors":
                tasks = [self._val_task(a) for a in anchors]
                return [("anchors", "images", tasks)]
            case "probes":
                return [
                    ("features", "images", [self._train_task(a) for a in anchors]),
                    ("probes", "probes", [self._probes_task(a) for a in anchors]),
                ]
            case "scores":
                sides = dict.fromkeys([*pairs, *((t, t) for _, t in pairs)])
                return [("scores", "matrices", [self._theta_task(a, b) for a, b in sides])]
            case "zero_shot":
                zero_shot = [self._zero_shot_task(a, b) for a, b in pairs]
                return [("zero_shot", "stitch·images", zero_shot)]
            case "tuned":
                return [("tuned", "stitch·steps", [self._tuned_task(a, b) for a, b in pairs])]

    def _have(self, task: Task) -> Any:
        return self.store.compute(task.key, partial(task.make, self.progress.advance))

    # -- anchors ---------------------------------------------------------------------------

    def _cost(self, anchor: Anchor) -> AnchorCost:
        key = keys.cost_key(_describe(anchor))
        raw = self.store.compute(key, lambda: asdict(anchor_cost(anchor)))
        return AnchorCost(macs=tuple(raw["macs"]), params=tuple(raw["params"]))

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
        for a, b in pairs:
            source, target = self.anchors[a].info, self.anchors[b].info
            check_layouts(source.layouts[-1], target.layouts[-1], f"{a} → {b}")
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
            if images.classes != count:
                raise DataError(
                    f"{ref}: holds {images.classes} classes, but the anchors tell {count} apart"
                )

    def _val_task(self, name: str) -> Task:
        def make(tick: Tick) -> Arrays:
            anchor = self.anchors[name]
            samples = len(self.val_rows)
            features = PooledFeatures(anchor, self.study.probes.pool, samples)
            outputs = Outputs(anchor, samples)
            sweep(anchor, self.batches(self.val, self.val_rows, name), [features, outputs], tick)
            return {**features.compute(), "logits": outputs.compute()}

        key = keys.features_key(self._described[name], self._val_data, self.study.probes.pool)
        return Task(key=key, anchors=(name,), units=len(self.val_rows), make=make)

    def _theta_output(self, source: str, target: str) -> float:
        def make() -> float:
            first = torch.from_numpy(self._have(self._val_task(source))["logits"])
            second = torch.from_numpy(self._have(self._val_task(target))["logits"])
            return float(theta([(first[None], second[None])])[0, 0])

        digests = [self._val_task(name).key.digest for name in (source, target)]
        key = Key(stage="anchors", version=1, inputs={"what": "theta_output", "of": digests})
        return float(self.store.compute(key, make))

    # -- probes and scores -----------------------------------------------------------------

    def _train_task(self, name: str) -> Task:
        def make(tick: Tick) -> Arrays:
            samples = len(self.train_rows)
            features = PooledFeatures(self.anchors[name], self.study.probes.pool, samples)
            loader = self.batches(self.train, self.train_rows, name)
            sweep(self.anchors[name], loader, [features], tick)
            return features.compute()

        key = keys.features_key(self._described[name], self._train_data, self.study.probes.pool)
        return Task(key=key, anchors=(name,), units=len(self.train_rows), make=make)

    def _probes_task(self, name: str) -> Task:
        anchor = self.anchors[name].info

        def make(tick: Tick) -> Arrays:
            arrays = self._have(self._train_task(name))
            labels = torch.from_numpy(arrays["labels"]).to(self.device)
            found: Arrays = {}
            converged = []
            for k in range(anchor.depth + 1):
                features = torch.from_numpy(arrays[f"cut{k}"]).to(self.device)
                probe = train_probe(features, labels, anchor.classes, l2=self.study.probes.l2)
                for part in ("mean", "std", "weight", "bias"):
                    found[f"cut{k}.{part}"] = getattr(probe, part).cpu().numpy()
                converged.append(probe.converged)
                tick(1)
            return {**found, "converged": np.array(converged)}

        probes = self.study.probes.model_dump(mode="json")
        key = keys.probes_key(self._described[name], self._train_data, probes)
        return Task(key=key, anchors=(name,), units=anchor.depth + 1, make=make)

    def _probe_logits(self, name: str) -> Tensor:
        """(n + 1, N, K): what every probe of an anchor says of the validation samples."""
        features, arrays = self._have(self._val_task(name)), self._have(self._probes_task(name))
        logits = []
        for k, converged in enumerate(arrays["converged"]):
            parts = {
                part: torch.from_numpy(arrays[f"cut{k}.{part}"]).to(self.device)
                for part in ("mean", "std", "weight", "bias")
            }
            probe = Probe(converged=bool(converged), **parts)
            logits.append(probe.logits(torch.from_numpy(features[f"cut{k}"]).to(self.device)))
        return torch.stack(logits)

    def _probe_accuracy(self, name: str) -> list[float]:
        def make() -> list[float]:
            labels = torch.from_numpy(self._have(self._val_task(name))["labels"]).to(self.device)
            hits = (self._probe_logits(name).argmax(-1) == labels).float().mean(1)
            return [float(h) for h in hits]

        of = [t(name).key.digest for t in (self._val_task, self._probes_task)]
        key = Key(stage="probes", version=1, inputs={"what": "accuracy", "of": of})
        found: list[float] = self.store.compute(key, make)
        return found

    def _theta_task(self, first: str, second: str) -> Task:
        def make(tick: Tick) -> list[list[float]]:
            p = self._probe_logits(first)
            q = p if first == second else self._probe_logits(second)
            chunks = zip(p.split(THETA_CHUNK, 1), q.split(THETA_CHUNK, 1))
            matrix = theta(chunks)
            tick(1)
            rows: list[list[float]] = matrix.tolist()
            return rows

        probes = self.study.probes.model_dump(mode="json")
        a, b = self._described[first], self._described[second]
        key = keys.theta_key(a, b, self._train_data, self._val_data, probes)
        return Task(key=key, anchors=(first, second), units=1, make=make)

    # -- stitches --------------------------------------------------------------------------

    def candidates(self, source: str, target: str) -> list[tuple[Stitch, bool, bool]]:
        """A pair's candidates: ((i, j), in the space?, in SN-Net's set?)."""
        depths = (self.anchors[source].info.depth, self.anchors[target].info.depth)
        return candidates(*depths, self.study.selection.space)

    def _zero_shot_task(self, source: str, target: str) -> Task:
        stitches = [stitch for stitch, _, _ in self.candidates(source, target)]

        def make(tick: Tick) -> Arrays:
            fitted = self.fit(source, target, stitches)
            layers = self._layers(source, target, fitted)
            return self._measured(source, target, layers, lambda n: tick(n * len(stitches)))

        fit = self.study.fit.model_dump(mode="json")
        a, b = self._described[source], self._described[target]
        key = keys.zero_shot_key(a, b, stitches, self._train_data, self._val_data, fit)
        units = len(stitches) * len(self.val_rows)
        return Task(key=key, anchors=(source, target), units=units, make=make)

    @torch.inference_mode()
    def fit(
        self, source: str, target: str, stitches: Sequence[Stitch]
    ) -> dict[Stitch, tuple[Tensor, Tensor]]:
        """Stitch layers by least squares: (weight, bias) for each (i, j)."""
        rows = balanced_order(self.train.labels, self.study.seed)[: self.study.fit.samples]
        moments = CrossMoments()
        for views in self.batches(self.train, rows, source, target):
            source_view, target_view, _ = views
            moments.update(
                self.anchors[source].cut_activations(source_view),
                self.anchors[target].cut_activations(target_view),
            )
        return moments.solve(list(stitches))

    def _tuned_task(self, source: str, target: str) -> Task:
        stitches = [stitch for stitch, _, _ in self.candidates(source, target)]
        settings = self.study.tuning

        def make(tick: Tick) -> Arrays:
            layers = self._layers(source, target, stitch_tensors(self._zero_shot(source, target)))
            tune(
                self.anchors[source],
                self.anchors[target],
                layers,
                self._training_batches(
                    source, target, self.train_rows, settings.steps, settings.batch
                ),
                steps=settings.steps,
                lr=settings.lr,
                tick=lambda n: tick(n * len(stitches)),
            )
            return self._measured(source, target, layers, lambda n: None)

        zero_shot = self._zero_shot_task(source, target).key
        key = keys.tuned_key(zero_shot, settings.model_dump(mode="json"), self.study.seed)
        units = len(stitches) * settings.steps
        return Task(key=key, anchors=(source, target), units=units, make=make)

    def _zero_shot(self, source: str, target: str) -> Arrays:
        arrays: Arrays = self._have(self._zero_shot_task(source, target))
        return arrays

    def _layers(
        self, source: str, target: str, tensors: dict[Stitch, tuple[Tensor, Tensor]]
    ) -> dict[Stitch, nn.Linear]:
        have, want = self.anchors[source].info.layouts, self.anchors[target].info.layouts
        layers = {}
        for (i, j), (weight, bias) in tensors.items():
            layers[i, j] = stitch_layer(have[i], want[j]).to(self.device)
            set_stitch_layer(layers[i, j], weight, bias)
        return layers

    def _measured(
        self, source: str, target: str, layers: dict[Stitch, nn.Linear], tick: Tick
    ) -> Arrays:
        """The stitch layers and, packed to bits, which validation samples each gets right."""
        loader = self.batches(self.val, self.val_rows, source)
        hits = stitched_hits(
            self.anchors[source], self.anchors[target], layers, loader, len(self.val_rows), tick
        )
        arrays: Arrays = {}
        for (i, j), layer in layers.items():
            arrays[f"{i}-{j}.weight"] = layer.weight.detach().cpu().numpy()
            arrays[f"{i}-{j}.bias"] = layer.bias.detach().cpu().numpy()
            arrays[f"{i}-{j}.hits"] = np.packbits(hits[i, j])
        return arrays

    # -- joint training of a selection -----------------------------------------------------

    def finetune(self, pair: Pair, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Train a pair's chosen stitches and its anchors jointly; return their accuracies.

        The result is ``{"accuracy": {"i-j": …}, "anchors": {name: …}, "steps": …}``.

        Raises:
            SelectionError: nothing is chosen.
        """
        if not chosen.any():
            raise SelectionError(f"{pair.name}: nothing is chosen, so there is nothing to train")
        key = finetuned_pair_key(pair, chosen, self.study)
        steps = self.study.finetuning.steps
        # The label names the pair; without the stage's own name in it.
        self.progress.start("finetuned", "steps", 0 if self.store.has(key) else steps)
        self.progress.label(pair.name)
        found: dict[str, Any] = self.store.compute(key, lambda: self._finetune(pair, chosen, key))
        return found

    def _finetune(self, pair: Pair, chosen: NDArray[np.bool_], key: Key) -> dict[str, Any]:
        names = (pair.source["name"], pair.target["name"])
        stitches = [(int(i), int(j)) for i, j in pair.stitches[chosen]]
        settings = self.study.finetuning
        # Copies: the pretrained anchors stay what every other result was measured on.
        source, target = (deepcopy(self.anchors[name]) for name in names)
        layers = self._layers(*names, self.fit(*names, stitches))
        checkpoint = self.store.root / "tmp" / f"{key.digest}.safetensors"
        rows = np.arange(len(self.train.labels))  # joint training sees the whole split
        finetune(
            source,
            target,
            layers,
            self._training_batches(*names, rows, settings.steps, settings.batch),
            steps=settings.steps,
            lr=settings.lr,
            seed=self.study.seed,
            checkpoint=checkpoint,
            tick=self.progress.advance,
            teacher=self.anchors[names[1]] if settings.distillation else None,
        )
        loader = self.batches(self.val, self.val_rows, names[0])
        hits = stitched_hits(source, target, layers, loader, len(self.val_rows), lambda n: None)
        trained = {names[0]: source, names[1]: target}
        weights: Arrays = {}
        for role, anchor in (("source", source), ("target", target)):
            for name, tensor in anchor.state_dict().items():
                weights[f"{role}/{name}"] = tensor.cpu().contiguous().numpy()
        for (i, j), layer in layers.items():
            weights[f"{i}-{j}.weight"] = layer.weight.detach().cpu().numpy()
            weights[f"{i}-{j}.bias"] = layer.bias.detach().cpu().numpy()
        self.store.put(keys.finetuned_weights_key(key), weights)
        accuracy = {
            name: float(network_hits(anchor, self.batches(self.val, self.val_rows, name)).mean())
            for name, anchor in trained.items()
        }
        with suppress(OSError):
            checkpoint.unlink()
        return {
            "accuracy": {f"{i}-{j}": float(h.mean()) for (i, j), h in hits.items()},
            "anchors": accuracy,
            "steps": settings.steps,
        }

    def stored_layers(self, pair: Pair, chosen: NDArray[np.bool_], tier: str) -> Arrays:
        """What the store holds of a pair at a tier: ``i-j.weight``, ``i-j.bias`` and, finetuned,
        the anchors under ``source/`` and ``target/``.

        Raises:
            SelectionError: that tier was not computed.
        """
        names = (pair.source["name"], pair.target["name"])
        match tier:
            case "zero_shot":
                key, command = self._zero_shot_task(*names).key, "klas run --until zero_shot"
            case "tuned":
                key, command = self._tuned_task(*names).key, "klas run"
            case _:
                key = keys.finetuned_weights_key(finetuned_pair_key(pair, chosen, self.study))
                command = "klas finetune with the same selection"
        arrays: Arrays | None = self.store.get(key)
        if arrays is None:
            raise SelectionError(f"{pair.name}: tier {tier} is not computed yet; run `{command}`")
        return arrays

    # -- loaders ---------------------------------------------------------------------------

    def batches(
        self, images: Images, rows: NDArray[np.int64], *viewers: str, batch: int = FORWARD_BATCH
    ) -> Iterator[tuple[Tensor, ...]]:
        """Batches of some rows: the images as each of the viewers sees them, then labels."""
        transforms = [self.anchors[name].info.transform for name in viewers]
        return image_batches(images, rows, transforms, device=self.device, batch=batch)

    def _training_batches(
        self, source: str, target: str, rows: NDArray[np.int64], steps: int, batch: int
    ) -> Callable[[int], Iterator[tuple[Tensor, ...]]]:
        def batches_from(first: int) -> Iterator[tuple[Tensor, ...]]:
            order = batch_rows(first, steps, rows=len(rows), batch=batch, seed=self.study.seed)
            return self.batches(self.train, rows[order], source, target, batch=batch)

        return batches_from

    # -- the document ----------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """The scores document from whatever is computed; null where something is not."""
        return {
            "format": "klas-scores",
            "version": 1,
            "study": self.study.model_dump(mode="json"),
            "made_with": {
                "klas": importlib.metadata.version("klas"),
                "torch": importlib.metadata.version("torch"),
                "timm": importlib.metadata.version("timm"),
                "splitter": SPLITTER,
            },
            "task": "classification",
            "accuracy_metric": "top1",
            "anchors": [self._anchor_entry(name) for name in self.anchors],
            "data": {"train": self._train_data, "val": self._val_data},
            "fit": self.study.fit.model_dump(mode="json"),
            "precision": keys.PRECISION,
            "pairs": [self._pair_entry(a, b) for a, b in self.pairs],
        }

    def _anchor_entry(self, name: str) -> dict[str, Any]:
        info, cost = self.anchors[name].info, self.costs[name]
        outputs = self.store.get(self._val_task(name).key)
        probes = self.store.get(self._probes_task(name).key)
        accuracy = None
        if outputs is not None:
            accuracy = float((outputs["logits"].argmax(1) == outputs["labels"]).mean())
        ready = outputs is not None and probes is not None
        return {
            **self._described[name],
            "weights": info.weights,
            "blocks": info.depth,
            "cuts": list(info.cuts),
            "layouts": [{**asdict(lay), "grid": list(lay.grid)} for lay in info.layouts],
            "macs": cost.total_macs,
            "params": cost.total_params,
            "accuracy": accuracy,
            "probe_accuracy": self._probe_accuracy(name) if ready else None,
            "probe_converged": [bool(c) for c in probes["converged"]] if ready else None,
        }

    def _pair_entry(self, source: str, target: str) -> dict[str, Any]:
        across = self.store.get(self._theta_task(source, target).key)
        within = self.store.get(self._theta_task(target, target).key)
        outputs = all(self.store.has(self._val_task(n).key) for n in (source, target))
        scores = pair_scores(across, within) if across and within else {}
        tiers = {
            "zero_shot": self.store.get(self._zero_shot_task(source, target).key),
            "tuned": self.store.get(self._tuned_task(source, target).key),
        }
        samples = len(self.val_rows)
        entries = []
        for (i, j), in_space, snnet in self.candidates(source, target):
            macs, params = self.stitch_cost(source, i, target, j)
            entries.append(
                {
                    "source_block": i,
                    "target_block": j,
                    "in_space": in_space,
                    "snnet": snnet,
                    "macs": macs,
                    "params": params,
                    "scores": {
                        metric: optional(scores[metric][i, j]) if metric in scores else None
                        for metric in ("kl", "theta", "cka", "mse", "ce", "dm")
                    },
                    "accuracy": {
                        tier: None if arrays is None else _accuracy(arrays, i, j, samples)
                        for tier, arrays in tiers.items()
                    },
                }
            )
        return {
            "source": source,
            "target": target,
            "theta_output": self._theta_output(source, target) if outputs else None,
            "theta": across,
            "theta_target": within,
            "candidates": entries,
        }

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


def stitch_tensors(arrays: Arrays) -> dict[Stitch, tuple[Tensor, Tensor]]:
    """(weight, bias) for each (i, j) of a stored tier."""
    names = [n.removesuffix(".weight") for n in arrays if n.endswith(".weight") and "/" not in n]
    found = {}
    for name in names:
        i, j = name.split("-")
        pair = (torch.from_numpy(arrays[f"{name}.{part}"].copy()) for part in ("weight", "bias"))
        found[int(i), int(j)] = tuple(pair)
    return found  # type: ignore[return-value]


def _accuracy(arrays: Arrays, i: int, j: int, samples: int) -> float:
    return float(np.unpackbits(arrays[f"{i}-{j}.hits"], count=samples).mean())


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
