"""A small study as if it were computed, written out in full: nothing in it comes from the library.

Two anchors, one pair, four candidates in two buckets, and results of every kind. Keys are held
against digests of these very values, so none of them may change.
"""

from dataclasses import replace
from typing import Any

from klas.results.result import (
    Cka,
    Continuations,
    Features,
    FinetunedWeights,
    Fit,
    FullValidation,
    Latency,
    Layers,
    Machine,
    Pictures,
    ProbeAccuracy,
    Probes,
    Result,
    TestOutcomes,
    Theta,
    ThetaOutput,
    Tuned,
    Validation,
    ZeroShot,
    finetuned,
    outcomes_of,
)
from klas.selection.space import Place
from klas.study import (
    AnchorSpec,
    DataSpec,
    FinetuningSpec,
    FitSpec,
    ProbesSpec,
    SelectionSpec,
    Study,
    TuningSpec,
)

STUDY = Study(
    name="written",
    seed=7,
    anchors=(
        AnchorSpec(name="small", model="vit_tiny_patch16_224"),
        AnchorSpec(name="own", model="mine.networks:large"),
    ),
    precision="float32",
    data=DataSpec(train="images/train", val="images/val", test="images/test"),
    probes=ProbesSpec(pool="mean", l2=1e-4, temperature=1.0),
    fit=FitSpec(samples=40),
    tuning=TuningSpec(steps=100, batch=32, lr=1e-3, seed=0),
    finetuning=FinetuningSpec(steps=160, batch=32, lr=1e-4, distillation=False, seed=0),
    selection=SelectionSpec(metric="kl", tau=0.05, buckets=2),
)

SMALL: dict[str, Any] = {
    "name": "small",
    "model": "vit_tiny_patch16_224",
    "digest": "5" * 64,
    "source": None,
    "splitter": 4,
    "transform": {
        "input_size": [3, 224, 224],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop": 0.9,
        "interpolation": "bicubic",
    },
    "columns": None,
    "blocks": 2,
    "macs": 100,
    "accuracy": 0.5,
}
OWN: dict[str, Any] = {
    "name": "own",
    "model": "mine.networks:large",
    "digest": "0" * 64,
    "source": "c" * 64,
    "splitter": 4,
    "transform": {
        "input_size": [3, 96, 96],
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "crop": 0.9,
        "interpolation": "bicubic",
    },
    "columns": [3, 1, 2],
    "blocks": 3,
    "macs": 200,
    "accuracy": 0.9,
}

DATA: dict[str, Any] = {
    "train": {
        "ref": "images/train",
        "fingerprint": "a" * 64,
        "samples": 600,
        "images": 1000,
        "seed": 7,
        "left_out": [],
    },
    "val": {
        "ref": "images/val",
        "fingerprint": "b" * 64,
        "samples": 298,
        "images": 300,
        "seed": 7,
        "left_out": [17, 4],
    },
    "test": {
        "ref": "images/test",
        "fingerprint": "d" * 64,
        "samples": 200,
        "images": 200,
        "seed": 7,
        "left_out": [],
    },
}


def _candidate(
    place: tuple[int, int], macs: int, snnet: bool, score: float, rival: float, accuracy: float
) -> dict[str, Any]:
    rivals = dict.fromkeys(("theta", "theta_ce", "cka", "mse", "ce", "dm"), rival)
    return {
        "source_block": place[0],
        "target_block": place[1],
        "in_space": True,
        "snnet": snnet,
        "macs": macs,
        "scores": {"kl": score, **rivals},
        "accuracy": {"zero_shot": accuracy / 2, "tuned": accuracy},
    }


DOCUMENT: dict[str, Any] = {
    "format": "klas-scores",
    "version": 1,
    "study": STUDY.model_dump(mode="json"),
    "task": "classification",
    "accuracy_metric": "top1",
    "anchors": [SMALL, OWN],
    "data": DATA,
    "fit": {"samples": 40},
    "precision": "float32",
    "pairs": [
        {
            "source": "small",
            "target": "own",
            "theta": [[0.0] * 4] * 3,
            "candidates": [
                _candidate((1, 1), 170, True, 2.0, 1.0, 0.75),
                _candidate((1, 2), 110, False, 4.0, 2.0, 0.5),
                _candidate((2, 1), 190, False, 1.0, 3.0, 0.875),
                _candidate((2, 2), 130, True, 3.0, 4.0, 0.625),
            ],
        }
    ],
}
"""KLAS takes (2, 1) and (2, 2), its rivals by score (1, 1) and (1, 2), SN-Net (1, 1) and (2, 2)."""

