"""The shipped schemas are the types', and both say the same of any document."""

import copy
import json
from importlib import resources
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators
from pydantic import ValidationError

from klas.results.documents.comparison import ByMethod
from klas.results.documents.faults import fault
from klas.results.documents.schemas import FORMS, adapter, schema
from klas.results.documents.scores import Scores
from klas.results.documents.stitches import StitchAccuracy
from klas.results.formats import dumps
from klas.results.stitch_list import stitch_list
from klas.selection.scores import SCORES
from klas.study import METRICS, TIERS
from klas.tasks.metric import MetricName
from klas.tasks.task import TASKS, TaskName
from tests.conftest import SMALL

# JSON Schema counts 2.0 as an integer; a block's number it can't be.
Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    ),
)


@pytest.mark.parametrize("form", FORMS)
def test_the_shipped_schemas_are_those_of_the_types(form):
    """If not: ``python -m klas.results.documents`` writes them anew."""
    text = resources.files("klas").joinpath("schemas", f"{form}.schema.json").read_text("utf-8")
    assert json.loads(text) == schema(form)
    Draft202012Validator.check_schema(json.loads(text))


_ANCHOR = {
    "name": "f",
    "model": "resnet18",
    "arguments": {"num_classes": 10},
    "source": None,
    "splitter": "fx-blocks-1",
    "transform": {
        "input_size": [3, 32, 32],
        "mean": [0.5],
        "std": [0.5],
        "crop": 1.0,
        "interpolation": "bicubic",
    },
    "columns": [0, 1],
    "classes": 2,
    "blocks": 1,
    "cuts": ["stem", "blocks.0"],
    "layouts": [{"channels": 4, "grid": [8, 8], "prefix": 0, "form": "NCHW"}],
    "image_size": [32, 32],
    "fused": True,
}
_MEMBER = {
    "name": "f:1-g:2",
    "source": "f",
    "source_block": 1,
    "target": "g",
    "target_block": 2,
    "macs": 3,
    "params": 4,
    "accuracy": {"tuned": 0.5},
    "latency": {"ms": 1.5, "machine": "a processor"},
}
_SAVED = {
    "version": 1,
    "made_with": {"klas": "0", "torch": "2", "timm": "1", "splitter": "fx-blocks-1"},
    "task": "classification",
    "accuracy_metric": "top1",
    "class_names": ["cat", "dog"],
    "tier": "tuned",
    "anchors": [_ANCHOR],
    "weights": {"name": "model.safetensors", "sha256": "0" * 64},
    "digest": "0" * 64,
}
NETWORK = {"format": "klas-network", **_SAVED, "member": _MEMBER}
ELASTIC = {"format": "klas-elastic", **_SAVED, "members": [_MEMBER]}
EXPORT = {
    "format": "klas-export",
    "version": 1,
    "made_with": _SAVED["made_with"],
    "name": "f:1-g:2",
    "tier": "tuned",
    "class_names": ["cat", "dog"],
    "preprocessing": _ANCHOR["transform"] | {"resize": [36, 36]},
    "fused": False,
    "macs": 3,
    "params": 4,
    "accuracy": {"tuned": 0.5},
}


@pytest.fixture(scope="module")
def documents(computed, comparison):
    """One of each form as it is read from a file, with as few entries as show all there is."""
    scores = json.loads(dumps(computed[1]))
    scores["pairs"] = scores["pairs"][:1]
    scores["pairs"][0]["candidates"] = scores["pairs"][0]["candidates"][:1]
    scores["anchors"] = scores["anchors"][:1]
    listed = json.loads(dumps(stitch_list(computed[1], SMALL.selection)))
    listed["anchors"] = listed["anchors"][:1]
    listed["selection"]["edited"] = True
    listed["stitches"] = listed["stitches"][:2]
    listed["stitches"][0]["full_val"] = {"tier": "tuned", "samples": 9, "accuracy": 0.5}
    listed["weights_file"] = {"name": "w.safetensors", "sha256": "0" * 64, "tier": "tuned"}
    compared = json.loads(dumps(comparison))
    compared["pairs"] = compared["pairs"][:1]
    return {
        "klas-scores": scores,
        "klas-stitches": listed,
        "klas-comparison": compared,
        "klas-network": NETWORK,
        "klas-export": EXPORT,
        "klas-elastic": ELASTIC,
    }


