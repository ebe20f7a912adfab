"""Keys: none ever changes unnoticed, and a study has the same ones open or read back."""

from dataclasses import replace
from typing import get_args

import pytest

from klas.results.keys import Keys, cost_key, unreadable_key
from klas.results.plan import steps
from klas.results.result import (
    Cka,
    Continuations,
    Features,
    FinetunedWeights,
    Fit,
    FullValidation,
    Latency,
    Pictures,
    Probes,
    Result,
    TestOutcomes,
    Theta,
    Tuned,
    Validation,
    ZeroShot,
    finetuned,
    outcomes_of,
)
from klas.study import STAGES, change
from tests.conftest import SMALL
from tests.results.written_study import (
    DATA,
    DIGESTS,
    DOCUMENT,
    ENDS,
    MACHINE,
    OWN,
    SOME,
    STUDY,
    full_validation,
)
from tests.results.written_study import SMALL as SMALL_ANCHOR


def keys(study=STUDY, **changes):
    return Keys.of_document({**DOCUMENT, **changes}, study)


PREFIX = keys(change(STUDY, "probes", pool="prefix"))
FITTED = keys(change(STUDY, "probes", temperature="fitted"))
BFLOAT16 = keys(precision="bfloat16")
SEEDED = keys(STUDY.model_copy(update={"seed": 8}))

# Every cache and every pack is found by such digests. They were taken before keys had one builder.
# A key that changes on purpose has a version that was raised.
ELSEWHERE = [
    ("prefix", PREFIX, Validation(anchor="small"), "ed419f5ea3a3809b"),
    ("prefix", PREFIX, Features(anchor="small"), "070885f7b4e99e85"),
    ("prefix", PREFIX, Probes(anchor="small"), "608cf316dd68151a"),
    ("prefix", PREFIX, Theta(**ENDS), "6f6b17cb6cbcf613"),
    ("prefix", PREFIX, Cka(**ENDS), "7bab67c47562347f"),
    ("fitted", FITTED, Probes(anchor="small"), "5d8119b57f9e89e7"),
    ("fitted", FITTED, Theta(**ENDS), "e25b92d9dc711461"),
    ("bfloat16", BFLOAT16, Validation(anchor="small"), "12eef697bd79e5fa"),
    ("bfloat16", BFLOAT16, TestOutcomes(anchor="small"), "bc1cf5eb239978fb"),
    ("bfloat16", BFLOAT16, Theta(**ENDS), "40dabe3becb00aff"),
    ("bfloat16", BFLOAT16, Fit(**ENDS), "17ec85b3f16e4d24"),
    ("bfloat16", BFLOAT16, Tuned(**ENDS), "bc2079d9c4dac9a0"),
    ("bfloat16", BFLOAT16, finetuned(SOME), "90e86823932226b4"),
    ("bfloat16", BFLOAT16, full_validation(Tuned(**ENDS)), "11a12d472da85cc5"),
    ("bfloat16", BFLOAT16, Latency(**ENDS, machine=MACHINE), "db0429e17efc3d3f"),
    ("seed", SEEDED, Tuned(**ENDS), "b5d98956be7c1d52"),
    ("seed", SEEDED, finetuned(SOME), "7e1daf87eb0be213"),
]


def name_of(result):
    return f"{type(result).__name__} {' → '.join(result.names)}"


@pytest.mark.parametrize("result", DIGESTS, ids=name_of)
def test_no_key_changes(result):
    assert keys().of(result).digest[:16] == DIGESTS[result]


@pytest.mark.parametrize(
    ("made", "result", "digest"),
    [case[1:] for case in ELSEWHERE],
    ids=[f"{what} {name_of(result)}" for what, _, result, _ in ELSEWHERE],
)
def test_no_key_changes_with_other_settings(made, result, digest):
    assert made.of(result).digest[:16] == digest


def test_no_key_that_is_asked_before_the_study_is_open_changes():
    images = unreadable_key("images/val", "b" * 64, 300, 7)
    assert images.digest[:16] == "c30e193efd47a660"
    assert cost_key(SMALL_ANCHOR).digest[:16] == "abb9d3c93391ef3b"
    assert cost_key(OWN).digest[:16] == "2ed4c6a8aa019e0b"


def test_the_table_has_every_kind_and_no_two_results_share_a_key():
    assert {type(result) for result in DIGESTS} == {*get_args(Result)}
    assert len({keys().of(result).digest for result in DIGESTS}) == len(DIGESTS)
    # What is stored of a result says what it is.
    assert all(keys().of(result).label for result in DIGESTS)


