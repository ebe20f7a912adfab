"""The stages: what each of them computes, as tasks with a key, a size and a maker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from klas.measures.accuracy import network_hits, stitched_hits
from klas.measures.cka import CHUNK, GramMatrices, cka_terms
from klas.measures.divergence import Bounds, chunk_bounds, chunk_rows, prediction_sums, theta
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.matching import matching_sums
from klas.measures.probes import Probe, fit_temperature, train_probe
from klas.measures.sweep import Collector, Outputs, PooledFeatures, Tick, sweep
from klas.measures.training import tune
from klas.networks.batch_size import enough_memory_for
from klas.networks.stitch import State, StitchLayer
from klas.pipeline.context import Bench
from klas.progress import Progress
from klas.results import keys
from klas.selection.bootstrap import BLOCKS, block_of
from klas.selection.space import Stitch
from klas.storage.arrays import chunks, parts
from klas.storage.store import Arrays, Key
from klas.study import Stage

HELD_OUT = 10_000  # units are plenty for one temperature
MATCHING_SAMPLES = 1_000  # images that direct matching is judged by, each a hundred positions


@dataclass(frozen=True, kw_only=True)
class Task:
    """One result to have: its key, whose it is, how much work it is, and how to make it."""

    key: Key
    anchors: tuple[str, ...]
    units: int
    make: Callable[[Tick], Any]


class Stages:
    """Every result of a study, each made when it is first asked for and kept in the store."""

    def __init__(self, bench: Bench, progress: Progress) -> None:
        self.bench = bench
        self.study = bench.study
        self.store = bench.store
        self.progress = progress

    def tasks(self, stage: Stage) -> list[tuple[str, str, list[Task]]]:
        """A stage's work in order: (name, unit, tasks)."""
        anchors, pairs = list(self.bench.anchors), self.bench.pairs
        match stage:
            case "anchors":
                tasks = [self.val_task(a) for a in anchors]
                return [("anchors", "images", tasks)]
            case "probes":
                return [
                    ("features", "images", [self.train_task(a) for a in anchors]),
                    ("probes", "probes", [self.probes_task(a) for a in anchors]),
                ]
            case "scores":
                sides = dict.fromkeys([*pairs, *((t, t) for _, t in pairs)])
                matrices = [self.theta_task(a, b) for a, b in sides]
                matrices += [self.cka_task(a, b) for a, b in pairs]
                fits = [self.fit_task(a, b) for a, b in pairs]
                return [("scores", "matrices", matrices), ("fit", "images", fits)]
            case "zero_shot":
                zero_shot = [self.zero_shot_task(a, b) for a, b in pairs]
                return [("zero_shot", "stitch·images", zero_shot)]
            case "tuned":
                return [("tuned", "stitch·steps", [self.tuned_task(a, b) for a, b in pairs])]

    def have(self, task: Task) -> Any:
        """A task's result: from the store, or made now."""
        make = partial(self.bench.batch.retrying, task.make, self.progress.advance)
        return self.store.compute(task.key, make)

    def val_task(self, name: str) -> Task:
        """One pass over the validation images for everything that needs one anchor alone.

        Pooled features, Gram matrices, labels and the logits.
        """
        anchor, samples = self.bench.anchors[name], len(self.bench.val_rows)

        def make(tick: Tick) -> None:
            shapes = {
                **PooledFeatures.shapes(anchor.info, samples),
                **GramMatrices.shapes(anchor.info, samples),
            }
            if anchor.info.classes:
                shapes |= Outputs.shapes(anchor.info, samples)
            with self.store.writing(key, shapes) as out:
                collectors: list[Collector] = [
                    PooledFeatures(anchor, self.study.probes.pool, out.append),
                    GramMatrices(anchor, samples, out.append),
                ]
                if anchor.info.classes:
                    collectors.append(Outputs(anchor, out.append))
                loader = self.bench.batches(self.bench.val, self.bench.val_rows, name)
                sweep(anchor, loader, collectors, tick, precision=self.bench.precision)

        key = keys.validation_key(
            self.bench.described[name],
            self.bench.val_data,
            self.study.probes.pool,
            self.bench.precision,
        )
        return Task(key=key, anchors=(name,), units=samples, make=make)

    def outputs_task(self, name: str) -> Task:
        """Which test images a pretrained anchor gets right; nothing of a headless one."""
        images, rows, data = self.bench.split("test")
        anchor = self.bench.anchors[name]

        def make(tick: Tick) -> Arrays:
            if not anchor.info.classes:
                return {}
            loader = self.bench.batches(images, rows, name)
            hits = network_hits(anchor, loader, precision=self.bench.precision)
            return {HITS: np.packbits(hits)}

        key = keys.outputs_key(self.bench.described[name], data, self.bench.precision)
        return Task(key=key, anchors=(name,), units=len(rows), make=make)

    def theta_output(self, source: str, target: str) -> float | None:
        """Θ between two anchors' own outputs, in nats (paper, step 1); None without a head."""
        if not all(self.bench.anchors[name].info.classes for name in (source, target)):
            return None

        def make() -> float:
            logits = [self.have(self.val_task(name))["logits"] for name in (source, target)]
            rows = chunk_rows(2, logits[0].shape[1])
            tensors = [map(torch.from_numpy, chunks(part, rows)) for part in logits]
            return float(theta((p[None], q[None]) for p, q in zip(*tensors))[0, 0])

        first, second = (self.bench.described[name] for name in (source, target))
        pool, precision = self.study.probes.pool, self.bench.precision
        key = keys.theta_output_key(first, second, self.bench.val_data, pool, precision)
        return float(self.store.compute(key, make))

    def train_task(self, name: str) -> Task:
        """One pass over the training images: pooled features and labels."""
        anchor, samples = self.bench.anchors[name], len(self.bench.train_rows)

        def make(tick: Tick) -> None:
            with self.store.writing(key, PooledFeatures.shapes(anchor.info, samples)) as out:
                features = PooledFeatures(anchor, self.study.probes.pool, out.append)
                loader = self.bench.batches(self.bench.train, self.bench.train_rows, name)
                sweep(anchor, loader, [features], tick, precision=self.bench.precision)

        key = keys.features_key(
            self.bench.described[name],
            self.bench.train_data,
            self.study.probes.pool,
            self.bench.precision,
        )
        return Task(key=key, anchors=(name,), units=samples, make=make)

    def probes_task(self, name: str) -> Task:
        """A probe after every block, and on cut 0."""
        anchor = self.bench.anchors[name].info

        def make(tick: Tick) -> Arrays:
            arrays = self.have(self.train_task(name))
            labels = torch.from_numpy(arrays["labels"].copy()).to(self.bench.device)
            settings = self.study.probes
            # A fitted temperature needs units that the probe has not seen.
            held_out = min(len(labels) // 10, HELD_OUT) if settings.temperature == "fitted" else 0
            kept = len(labels) - held_out
            found: Arrays = {}
            converged, temperatures = [], []
            for k in range(anchor.depth + 1):
                features = arrays[f"cut{k}"]
                probe = train_probe(
                    features[:kept], labels[:kept], self.bench.classes, l2=settings.l2
                )
                for part in ("mean", "std", "weight", "bias"):
                    found[f"cut{k}.{part}"] = getattr(probe, part).cpu().numpy()
                converged.append(probe.converged)
                if settings.temperature == "fitted":
                    unseen = torch.from_numpy(features[kept:].copy()).to(self.bench.device)
                    temperatures.append(fit_temperature(probe.logits(unseen), labels[kept:]))
                else:
                    temperatures.append(settings.temperature)
                tick(1)
            found["temperature"] = np.array(temperatures)
            return {**found, "converged": np.array(converged)}

        probes = self.study.probes.model_dump(mode="json")
        key = keys.probes_key(
            self.bench.described[name], self.bench.train_data, probes, self.bench.precision
        )
        return Task(key=key, anchors=(name,), units=anchor.depth + 1, make=make)

    def probe_logits(self, name: str, bounds: Bounds) -> Iterator[Tensor]:
        """The logits (n + 1, rows, K) of every probe of an anchor, validation chunk by chunk."""
        features, arrays = self.have(self.val_task(name)), self.have(self.probes_task(name))
        probes = []
        for k, converged in enumerate(arrays["converged"]):
            values = {
                part: torch.from_numpy(arrays[f"cut{k}.{part}"].copy()).to(self.bench.device)
                for part in ("mean", "std", "weight", "bias")
            }
            temperature = float(arrays["temperature"][k])
            probes.append(Probe(converged=bool(converged), temperature=temperature, **values))
        cuts = [parts(features[f"cut{k}"], bounds) for k in range(len(probes))]
        for rows_of_cuts in zip(*cuts):
            pairs = zip(probes, rows_of_cuts)
            yield torch.stack(
                [p.logits(torch.from_numpy(rows).to(self.bench.device)) for p, rows in pairs]
            )

    def probe_accuracy(self, name: str) -> list[float]:
        """(n + 1,) top-1 of every probe on the validation samples."""
        anchor = self.bench.anchors[name].info

        def make() -> list[float]:
            labels = torch.from_numpy(self.have(self.val_task(name))["labels"].copy())
            bounds = self._bounds(anchor.depth + 1)
            hits = torch.zeros(anchor.depth + 1, dtype=torch.int64)
            for (start, stop, _), logits in zip(bounds, self.probe_logits(name, bounds)):
                hits += (logits.argmax(-1).cpu() == labels[start:stop]).sum(1)
            return [int(h) / len(labels) for h in hits]

        probes = self.study.probes.model_dump(mode="json")
        key = keys.probe_accuracy_key(
            self.bench.described[name],
            self.bench.train_data,
            self.bench.val_data,
            probes,
            self.bench.precision,
        )
        found: list[float] = self.store.compute(key, make)
        return found

    def theta_task(self, first: str, second: str) -> Task:
        """Of every cut's probe of one anchor against every cut's of another: Θ and its rivals."""

        def make(tick: Tick) -> Arrays:
            anchors = [self.bench.anchors[name].info for name in (first, second)]
            bounds = self._bounds(sum(a.depth + 1 for a in anchors))
            logits = self.probe_logits(first, bounds)
            if first == second:
                found = prediction_sums(((p, p) for p in logits), bounds)
            else:
                found = prediction_sums(zip(logits, self.probe_logits(second, bounds)), bounds)
            tick(1)
            return dict(found)

        probes = self.study.probes.model_dump(mode="json")
        a, b = self.bench.described[first], self.bench.described[second]
        key = keys.theta_key(
            a, b, self.bench.train_data, self.bench.val_data, probes, self.bench.precision
        )
        return Task(key=key, anchors=(first, second), units=1, make=make)

    def _bounds(self, predictions: int) -> Bounds:
        """Chunks of the validation samples in which so many kinds of predictions fit."""
        rows = chunk_rows(predictions, self.bench.classes)
        return chunk_bounds(block_of(len(self.bench.val_rows)), rows)

    def cka_task(self, source: str, target: str) -> Task:
        """HSIC of every cut of the source with every cut of the target, per block."""

        def make(tick: Tick) -> Arrays:
            first, second = (self._grams(name) for name in (source, target))
            terms = cka_terms(first, second, len(self.bench.val_rows))
            # A chunk that lies in two blocks counts with the first.
            blocks = block_of(len(self.bench.val_rows))
            of_chunks = blocks[::CHUNK][: len(terms.cross)]
            found = {}
            for part, values in terms._asdict().items():
                found[part] = np.zeros((blocks.max() + 1, *values.shape[1:]))
                np.add.at(found[part], of_chunks, values)
            tick(1)
            return found

        key = keys.cka_key(
            self.bench.described[source],
            self.bench.described[target],
            self.bench.val_data,
            self.study.probes.pool,
            self.bench.precision,
        )
        return Task(key=key, anchors=(source, target), units=1, make=make)

    def _grams(self, name: str) -> list[NDArray[np.float32]]:
        """What :class:`GramMatrices` kept of an anchor, cut by cut."""
        arrays = self.have(self.val_task(name))
        return [arrays[f"gram{k}"] for k in range(self.bench.anchors[name].info.depth + 1)]

    def fit_task(self, source: str, target: str) -> Task:
        """Stitch layers by least squares, and the sums for direct matching, per block.

        These are of what the layers miss of the target's activations on validation images.
        """
        stitches = [stitch for stitch, _, _ in self.bench.candidates(source, target)]
        blocks = block_of(len(self.bench.val_rows))
        # The first images of every block.
        starts = np.searchsorted(blocks, blocks)
        looked_at = np.flatnonzero(np.arange(len(blocks)) - starts < MATCHING_SAMPLES // BLOCKS)

        def make(tick: Tick) -> Arrays:
            fitted = self.fit(source, target, stitches)
            # Their sums are kept in the order of the candidates.
            layers = self.bench.layers(source, target, {s: fitted[s] for s in stitches})
            rows = self.bench.val_rows[looked_at]
            loader = self.bench.batches(self.bench.val, rows, source, target)
            anchors = self.bench.anchors
            sums = matching_sums(
                anchors[source],
                anchors[target],
                layers,
                loader,
                blocks[looked_at],
                tick,
                precision=self.bench.precision,
            )
            return layer_arrays(layers) | sums._asdict()

        fit = self.study.fit.model_dump(mode="json")
        a, b = self.bench.described[source], self.bench.described[target]
        key = keys.fit_key(
            a,
            b,
            stitches,
            self.bench.train_data,
            self.bench.val_data,
            fit,
            self.bench.precision,
        )
        return Task(key=key, anchors=(source, target), units=len(looked_at), make=make)

    def fitted(self, source: str, target: str) -> dict[Stitch, State]:
        """The stitch layers of :meth:`fit_task`."""
        return stitch_states(self.have(self.fit_task(source, target)))

    def zero_shot_task(self, source: str, target: str) -> Task:
        """What each stitch with its fitted layer gets right."""
        stitches = [stitch for stitch, _, _ in self.bench.candidates(source, target)]

        def make(tick: Tick) -> Arrays:
            layers = self.bench.layers(source, target, self.fitted(source, target))
            return self._hits(source, target, layers, lambda n: tick(n * len(stitches)))

        key = keys.zero_shot_key(self.fit_task(source, target).key)
        units = len(stitches) * len(self.bench.val_rows)
        return Task(key=key, anchors=(source, target), units=units, make=make)

    def fit(self, source: str, target: str, stitches: Sequence[Stitch]) -> dict[Stitch, State]:
        """Stitch layers by least squares, for each (i, j)."""
        loader = self.bench.batches(self.bench.train, self.bench.fit_rows, source, target)
        anchors = self.bench.anchors
        return fit_stitch_layers(
            anchors[source], anchors[target], loader, stitches, precision=self.bench.precision
        )

    def tuned_task(self, source: str, target: str) -> Task:
        """The same layers trained with the anchors frozen, and what each gets right."""
        stitches = [stitch for stitch, _, _ in self.bench.candidates(source, target)]
        settings = self.study.tuning

        def make(tick: Tick) -> Arrays:
            layers = self.bench.layers(source, target, self.fitted(source, target))
            batch = f"a batch of {settings.batch} images; lower [tuning] batch"
            with enough_memory_for(batch):
                tune(
                    self.bench.anchors[source],
                    self.bench.anchors[target],
                    layers,
                    self.bench.training_batches(source, target, self.bench.train_rows, settings),
                    steps=settings.steps,
                    lr=settings.lr,
                    tick=lambda n: tick(n * len(stitches)),
                    precision=self.bench.precision,
                )
            hits = self._hits(source, target, layers, lambda n: None)
            return layer_arrays(layers) | hits

        fit = self.fit_task(source, target).key
        key = keys.tuned_key(fit, settings.model_dump(mode="json"), self.study.seed)
        units = len(stitches) * settings.steps
        return Task(key=key, anchors=(source, target), units=units, make=make)

    def _hits(
        self, source: str, target: str, layers: dict[Stitch, StitchLayer], tick: Tick
    ) -> Arrays:
        """Which validation samples each stitch gets right, packed to bits."""
        loader = self.bench.batches(self.bench.val, self.bench.val_rows, source)
        hits = stitched_hits(
            self.bench.anchors[source],
            self.bench.anchors[target],
            layers,
            loader,
            len(self.bench.val_rows),
            tick,
            precision=self.bench.precision,
        )
        return {f"{i}-{j}.{HITS}": np.packbits(bits) for (i, j), bits in hits.items()}


HITS = "hits"  # beside a stitch layer's own values


def layer_arrays(layers: Mapping[Stitch, StitchLayer]) -> Arrays:
    """The values of stitch layers as they are stored: ``i-j.weight``, ``i-j.bias``, …."""
    return {
        f"{i}-{j}.{name}": value.cpu().numpy()
        for (i, j), layer in layers.items()
        for name, value in layer.state_dict().items()
    }


def stitch_states(arrays: Arrays) -> dict[Stitch, State]:
    """The values of every stitch layer of a stored tier."""
    found: dict[Stitch, State] = {}
    for name, values in arrays.items():
        stitch, _, part = name.partition(".")
        if part and "/" not in name and part != HITS:
            i, j = stitch.split("-")
            found.setdefault((int(i), int(j)), {})[part] = torch.from_numpy(values.copy())
    return found
