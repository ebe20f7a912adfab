"""The JSON forms: scores, stitch lists, comparisons; written whole, read with suspicion."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
from numpy.typing import NDArray

from klas.errors import FormatError
from klas.results.pair import Document, Pair, pairs_of
from klas.results.selections import choose
from klas.storage.store import write_whole
from klas.study import TIERS, SelectionSpec

Form = Literal["klas-scores", "klas-stitches", "klas-comparison"]
VERSION = 1


def dumps(document: Mapping[str, Any]) -> bytes:
    """The bytes of a form: the same document always gives the same ones."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write a form, whole or not at all."""
    write_whole(path, dumps(document))


@cache
def schema(form: Form) -> dict[str, Any]:
    """The JSON Schema that ships with the package."""
    text = resources.files("klas").joinpath("schemas", f"{form}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def read(path: Path, form: Form) -> dict[str, Any]:
    """Read and check a form.

    Raises:
        FormatError: the file is absent, or what :func:`parse` refuses.
    """
    try:
        return parse(path.read_bytes(), str(path), form)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None


def parse(data: bytes, name: str, form: Form) -> dict[str, Any]:
    """Check the bytes of a form; ``name`` is what a refusal calls them.

    Raises:
        FormatError: they are cut off, of another format or version, or break the schema; the
            sentence says where.
    """
    try:
        document: Any = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise FormatError(f"{name}: is not text; a {form} file is JSON") from None
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{name}: is no complete JSON (line {error.lineno}: {error.msg.lower()}); "
            "it may be cut off, export it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}: holds what no {form} file holds ({error})") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != form:
        raise FormatError(f"{name}: is no {form} file (its format is {found!r})")
    if document.get("version") != VERSION:
        raise FormatError(
            f"{name}: has version {document.get('version')!r}, this klas reads version {VERSION}"
        )
    breach = jsonschema.exceptions.best_match(_VALIDATOR(schema(form)).iter_errors(document))
    if breach is not None:
        raise FormatError(f"{name}: at {breach.json_path}: {_shortened(breach.message)}")
    if form == "klas-stitches":
        _check_stitches(document, name)
    checked: dict[str, Any] = document
    return checked


def _shortened(message: str) -> str:
    """A breach in a line: it quotes the value, however long that is, and ends with the reason."""
    return message if len(message) <= 200 else f"{message[:80]} … {message[-110:]}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


# JSON Schema counts 2.0 as an integer; as a block number it would be a float.
_VALIDATOR: Any = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    ),
)


def _check_stitches(document: Mapping[str, Any], file: str) -> None:
    """What a schema can't say: names that exist, block numbers in range."""
    anchors = {a["name"]: a for a in document["anchors"]}
    if len(anchors) < len(document["anchors"]):
        raise FormatError(f"{file}: two of its anchors have the same name")
    for k, stitch in enumerate(document["stitches"]):
        for role, first in (("source", 1), ("target", 0)):
            name, block = stitch[role], stitch[f"{role}_block"]
            if name not in anchors:
                raise FormatError(f"{file}: stitch {k}: {role} {name!r} is none of its anchors")
            last = anchors[name]["blocks"] - (role == "target")
            if not first <= block <= last:
                raise FormatError(
                    f"{file}: stitch {k}: {role}_block {block} of {name} is out of range "
                    f"({first} to {last})"
                )