PASSES = {"Validation", "Features"}
ON_PASSES = {"Probes", "ProbeAccuracy", "ThetaOutput", "Theta", "Cka"}
TRAINED = {"FinetunedWeights", "FinetunedOutcomes", "Finetuned"}
EVERYTHING = {type(result).__name__ for result in DIGESTS}
ON_FIT = {"Fit", "ZeroShot", "Tuned", "FullValidation", "Pictures", "Continuations"}
ON_VAL = EVERYTHING - {"Features", "Probes", "TestOutcomes", "Latency"}


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        (keys(change(STUDY, "probes", pool="prefix")), PASSES | ON_PASSES),
        (keys(change(STUDY, "probes", l2=1e-3)), {"Probes", "ProbeAccuracy", "Theta"}),
        (keys(change(STUDY, "fit", samples=50)), ON_FIT | TRAINED),
        (
            keys(change(STUDY, "tuning", steps=101)),
            {"Tuned", "FullValidation", "Pictures", "Continuations"},
        ),
        (keys(change(STUDY, "selection", tau=0.5, buckets=3)), set()),
        (keys(STUDY.model_copy(update={"name": "other"})), set()),
        # A joint training carries its own settings, so that one document serves all of them.
        (keys(change(STUDY, "finetuning", steps=7, distillation=True)), set()),
        (keys(precision="bfloat16"), EVERYTHING),
        (keys(data={**DATA, "val": {**DATA["val"], "left_out": [4]}}), ON_VAL),
        (keys(data={**DATA, "val": {**DATA["val"], "fingerprint": "e" * 64}}), ON_VAL),
        (keys(data={**DATA, "train": {**DATA["train"], "images": 1001, "ref": "moved"}}), set()),
    ],
    ids=[
        *("pool", "l2", "fit", "tuning", "selection", "name", "finetuning", "precision"),
        *("left out", "validation images", "another folder"),
    ],
)
def test_a_setting_changes_the_keys_of_what_depends_on_it_alone(changed, kinds):
    other = {type(r).__name__ for r in DIGESTS if changed.of(r).digest != keys().of(r).digest}
    assert other == kinds


@pytest.mark.parametrize("entry", ["digest", "source", "model", "splitter", "transform", "columns"])
def test_everything_that_identifies_an_anchor_is_in_its_keys(entry):
    anchors = [SMALL_ANCHOR, {**OWN, entry: "another"}]
    changed = keys(anchors=anchors)
    for result in DIGESTS:
        about_it = "own" in result.names
        assert (changed.of(result).digest != keys().of(result).digest) == about_it


def test_a_fused_anchor_has_keys_of_its_own_and_another_has_those_that_it_had():
    changed = keys(anchors=[SMALL_ANCHOR, {**OWN, "fused": True}])
    for result in DIGESTS:
        about_it = "own" in result.names
        assert (changed.of(result).digest != keys().of(result).digest) == about_it


def test_what_is_only_said_of_an_anchor_is_not_in_its_keys():
    anchors = [{**SMALL_ANCHOR, "macs": 1, "accuracy": None, "weights": {"file": "x"}}, OWN]
    for result in DIGESTS:
        assert keys(anchors=anchors).of(result).digest == keys().of(result).digest


def test_a_joint_training_of_the_same_stitches_is_one_result_in_any_order():
    turned = replace(SOME, stitches=SOME.stitches[::-1])
    for result in (SOME, outcomes_of(SOME, "test"), finetuned(SOME)):
        other = turned if result is SOME else replace(result, weights=turned)
        assert keys().of(other).digest == keys().of(result).digest


def test_an_open_study_and_its_document_have_the_same_keys(computed):
    from klas.pipeline.context import Context

    store, document = computed
    context, read_back = Context(SMALL, store, device="cpu"), Keys.of_document(document, SMALL)
    results = [
        result
        for stage in STAGES
        for step in steps(stage, list(context.anchors), context.pairs)
        for result in step.results
    ]
    source, target = context.pairs[0]
    stitches = tuple(context.places(source, target)[:3])
    weights = FinetunedWeights(
        source=source, target=target, stitches=stitches, finetuning=SMALL.finetuning
    )
    results += [TestOutcomes(anchor=name) for name in context.anchors]
    results += [weights, outcomes_of(weights, "test"), finetuned(weights)]
    results += [
        FullValidation(source=source, target=target, layers=layers, stitches=stitches)
        for layers in (ZeroShot(source=source, target=target), weights)
    ]
    results += [
        Pictures(source=source, target=target, layers=weights, place=stitches[0]),
        Continuations(source=source, target=target, layers=weights, stitches=stitches),
        Latency(source=source, target=target, machine=MACHINE),
    ]
    assert {type(result).__name__ for result in results} == EVERYTHING
    for result in results:
        assert context.keys.of(result) == read_back.of(result)  # the label too


def test_probes_of_the_papers_trainer_have_keys_of_their_own_and_no_others_change():
    papers = change(STUDY, "probes", trainer="probenet")
    other = {type(r).__name__ for r in DIGESTS if keys(papers).of(r).digest != keys().of(r).digest}
    assert other == {"Probes", "ProbeAccuracy", "Theta"}
    assert papers.results_key() != STUDY.results_key()
