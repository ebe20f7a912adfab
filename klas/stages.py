"""The stages: what each of them computes, as tasks with a key, a size and a maker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from klas import keys
from klas.arrays import chunks
from klas.bench import Bench
from klas.choice.space import Stitch
from klas.device import enough_memory_for
from klas.measures.accuracy import stitched_hits
from klas.measures.divergence import chunk_rows, theta
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.probes import Probe, fit_temperature, train_probe
from klas.measures.sweep import Collector, Outputs, PooledFeatures, Tick, sweep
from klas.measures.training import tune
from klas.networks.stitch import State, StitchLayer
from klas.progress import Progress
from klas.store import Arrays, Key
from klas.study import Stage

HELD_OUT = 10_000  # units are plenty for one temperature


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
                return [("scores", "matrices", [self.theta_task(a, b) for a, b in sides])]
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
        """One pass over the validation images: pooled features, labels and the logits."""

        anchor, samples = self.bench.anchors[name], len(self.bench.val_rows)

        def make(tick: Tick) -> None:
            shapes = dict(PooledFeatures.shapes(anchor.info, samples))
            if anchor.info.classes:
                shapes |= Outputs.shapes(anchor.info, samples)
            with self.store.writing(key, shapes) as out:
                collectors: list[Collector] = [
                    PooledFeatures(anchor, self.study.probes.pool, out.append)
                ]
                if anchor.info.classes:
                    collectors.append(Outputs(anchor, out.append))
                loader = self.bench.batches(self.bench.val, self.bench.val_rows, name)
                sweep(anchor, loader, collectors, tick, precision=self.bench.precision)

        key = keys.features_key(
            self.bench.described[name],
            self.bench.val_data,
            self.study.probes.pool,
            self.bench.precision,
        )
        return Task(key=key, anchors=(name,), units=samples, make=make)

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

    def probe_logits(self, name: str, rows: int) -> Iterator[Tensor]:
        """What every probe of an anchor says of the validation samples, ``rows`` at a time:
        (n + 1, rows, K)."""
        features, arrays = self.have(self.val_task(name)), self.have(self.probes_task(name))
        probes = []
        for k, converged in enumerate(arrays["converged"]):
            parts = {
                part: torch.from_numpy(arrays[f"cut{k}.{part}"].copy()).to(self.bench.device)
                for part in ("mean", "std", "weight", "bias")
            }
            temperature = float(arrays["temperature"][k])
            probes.append(Probe(converged=bool(converged), temperature=temperature, **parts))
        cuts = [chunks(features[f"cut{k}"], rows) for k in range(len(probes))]
        for parts_of_cuts in zip(*cuts):
            pairs = zip(probes, parts_of_cuts)
            yield torch.stack(
                [p.logits(torch.from_numpy(part).to(self.bench.device)) for p, part in pairs]
            )

    def probe_accuracy(self, name: str) -> list[float]:
        """(n + 1,) top-1 of every probe on the validation samples."""
        anchor = self.bench.anchors[name].info

        def make() -> list[float]:
            labels = torch.from_numpy(self.have(self.val_task(name))["labels"].copy())
            rows = chunk_rows(anchor.depth + 1, self.bench.classes)
            hits = sum(
                (logits.argmax(-1).cpu() == part).sum(1)
                for logits, part in zip(self.probe_logits(name, rows), labels.split(rows))
            )
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
        """Θ of every cut of one anchor against every cut of another, in nats."""

        def make(tick: Tick) -> list[list[float]]:
            anchors = [self.bench.anchors[name].info for name in (first, second)]
            rows = chunk_rows(sum(a.depth + 1 for a in anchors), self.bench.classes)
            if first == second:
                matrix = theta((p, p) for p in self.probe_logits(first, rows))
            else:
                matrix = theta(zip(self.probe_logits(first, rows), self.probe_logits(second, rows)))
            tick(1)
            values: list[list[float]] = matrix.tolist()
            return values

        probes = self.study.probes.model_dump(mode="json")
        a, b = self.bench.described[first], self.bench.described[second]
        key = keys.theta_key(
            a, b, self.bench.train_data, self.bench.val_data, probes, self.bench.precision
        )
        return Task(key=key, anchors=(first, second), units=1, make=make)

    def zero_shot_task(self, source: str, target: str) -> Task:
        """Stitch layers by least squares, and what each stitch gets right."""
        stitches = [stitch for stitch, _, _ in self.bench.candidates(source, target)]

        def make(tick: Tick) -> Arrays:
            fitted = self.fit(source, target, stitches)
            layers = self.bench.layers(source, target, fitted)
            return self.measured(source, target, layers, lambda n: tick(n * len(stitches)))

        fit = self.study.fit.model_dump(mode="json")
        a, b = self.bench.described[source], self.bench.described[target]
        key = keys.zero_shot_key(
            a,
            b,
            stitches,
            self.bench.train_data,
            self.bench.val_data,
            fit,
            self.bench.precision,
        )
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
            layers = self.bench.layers(
                source, target, stitch_states(self.have(self.zero_shot_task(source, target)))
            )
            batch = f"a batch of {settings.batch} images; lower [tuning] batch"
            with enough_memory_for(batch):
                tune(
                    self.bench.anchors[source],
                    self.bench.anchors[target],
                    layers,
                    self.bench.training_batches(
                        source, target, self.bench.train_rows, settings.steps, settings.batch
                    ),
                    steps=settings.steps,
                    lr=settings.lr,
                    tick=lambda n: tick(n * len(stitches)),
                    precision=self.bench.precision,
                )
            return self.measured(source, target, layers, lambda n: None)

        zero_shot = self.zero_shot_task(source, target).key
        key = keys.tuned_key(zero_shot, settings.model_dump(mode="json"), self.study.seed)
        units = len(stitches) * settings.steps
        return Task(key=key, anchors=(source, target), units=units, make=make)

    def measured(
        self, source: str, target: str, layers: dict[Stitch, StitchLayer], tick: Tick
    ) -> Arrays:
        """The stitch layers and, packed to bits, which validation samples each gets right."""
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
        packed = {f"{i}-{j}.{HITS}": np.packbits(bits) for (i, j), bits in hits.items()}
        return layer_arrays(layers) | packed


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
        if "/" not in name and part != HITS:
            i, j = stitch.split("-")
            found.setdefault((int(i), int(j)), {})[part] = torch.from_numpy(values.copy())
    return found
