"""What each result depends on: one function per kind of result, and nowhere else.

A stage's version is raised when its code gives other numbers from the same inputs. ``precision``
is what forward passes compute in (:func:`klas.networks.device.forward_precision`): results of one
never stand for those of another.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from klas.storage.store import Key

Plain = Mapping[str, Any]
"""JSON values: an anchor needs ``digest``, ``source`` (of code of the user's), ``model``,
``splitter``, ``transform`` and ``columns``; a data set ``fingerprint``, ``samples``, ``seed`` and
``left_out``."""

_ANCHOR = ("digest", "source", "model", "splitter", "transform", "columns")


def _anchor(anchor: Plain) -> dict[str, Any]:
    return {name: anchor[name] for name in _ANCHOR}


def _data(data: Plain) -> dict[str, Any]:
    return {name: data[name] for name in ("fingerprint", "samples", "seed", "left_out")}


def unreadable_key(ref: str, fingerprint: str, samples: int, seed: int) -> Key:
    """Which of the chosen images cannot be read."""
    return Key(
        stage="data",
        version=1,
        inputs={"fingerprint": fingerprint, "samples": samples, "seed": seed},
        label=f"{ref}: unreadable images",
    )


def cost_key(anchor: Plain) -> Key:
    """MACs and parameters of an anchor's parts."""
    return Key(
        stage="anchors",
        version=2,
        inputs={"what": "cost", "anchor": _anchor(anchor)},
        label=f"{anchor['name']}: cost",
    )


def features_key(anchor: Plain, train: Plain, pool: str, precision: str) -> Key:
    """Pooled features of the training images at every cut."""
    return Key(
        stage="features",
        version=1,
        inputs={
            "anchor": _anchor(anchor),
            "data": _data(train),
            "pool": pool,
            "precision": precision,
        },
        label=f"{anchor['name']}: pooled features on {train['ref']}",
    )


def validation_key(anchor: Plain, val: Plain, pool: str, precision: str) -> Key:
    """Of the validation images: pooled features and Gram matrices at every cut, and logits."""
    return Key(
        stage="anchors",
        version=2,
        inputs={
            "what": "validation",
            "anchor": _anchor(anchor),
            "data": _data(val),
            "pool": pool,
            "precision": precision,
        },
        label=f"{anchor['name']}: pass over {val['ref']}",
    )


def theta_output_key(source: Plain, target: Plain, val: Plain, pool: str, precision: str) -> Key:
    """Θ between two anchors' own outputs."""
    return Key(
        stage="anchors",
        version=1,
        inputs={
            "what": "theta_output",
            "of": [validation_key(a, val, pool, precision).digest for a in (source, target)],
        },
        label=f"{source['name']} → {target['name']}: Θ of the outputs",
    )


def probes_key(anchor: Plain, train: Plain, probes: Plain, precision: str) -> Key:
    """Every probe of an anchor."""
    return Key(
        stage="probes",
        version=1,
        inputs={
            "features": features_key(anchor, train, probes["pool"], precision).digest,
            "probes": dict(probes),
        },
        label=f"{anchor['name']}: probes",
    )


def probe_accuracy_key(
    anchor: Plain, train: Plain, val: Plain, probes: Plain, precision: str
) -> Key:
    """Top-1 of every probe of an anchor on the validation samples."""
    return Key(
        stage="probes",
        version=1,
        inputs={
            "what": "accuracy",
            "probes": probes_key(anchor, train, probes, precision).digest,
            "val": validation_key(anchor, val, probes["pool"], precision).digest,
        },
        label=f"{anchor['name']}: accuracy of the probes",
    )


def theta_key(
    first: Plain, second: Plain, train: Plain, val: Plain, probes: Plain, precision: str
) -> Key:
    """What sets every cut's probe of one anchor apart from those of another (or the same)."""
    return Key(
        stage="scores",
        version=2,
        inputs={
            "probes": [probes_key(a, train, probes, precision).digest for a in (first, second)],
            "val": [
                validation_key(a, val, probes["pool"], precision).digest for a in (first, second)
            ],
        },
        label=f"{first['name']} → {second['name']}: Θ",
    )


def cka_key(source: Plain, target: Plain, val: Plain, pool: str, precision: str) -> Key:
    """HSIC of every cut of one anchor with every cut of another."""
    anchors = (source, target)
    return Key(
        stage="scores",
        version=1,
        inputs={
            "what": "cka",
            "of": [validation_key(a, val, pool, precision).digest for a in anchors],
        },
        label=f"{source['name']} → {target['name']}: CKA",
    )


def fit_key(
    source: Plain,
    target: Plain,
    stitches: Iterable[tuple[int, int]],
    train: Plain,
    val: Plain,
    fit: Plain,
    precision: str,
) -> Key:
    """Stitch layers by least squares, and how well they match on validation images."""
    return Key(
        stage="scores",
        version=1,
        inputs={
            "anchors": [_anchor(source), _anchor(target)],
            "stitches": [list(s) for s in stitches],
            "train": _data(train),
            "val": _data(val),
            "fit": dict(fit),
            "precision": precision,
        },
        label=f"{source['name']} → {target['name']}: fit",
    )


def zero_shot_key(fit: Key) -> Key:
    """Which validation samples each stitch with a fitted layer gets right."""
    return Key(
        stage="zero_shot",
        version=3,
        inputs={"fit": fit.digest},
        label=fit.label.replace(": fit", ": zero_shot"),
    )


def tuned_key(fit: Key, tuning: Plain, seed: int) -> Key:
    """Stitch layers tuned from the fitted ones, and their hits."""
    return Key(
        stage="tuned",
        version=2,
        inputs={"fit": fit.digest, "tuning": dict(tuning), "seed": seed},
        label=fit.label.replace(": fit", ": tuned"),
    )


def finetuned_key(
    source: Plain,
    target: Plain,
    chosen: Iterable[tuple[int, int]],
    train: Plain,
    val: Plain,
    fit: Plain,
    finetuning: Plain,
    seed: int,
    precision: str,
) -> Key:
    """The accuracies of one pair's jointly trained selection and anchors."""
    return Key(
        stage="finetuned",
        version=3,
        inputs={
            "anchors": [_anchor(source), _anchor(target)],
            "stitches": sorted(list(s) for s in chosen),
            "train": _data(train),
            "val": _data(val),
            "fit": dict(fit),
            "finetuning": dict(finetuning),
            "seed": seed,
            "precision": precision,
        },
        label=f"{source['name']} → {target['name']}: finetuned",
    )


def finetuned_weights_key(finetuned: Key) -> Key:
    """The weights behind :func:`finetuned_key`'s accuracies."""
    return Key(
        stage="finetuned",
        version=finetuned.version,
        inputs={"weights_of": finetuned.digest},
        label=finetuned.label + " weights",
    )


def finetuned_hits_key(finetuned: Key, data: Plain) -> Key:
    """Which images of a split :func:`finetuned_key`'s stitches and anchors get right."""
    return Key(
        stage="finetuned",
        version=1,
        inputs={"hits_of": finetuned.digest, "data": _data(data)},
        label=f"{finetuned.label} on {data['ref']}",
    )


def outputs_key(anchor: Plain, data: Plain, precision: str) -> Key:
    """Which images of a split a pretrained anchor gets right."""
    return Key(
        stage="anchors",
        version=1,
        inputs={
            "what": "hits",
            "anchor": _anchor(anchor),
            "data": _data(data),
            "precision": precision,
        },
        label=f"{anchor['name']}: hits on {data['ref']}",
    )


def full_val_key(tier: Key, stitches: Iterable[tuple[int, int]], val: Plain) -> Key:
    """The accuracies of some stitches of a stored tier on every validation image."""
    return Key(
        stage="full_val",
        version=1,
        inputs={
            "of": tier.digest,
            "stitches": sorted(list(s) for s in stitches),
            "val": val["fingerprint"],
        },
        label=f"{tier.label} on all of {val['ref']}",
    )


def latency_key(
    source: Plain,
    target: Plain,
    stitches: Iterable[tuple[int, int]],
    precision: str,
    machine: Plain,
) -> Key:
    """How long a pair's networks take on a machine (``device``, ``threads``, ``torch``)."""
    return Key(
        stage="latency",
        version=1,
        inputs={
            "anchors": [_anchor(source), _anchor(target)],
            "stitches": [list(s) for s in stitches],
            "precision": precision,
            "machine": dict(machine),
        },
        label=f"{source['name']} → {target['name']}: latency on {machine['device']}",
    )
