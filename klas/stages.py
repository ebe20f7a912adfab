"""The stages: what each of them computes, as tasks with a key, a size and a maker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from klas import keys
from klas.bench import Bench
from klas.choice.space import Stitch
from klas.data import balanced_order
from klas.measures.accuracy import stitched_hits
from klas.measures.divergence import theta
from klas.measures.least_squares import fit_stitch_layers
from klas.measures.probes import Probe, fit_temperature, train_probe
from klas.measures.sweep import Outputs, PooledFeatures, Tick, sweep
from klas.measures.training import tune
from klas.progress import Progress
from klas.store import Arrays, Key
from klas.study import Stage

THETA_CHUNK = 500  # samples whose probabilities are in memory at once


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
        return self.store.compute(task.key, partial(task.make, self.progress.advance))

    def val_task(self, name: str) -> Task:
        """One pass over the validation images: pooled features, labels and the logits."""

        def make(tick: Tick) -> Arrays:
            anchor = self.bench.anchors[name]
            samples = len(self.bench.val_rows)
            features = PooledFeatures(anchor, self.study.probes.pool, samples)
            outputs = Outputs(anchor, samples)
            loader = self.bench.batches(self.bench.val, self.bench.val_rows, name)
            sweep(anchor, loader, [features, outputs], tick)
            return {**features.compute(), "logits": outputs.compute()}

        key = keys.features_key(
            self.bench.described[name],
            self.bench.val_data,
            self.study.probes.pool,
            self.bench.precision,
        )
        return Task(key=key, anchors=(name,), units=len(self.bench.val_rows), make=make)

    def theta_output(self, source: str, target: str) -> float:
        """Θ between two anchors' own outputs, in nats (paper, step 1)."""

        def make() -> float:
            first = torch.from_numpy(self.have(self.val_task(source))["logits"])
            second = torch.from_numpy(self.have(self.val_task(target))["logits"])
            return float(theta([(first[None], second[None])])[0, 0])

        first, second = (self.bench.described[name] for name in (source, target))
        pool, precision = self.study.probes.pool, self.bench.precision
        key = keys.theta_output_key(first, second, self.bench.val_data, pool, precision)
        return float(self.store.compute(key, make))

    def train_task(self, name: str) -> Task:
        """One pass over the training images: pooled features and labels."""

        def make(tick: Tick) -> Arrays:
            samples = len(self.bench.train_rows)
            features = PooledFeatures(self.bench.anchors[name], self.study.probes.pool, samples)
            loader = self.bench.batches(self.bench.train, self.bench.train_rows, name)
            sweep(self.bench.anchors[name], loader, [features], tick)
            return features.compute()

        key = keys.features_key(
            self.bench.described[name],
            self.bench.train_data,
            self.study.probes.pool,
            self.bench.precision,
        )
        return Task(key=key, anchors=(name,), units=len(self.bench.train_rows), make=make)

    def probes_task(self, name: str) -> Task:
        """A probe after every block, and on cut 0."""
        anchor = self.bench.anchors[name].info

        def make(tick: Tick) -> Arrays:
            arrays = self.have(self.train_task(name))
            labels = torch.from_numpy(arrays["labels"]).to(self.bench.device)
            settings = self.study.probes
            # A fitted temperature needs units that the probe has not seen.
            kept = len(labels) - (len(labels) // 10 if settings.temperature == "fitted" else 0)
            found: Arrays = {}
            converged, temperatures = [], []
            for k in range(anchor.depth + 1):
                features = torch.from_numpy(arrays[f"cut{k}"]).to(self.bench.device)
                probe = train_probe(features[:kept], labels[:kept], anchor.classes, l2=settings.l2)
                for part in ("mean", "std", "weight", "bias"):
                    found[f"cut{k}.{part}"] = getattr(probe, part).cpu().numpy()
                converged.append(probe.converged)
                temperatures.append(
                    fit_temperature(probe.logits(features[kept:]), labels[kept:])
                    if settings.temperature == "fitted"
                    else settings.temperature
                )
                tick(1)
            found["temperature"] = np.array(temperatures)
            return {**found, "converged": np.array(converged)}

        probes = self.study.probes.model_dump(mode="json")
        key = keys.probes_key(
            self.bench.described[name], self.bench.train_data, probes, self.bench.precision
        )
        return Task(key=key, anchors=(name,), units=anchor.depth + 1, make=make)

    def probe_logits(self, name: str) -> Tensor:
        """(n + 1, N, K): what every probe of an anchor says of the validation samples."""
        features, arrays = self.have(self.val_task(name)), self.have(self.probes_task(name))
        logits = []
        for k, converged in enumerate(arrays["converged"]):
            parts = {
                part: torch.from_numpy(arrays[f"cut{k}.{part}"]).to(self.bench.device)
                for part in ("mean", "std", "weight", "bias")
            }
            temperature = float(arrays["temperature"][k])
            probe = Probe(converged=bool(converged), temperature=temperature, **parts)
            logits.append(probe.logits(torch.from_numpy(features[f"cut{k}"]).to(self.bench.device)))
        return torch.stack(logits)

    def probe_accuracy(self, name: str) -> list[float]:
        """(n + 1,) top-1 of every probe on the validation samples."""

        def make() -> list[float]:
            labels = torch.from_numpy(self.have(self.val_task(name))["labels"]).to(
                self.bench.device
            )
            hits = (self.probe_logits(name).argmax(-1) == labels).float().mean(1)
            return [float(h) for h in hits]

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
            p = self.probe_logits(first)
            q = p if first == second else self.probe_logits(second)
            chunks = zip(p.split(THETA_CHUNK, 1), q.split(THETA_CHUNK, 1))
            matrix = theta(chunks)
            tick(1)
            rows: list[list[float]] = matrix.tolist()
            return rows

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

    def fit(
        self, source: str, target: str, stitches: Sequence[Stitch]
    ) -> dict[Stitch, tuple[Tensor, Tensor]]:
        """Stitch layers by least squares: (weight, bias) for each (i, j)."""
        rows = balanced_order(self.bench.train.labels, self.study.seed)[: self.study.fit.samples]
        loader = self.bench.batches(self.bench.train, rows, source, target)
        anchors = self.bench.anchors
        return fit_stitch_layers(anchors[source], anchors[target], loader, stitches)

    def tuned_task(self, source: str, target: str) -> Task:
        """The same layers trained with the anchors frozen, and what each gets right."""
        stitches = [stitch for stitch, _, _ in self.bench.candidates(source, target)]
        settings = self.study.tuning

        def make(tick: Tick) -> Arrays:
            layers = self.bench.layers(
                source, target, stitch_tensors(self.have(self.zero_shot_task(source, target)))
            )
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
            )
            return self.measured(source, target, layers, lambda n: None)

        zero_shot = self.zero_shot_task(source, target).key
        key = keys.tuned_key(zero_shot, settings.model_dump(mode="json"), self.study.seed)
        units = len(stitches) * settings.steps
        return Task(key=key, anchors=(source, target), units=units, make=make)

    def measured(
        self, source: str, target: str, layers: dict[Stitch, nn.Linear], tick: Tick
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
        )
        arrays: Arrays = {}
        for (i, j), layer in layers.items():
            arrays[f"{i}-{j}.weight"] = layer.weight.detach().cpu().numpy()
            arrays[f"{i}-{j}.bias"] = layer.bias.detach().cpu().numpy()
            arrays[f"{i}-{j}.hits"] = np.packbits(hits[i, j])
        return arrays


def stitch_tensors(arrays: Arrays) -> dict[Stitch, tuple[Tensor, Tensor]]:
    """(weight, bias) for each (i, j) of a stored tier."""
    names = [n.removesuffix(".weight") for n in arrays if n.endswith(".weight") and "/" not in n]
    found = {}
    for name in names:
        i, j = name.split("-")
        pair = (torch.from_numpy(arrays[f"{name}.{part}"].copy()) for part in ("weight", "bias"))
        found[int(i), int(j)] = tuple(pair)
    return found  # type: ignore[return-value]
