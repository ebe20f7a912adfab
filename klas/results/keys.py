"""What each result of a study depends on: the one place where its key is made.

:class:`Keys` gives the key of any result of a study, whether the study is open
(:class:`klas.pipeline.context.Context`) or known by its scores document alone. A stage's version
is raised when its code gives other numbers from the same inputs. What forward passes compute in
(:func:`klas.networks.device.forward_precision`) is part of every key that depends on
them: results of one precision never stand for those of another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, assert_never

from klas.results.documents.scores import ScoresDocument
from klas.results.documents.sources import AnchorIdentity, Data, SplitIdentity
from klas.results.result import (
    SHOWN_PICTURES,
    Cka,
    Continuations,
    Features,
    Finetuned,
    FinetunedOutcomes,
    FinetunedWeights,
    Fit,
    FullValidation,
    Latency,
    Pictures,
    ProbeAccuracy,
    Probes,
    Result,
    SplitName,
    TestOutcomes,
    Theta,
    ThetaOutput,
    Tuned,
    Validation,
    ZeroShot,
)
from klas.selection.race import RUNG_SAMPLES, rung_steps
from klas.selection.space import Place, name_of
from klas.storage.key import Key
from klas.study import FinetuningSpec, Study


def unreadable_key(ref: str, fingerprint: str, samples: int, seed: int) -> Key:
    """Which of the chosen samples cannot be read: asked before a study's data are known."""
    return Key(
        stage="data",
        version=1,
        inputs={"fingerprint": fingerprint, "samples": samples, "seed": seed},
        label=f"{ref}: unreadable images",
    )