ENDS: dict[str, Any] = {"source": "small", "target": "own"}
MACHINE = Machine(device="a processor", threads=2, torch="2.9.0")


def training(*stitches: Place, **settings: Any) -> FinetunedWeights:
    finetuning = STUDY.finetuning.model_copy(update=settings)
    return FinetunedWeights(**ENDS, stitches=stitches, finetuning=finetuning)


SOME = training((1, 1), (2, 1), (2, 2))
ONE = training((2, 1))
TAUGHT = training(*SOME.stitches, distillation=True)
RAW = training(*SOME.stitches, steps=0)
RACED = replace(SOME, racing=(1, 1, 0))


def pictures(layers: Layers) -> Pictures:
    return Pictures(**ENDS, layers=layers, place=(2, 1))


def continuations(layers: Layers) -> Continuations:
    return Continuations(**ENDS, layers=layers, stitches=SOME.stitches)


def full_validation(layers: Layers) -> FullValidation:
    return FullValidation(**ENDS, layers=layers, stitches=SOME.stitches)


DIGESTS: dict[Result, str] = {
    Validation(anchor="small"): "1c07a8ea3c19fc46",
    Validation(anchor="own"): "058670e072b04915",
    TestOutcomes(anchor="small"): "9a6eb7199660b2a2",
    TestOutcomes(anchor="own"): "1cdc90d0ea3eb729",
    Features(anchor="small"): "796350fe2c827f53",
    Features(anchor="own"): "d44ef297bc801b8c",
    Probes(anchor="small"): "af05bc2d703a3950",
    Probes(anchor="own"): "c37f58878f857839",
    ProbeAccuracy(anchor="small"): "4609d55afe73d2d1",
    ProbeAccuracy(anchor="own"): "10f9c73df4a78f62",
    ThetaOutput(**ENDS): "206a6c4be87bdcca",
    Theta(**ENDS): "97f1d9736ab92409",
    Theta(source="own", target="own"): "b3d380e9d6b543c8",
    Cka(**ENDS): "67d71e5e9cfd69fe",
    Fit(**ENDS): "80e77c74aff700fc",
    ZeroShot(**ENDS): "d60a391ab6e72002",
    Tuned(**ENDS): "c9db26b70ec06a3b",
    SOME: "b12482ed1d50ff8e",
    outcomes_of(SOME, "val"): "9bf5f33086a528f9",
    outcomes_of(SOME, "test"): "0bab3ccf2b0c6cbc",
    finetuned(SOME): "f15fac2579a437be",
    ONE: "13d588f9f477147d",
    outcomes_of(ONE, "val"): "9578c21246b2103b",
    outcomes_of(ONE, "test"): "234336b4e7052c39",
    finetuned(ONE): "7086755d80ead224",
    TAUGHT: "06bb339c09b07311",
    outcomes_of(TAUGHT, "val"): "5cd92e442c0222ee",
    outcomes_of(TAUGHT, "test"): "80705f7890e46f27",
    finetuned(TAUGHT): "a7ed40c7bf87ed38",
    RAW: "d16abe5033958e7a",
    outcomes_of(RAW, "val"): "9bc6ff95018bff0e",
    outcomes_of(RAW, "test"): "c0e0438c5f498289",
    finetuned(RAW): "23c4bd48c476056b",
    RACED: "fcd30a29704a9135",
    outcomes_of(RACED, "val"): "e52af91627e968b7",
    outcomes_of(RACED, "test"): "dff0d07102711bf5",
    finetuned(RACED): "a01639c8bf71f883",
    full_validation(ZeroShot(**ENDS)): "7b14e39991cf726c",
    full_validation(Tuned(**ENDS)): "80bece81d123b3d5",
    full_validation(SOME): "3c24728517628d52",
    pictures(ZeroShot(**ENDS)): "0892107f711b082a",
    pictures(Tuned(**ENDS)): "bbed066266c45b4a",
    pictures(SOME): "05885019ea6d6d97",
    continuations(ZeroShot(**ENDS)): "aa2b431ef7ee289b",
    continuations(Tuned(**ENDS)): "ba5204b99d879344",
    continuations(SOME): "ffb3595f28b91cf6",
    Latency(**ENDS, machine=MACHINE): "d3b304a688e73f9d",
}
"""Results of every kind, and the first 16 digits of where each is stored."""