def stitch_list(
    document: Document,
    spec: SelectionSpec,
    *,
    pairs: Sequence[Pair] | None = None,
    by_hand: Sequence[NDArray[np.bool_]] | None = None,
    finetuned: Callable[[Pair, NDArray[np.bool_]], NDArray[np.float64] | None] | None = None,
    full_val: Callable[[Pair, NDArray[np.bool_]], Mapping[str, Any] | None] | None = None,
    weights_file: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A selection from a scores document, as a stitch list.

    Args:
        pairs: those to choose from; all by default.
        by_hand: (N,) of each of the pairs: these stitches instead of those that ``spec`` chooses,
            which then gives their scores and buckets alone; the list says that it was edited.
        finetuned: gives a pair's accuracies after joint training, where that was run.
        full_val: gives a pair's ``tier``, ``samples`` and ``accuracy`` (by ``"i-j"``) on every
            validation image, where that was measured.
        weights_file: ``name``, ``sha256`` and ``tier`` of a file with the stitch layers.
    """
    pairs = pairs_of(document) if pairs is None else pairs
    edges, stitches = [], []
    for k, pair in enumerate(pairs):
        selection = choose(pair, spec)
        if by_hand is not None:
            selection = replace(selection, chosen=by_hand[k])
        edges.append([float(e) for e in selection.edges])
        by_score = spec.metric != "snnet"
        scores = pair.scores(spec.metric) if by_score else np.full(len(pair.macs), np.nan)
        tiers: dict[str, NDArray[np.float64]] = {
            t: pair.accuracy(t) for t in ("zero_shot", "tuned")
        }
        trained = finetuned(pair, selection.chosen) if finetuned else None
        tiers["finetuned"] = np.full(len(scores), np.nan) if trained is None else trained
        whole = full_val(pair, selection.chosen) if full_val and selection.chosen.any() else None
        rows = np.flatnonzero(selection.chosen)
        for row in rows[np.lexsort((pair.macs[rows], selection.bucket[rows]))]:
            i, j = (int(v) for v in pair.stitches[row])
            into, out = pair.source["layouts"][i], pair.target["layouts"][j]
            stitches.append(
                {
                    "source": pair.source["name"],
                    "source_block": i,
                    "target": pair.target["name"],
                    "target_block": j,
                    "stitch_layer": stitch_layer_entry(into, out),
                    "macs": pair.raw["candidates"][row]["macs"],
                    "params": pair.raw["candidates"][row]["params"],
                    "bucket": None if selection.bucket[row] < 0 else int(selection.bucket[row]),
                    "score": optional(scores[row]),
                    "accuracy": {t: optional(v[row]) for t, v in tiers.items()},
                    "full_val": whole and {**whole, "accuracy": whole["accuracy"][f"{i}-{j}"]},
                }
            )
    used = {name for pair in pairs for name in (pair.source["name"], pair.target["name"])}
    return {
        "format": "klas-stitches",
        "version": VERSION,
        "made_with": document["made_with"],
        "task": document["task"],
        "accuracy_metric": document["accuracy_metric"],
        "anchors": [a for a in document["anchors"] if a["name"] in used],
        "data": document["data"],
        "fit": document["fit"],
        "precision": document["precision"],
        "selection": {
            **spec.model_dump(mode="json"),
            "pairs": [[p.source["name"], p.target["name"]] for p in pairs],
            "edges": edges,
            **({} if by_hand is None else {"edited": True}),
        },
        "stitches": stitches,
        "weights_file": None if weights_file is None else dict(weights_file),
    }


def as_csv(listed: Mapping[str, Any]) -> bytes:
    """The stitches of a list as a table for a spreadsheet, one a line; empty is not known."""
    columns = ("source", "source_block", "target", "target_block", "macs", "params", "bucket")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "score", *TIERS])
    for stitch in listed["stitches"]:
        accuracies = [stitch["accuracy"][tier] for tier in TIERS]
        writer.writerow([*(stitch[name] for name in columns), stitch["score"], *accuracies])
    return text.getvalue().encode()


def stitch_layer_entry(source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """What a list says about T between two cuts' layouts.

    Channels in and out, the grid that it runs on (the smaller of the two; empty between
    sequences), and how many prefix tokens it makes.
    """
    return {
        "in": source["channels"],
        "out": target["channels"],
        "grid": list(min(source["grid"], target["grid"], key=prod)),
        "prefix": target["prefix"],
    }


def optional(value: float) -> float | str | None:
    """A number for JSON: NaN (not computed) is null, infinities are "inf" and "-inf"."""
    if np.isnan(value):
        return None
    return str(float(value)) if np.isinf(value) else float(value)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        FormatError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None