def cost_key(anchor: AnchorIdentity) -> Key:
    """MACs and parameters of an anchor's parts: asked before a study's pairs are known."""
    return Key(
        stage="anchors",
        version=4,
        inputs={"what": "cost", "anchor": _anchor(anchor)},
        label=f"{anchor['name']}: cost",
    )


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of all results of a study.

    Attributes:
        anchors: name → what identifies the anchor.
        data: split → what identifies its samples; a study may have no test split.
        precision: what forward passes compute in.
        candidates: from source and target to every candidate's (i, j), in order.
    """

    study: Study
    anchors: Mapping[str, AnchorIdentity]
    data: Data
    precision: str
    candidates: Callable[[str, str], Sequence[Place]]

    @classmethod
    def of_document(cls, document: ScoresDocument, study: Study) -> Self:
        """Of a study that was computed.

        Args:
            document: its scores document.
            study: its settings: the document's own, except for the selection and the joint
                training, on which no scores document depends.
        """

        def candidates(source: str, target: str) -> list[Place]:
            pair = next(
                p for p in document["pairs"] if (p["source"], p["target"]) == (source, target)
            )
            return [(c["source_block"], c["target_block"]) for c in pair["candidates"]]

        return cls(
            study=study,
            anchors={anchor["name"]: anchor for anchor in document["anchors"]},
            data=document["data"],
            precision=document["precision"],
            candidates=candidates,
        )

    def of(self, result: Result) -> Key:
        """The key under which a result is stored."""
        match result:
            case Validation(anchor=name):
                return self._validation(name)
            case TestOutcomes(anchor=name):
                return self._test_outcomes(name)
            case Features(anchor=name):
                return self._features(name)
            case Probes(anchor=name):
                return self._probes(name)
            case ProbeAccuracy(anchor=name):
                return self._probe_accuracy(name)
            case ThetaOutput():
                return self._theta_output(result)
            case Theta():
                return self._theta(result)
            case Cka():
                return self._cka(result)
            case Fit():
                return self._fit(result)
            case ZeroShot():
                return self._zero_shot(result)
            case Tuned():
                return self._tuned(result)
            case Finetuned(weights=weights):
                return self._finetuned(weights)
            case FinetunedWeights():
                return self._finetuned_weights(result)
            case FinetunedOutcomes():
                return self._finetuned_outcomes(result)
            case FullValidation():
                return self._full_validation(result)
            case Pictures():
                return self._pictures(result)
            case Continuations():
                return self._continuations(result)
            case Latency():
                return self._latency(result)
        assert_never(result)

    def _validation(self, name: str) -> Key:
        val = self._data("val")
        return Key(
            stage="anchors",
            version=2,
            inputs={
                "what": "validation",
                "anchor": _anchor(self.anchors[name]),
                "data": _samples(val),
                "pool": self.study.probes.pool,
                "precision": self.precision,
            },
            label=f"{name}: pass over {val['ref']}",
        )

    def _test_outcomes(self, name: str) -> Key:
        test = self._data("test")
        return Key(
            stage="anchors",
            version=1,
            inputs={
                "what": "hits",
                "anchor": _anchor(self.anchors[name]),
                "data": _samples(test),
                "precision": self.precision,
            },
            label=f"{name}: hits on {test['ref']}",
        )

    def _features(self, name: str) -> Key:
        train = self._data("train")
        return Key(
            stage="features",
            version=1,
            inputs={
                "anchor": _anchor(self.anchors[name]),
                "data": _samples(train),
                "pool": self.study.probes.pool,
                "precision": self.precision,
            },
            label=f"{name}: pooled features on {train['ref']}",
        )

    def _probes(self, name: str) -> Key:
        return Key(
            stage="probes",
            version=1,
            inputs={
                "features": self._features(name).digest,
                "probes": self._probe_settings(),
            },
            label=f"{name}: probes",
        )

    def _probe_settings(self) -> dict[str, Any]:
        if self.study.task != "language":
            return self.study.probes.inputs()
        return self.study.probes.of_decoders() | {"seed": self.study.seed}

    def _probe_accuracy(self, name: str) -> Key:
        return Key(
            stage="probes",
            version=1,
            inputs={
                "what": "accuracy",
                "probes": self._probes(name).digest,
                "val": self._validation(name).digest,
            },
            label=f"{name}: accuracy of the probes",
        )

    def _theta_output(self, result: ThetaOutput) -> Key:
        return Key(
            stage="anchors",
            version=2,
            inputs={
                "what": "theta_output",
                "of": [self._validation(name).digest for name in result.names],
            },
            label=f"{_title(result)}: Θ of the outputs",
        )

    def _theta(self, result: Theta) -> Key:
        return Key(
            stage="scores",
            version=3,
            inputs={
                "probes": [self._probes(name).digest for name in result.names],
                "val": [self._validation(name).digest for name in result.names],
            },
            label=f"{_title(result)}: Θ",
        )

    def _cka(self, result: Cka) -> Key:
        return Key(
            stage="scores",
            version=2,
            inputs={
                "what": "cka",
                "of": [self._validation(name).digest for name in result.names],
            },
            label=f"{_title(result)}: CKA",
        )

    def _fit(self, result: Fit) -> Key:
        return Key(
            stage="scores",
            version=1,
            inputs={
                "anchors": [_anchor(self.anchors[name]) for name in result.names],
                "stitches": _places(self.candidates(result.source, result.target)),
                "train": _samples(self._data("train")),
                "val": _samples(self._data("val")),
                "fit": self.study.fit.model_dump(mode="json"),
                "precision": self.precision,
            },
            label=f"{_title(result)}: fit",
        )

    def _zero_shot(self, result: ZeroShot) -> Key:
        fit = Fit(source=result.source, target=result.target)
        return Key(
            stage="zero_shot",
            version=4,
            inputs={"fit": self._fit(fit).digest},
            label=f"{_title(result)}: zero_shot",
        )

    def _tuned(self, result: Tuned) -> Key:
        fit = Fit(source=result.source, target=result.target)
        return Key(
            stage="tuned",
            version=3,
            inputs={
                "fit": self._fit(fit).digest,
                "tuning": self.study.tuning.model_dump(mode="json"),
                "seed": self.study.seed,
            },
            label=f"{_title(result)}: tuned",
        )

    def _finetuned(self, weights: FinetunedWeights) -> Key:
        return Key(
            stage="finetuned",
            version=3,
            inputs={
                "anchors": [_anchor(self.anchors[name]) for name in weights.names],
                "stitches": sorted(_places(weights.stitches)),
                "train": _samples(self._data("train")),
                "val": _samples(self._data("val")),
                "fit": self.study.fit.model_dump(mode="json"),
                "finetuning": _training(weights.finetuning),
                "seed": self.study.seed,
                "precision": self.precision,
                **_race(weights),
            },
            label=f"{_title(weights)}: finetuned{', raced' if weights.racing else ''}",
        )

    def _finetuned_weights(self, result: FinetunedWeights) -> Key:
        accuracies = self._finetuned(result)
        return Key(
            stage="finetuned",
            version=accuracies.version,
            inputs={"weights_of": accuracies.digest},
            label=f"{accuracies.label} weights",
        )

    def _finetuned_outcomes(self, result: FinetunedOutcomes) -> Key:
        accuracies, data = self._finetuned(result.weights), self._data(result.split)
        return Key(
            stage="finetuned",
            version=1,
            inputs={"hits_of": accuracies.digest, "data": _samples(data)},
            label=f"{accuracies.label} on {data['ref']}",
        )

    def _full_validation(self, result: FullValidation) -> Key:
        layers, val = self.of(result.layers), self._data("val")
        return Key(
            stage="full_val",
            version=1,
            inputs={
                "of": layers.digest,
                "stitches": sorted(_places(result.stitches)),
                "val": val["fingerprint"],
            },
            label=f"{layers.label} on all of {val['ref']}",
        )

    def _pictures(self, result: Pictures) -> Key:
        layers, val = self.of(result.layers), self._data("val")
        return Key(
            stage="pictures",
            version=1,
            inputs={
                "of": layers.digest,
                "stitch": list(result.place),
                "val": _samples(val),
                "shown": SHOWN_PICTURES,
            },
            label=f"{layers.label}, {name_of(result.place)}: pictures of {val['ref']}",
        )

    def _continuations(self, result: Continuations) -> Key:
        layers, val = self.of(result.layers), self._data("val")
        return Key(
            stage="rouge",
            version=1,
            inputs={
                "of": layers.digest,
                "stitches": sorted(_places(result.stitches)),
                "val": val["fingerprint"],
                "seed": self.study.seed,
            },
            label=f"{layers.label}, ROUGE on {val['ref']}",
        )

    def _latency(self, result: Latency) -> Key:
        return Key(
            stage="latency",
            version=1,
            inputs={
                "anchors": [_anchor(self.anchors[name]) for name in result.names],
                "stitches": _places(self.candidates(result.source, result.target)),
                "precision": self.precision,
                "machine": result.machine.to_json(),
            },
            label=f"{_title(result)}: latency on {result.machine.device}",
        )

    def _data(self, split: SplitName) -> SplitIdentity:
        data = self.data[split]
        assert data is not None, f"this study has no {split} split"
        return data


def _anchor(anchor: AnchorIdentity) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "digest": anchor["digest"],
        "source": anchor["source"],
        "model": anchor["model"],
        "splitter": anchor["splitter"],
        "transform": anchor["transform"],
        "columns": anchor["columns"],
    }
    return inputs | ({"fused": True} if anchor.get("fused") else {})


def _samples(data: SplitIdentity) -> dict[str, Any]:
    return {
        "fingerprint": data["fingerprint"],
        "samples": data["samples"],
        "seed": data["seed"],
        "left_out": data["left_out"],
    }


def _places(stitches: Sequence[Place]) -> list[list[int]]:
    return [list(place) for place in stitches]


def _training(finetuning: FinetuningSpec) -> dict[str, Any]:
    settings = finetuning.model_dump(mode="json")
    if settings["distillation"]:
        settings["distillation"] = "from the best anchor"  # older results: from the costly one
    return settings


def _race(weights: FinetunedWeights) -> dict[str, Any]:
    """Nothing for a training without a race: such results are older."""
    if not weights.racing:
        return {}
    buckets = [[*place, bucket] for place, bucket in zip(weights.stitches, weights.racing)]
    rungs = rung_steps(weights.finetuning.steps)
    return {"race": {"buckets": sorted(buckets), "rungs": rungs, "samples": RUNG_SAMPLES}}


def _title(result: Result) -> str:
    return " → ".join(result.names)