def places(value, path=()):
    """The path of every entry at any depth; of a list the first and the last."""
    keys = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = sorted({0, len(value) - 1}) if value else []
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def verdict(form, document):
    """What the types say; that the schema says the same is what is tested."""
    try:
        adapter(form).validate_python(document)
    except ValidationError as error:
        sentence = fault(error, document)
        assert sentence.startswith("at $")
        assert len(sentence) < 300
        assert not Validator(schema(form)).is_valid(document), sentence
        return False
    assert Validator(schema(form)).is_valid(document)
    return True


VALUES = st.one_of(
    st.sampled_from([None, True, False, "", "inf", "-inf", "nan", "top1", "tuned", "a/b", "é"]),
    st.sampled_from(["0" * 64, "A" * 64, "0" * 63, [], {}, [[]], [{}], {"value": 1}, {"0": None}]),
    st.sampled_from([{"sha256": "0" * 64}, {"sha256": "0" * 64, "tag": "x"}, ["a", "b"], [1, 2]]),
    st.sampled_from([-1, 0, 1, 2, 2.0, -0.5, 0.5, 1.5, 1e300, 2**63 - 1, 2**63]),
)


def at(document, path, value):
    """A copy in which the entry at this path is another."""
    changed = copy.deepcopy(document)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return changed


@pytest.mark.parametrize("form", FORMS)
def test_numbers_and_booleans_are_never_taken_for_each_other(documents, form):
    """Python's True is 1, and pydantic's ``Literal`` compares as Python does."""
    document = documents[form]
    for path in places(document):
        if path[0] == "study" or "arguments" in path:  # another form's, and timm's
            continue
        parent = document
        for key in path:
            parent = parent[key]
        if type(parent) is bool:
            for number in (int(parent), float(parent)):
                assert not verdict(form, at(document, path, number)), path
        elif type(parent) in (int, float):
            assert not verdict(form, at(document, path, True)), path


@pytest.mark.parametrize("form", FORMS)
def test_types_and_schema_agree_on_documents_that_are_a_little_wrong(documents, form):
    document = documents[form]
    assert verdict(form, document)
    paths = [path for path in places(document) if path[0] != "study"]
    seen = set()

    @settings(max_examples=250)
    @given(st.sampled_from(paths), st.sampled_from(["set", "drop", "add", "wrap"]), VALUES)
    def check(path, change, value):
        changed = copy.deepcopy(document)
        parent, last = changed, path[-1]
        for key in path[:-1]:
            parent = parent[key]
        match change, parent[last]:
            case "drop", _:
                del parent[last]
            case "add", dict() as inside:
                inside["more"] = value
            case "add", list() as inside:
                inside.append(value)
            case "wrap", inside:
                parent[last] = [inside]
            case _:
                parent[last] = value
        seen.add(verdict(form, changed))

    check()
    assert seen == {True, False}


@pytest.mark.parametrize("form", FORMS)
def test_a_version_is_a_number(documents, form):
    spoiled = {**documents[form], "version": True}  # which Python takes for 1
    assert not verdict(form, spoiled)
    with pytest.raises(ValidationError) as caught:
        adapter(form).validate_python(spoiled)
    assert fault(caught.value, spoiled) == "at $.version: True is not 1"


def test_of_a_million_faults_one_is_looked_at(documents):
    document = documents["klas-stitches"] | {"stitches": [0] * 10**6}
    with pytest.raises(ValidationError) as caught:
        adapter("klas-stitches").validate_python(document)
    assert caught.value.error_count() == 1
    assert fault(caught.value, document) == "at $.stitches[0]: 0 is not of type 'object'"


def test_what_is_said_elsewhere_is_what_the_types_know():
    assert tuple(ByMethod.__annotations__) == METRICS
    assert tuple(Scores.__annotations__) == tuple(SCORES)
    assert tuple(StitchAccuracy.__annotations__) == TIERS
    assert get_args(TaskName) == tuple(TASKS)
    assert get_args(MetricName) == tuple(task.metric.name for task in TASKS.values())
