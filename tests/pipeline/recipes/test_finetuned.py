"""Joint training of what the methods chose, and what the comparison makes of it."""

import copy
import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from klas.errors import DivergedError
from klas.measures.schedule import one_cycle
from klas.networks.stitch import Stitch
from klas.pipeline.recipes import finetuned as recipe
from klas.pipeline.run import Pipeline
from klas.results import trainings
from klas.results.comparison import compare
from klas.results.formats import dumps
from klas.results.pair import pairs_of
from klas.results.result import FinetunedWeights, Validation, outcomes_of
from klas.results.trainings import (
    anchors_training,
    budget_steps,
    joint_training,
    method_trainings,
)
from klas.selection.curves import areas
from klas.storage.store import Store
from klas.study import METRICS, change
from tests.conftest import SMALL, method_choice
from tests.pipeline.test_run import Record
from tests.stored import outcomes_key, trained_outcomes_key

pytestmark = pytest.mark.slow

METHODS = ("kl", "random", "snnet")  # to train them all would only take longer
BUDGETS = (0, 1, 3, 12)


def copy_of(store, folder):
    shutil.copytree(store.root, folder)
    return Store(folder)


@pytest.fixture(autouse=True)
def _few_methods(monkeypatch):
    monkeypatch.setattr(trainings, "METRICS", METHODS)


@pytest.fixture(scope="module")
def trained(computed, tmp_path_factory):
    """A copy of the computed store where the first pair's methods are trained, and its pipeline."""
    store, document = computed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainings, "METRICS", METHODS)
        own = copy_of(store, tmp_path_factory.mktemp("trained") / "store")
        pipeline = Pipeline(SMALL, own, device="cpu")
        assert pipeline.finetune_methods(pairs_of(document)[:1]) == []
    yield pipeline, document
    own.close()


def compared(study, pipeline, document):
    return json.loads(dumps(compare(document, study, pipeline.store)))


def bits(store, key, samples):
    return {
        name: np.unpackbits(packed)[:samples].astype(bool)
        for name, packed in store.get(key).items()
    }


def budget(steps):
    return change(SMALL, "finetuning", steps=steps)


def test_every_budget_is_a_training_of_its_own(trained):
    pipeline, document = trained
    pair = pairs_of(document)[0]
    plans = method_trainings(pair, SMALL)
    assert [(p.metric, p.steps) for p in plans] == [
        *((m, n) for n in BUDGETS for m in METHODS),
        *((None, n) for n in BUDGETS[1:]),  # the anchors alone
    ]
    assert tuple(budget_steps(SMALL)) == BUDGETS
    by_method = {}
    for plan in plans:
        if plan.metric is None:
            continue
        assert (plan.chosen == method_choice(pair, SMALL.selection, plan.metric)).all()
        assert pipeline.context.read(plan.result)["steps"] == plan.steps
        by_method.setdefault(plan.metric, []).append(pipeline.context.read(plan.result.weights))
    for states in by_method.values():
        for fewer, more in pairwise(states):
            assert any(not np.array_equal(fewer[name], more[name]) for name in fewer)


def test_each_anchor_alone_is_trained_as_if_there_were_no_other(trained):
    """Whatever the other one is, and no stitch has a part in it."""
    pipeline, document = trained
    pair, context = pairs_of(document)[0], pipeline.context
    steps, settings = 3, budget(3).finetuning
    weights = anchors_training(pair, settings).weights
    stored = context.read(weights)
    assert not [name for name in stored if name.endswith(".weight") and "/" not in name]
    order = [
        ("source", "target")[int(np.random.default_rng([SMALL.seed, step]).integers(2))]
        for step in range(2 * steps)
    ]
    # The slow version: one optimiser, each step through one network by hand.
    rows = np.sort(context.splits.readable_training_rows(2 * steps * settings.batch))
    twice = settings.model_copy(update={"steps": 2 * steps})
    anchors = {
        role: copy.deepcopy(context.anchors[name]).train()
        for role, name in zip(("source", "target"), pair.names)
    }
    for anchor in anchors.values():
        for parameter in anchor.parameters():
            parameter.requires_grad_(True)
    parameters = [p for anchor in anchors.values() for p in anchor.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.05)
    batches = context.training_batches(pair.names, rows, twice)(0)
    for step, (role, (own, other, labels)) in enumerate(zip(order, batches)):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * one_cycle(step, 2 * steps)
        optimizer.zero_grad()
        view = own if role == "source" else other
        torch.nn.functional.cross_entropy(anchors[role](view), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    for role, anchor in anchors.items():
        for name, parameter in anchor.named_parameters():
            assert np.allclose(stored[f"{role}/{name}"], parameter.detach().numpy(), atol=1e-6)


def test_the_comparison_shows_the_anchors_alone(trained):
    pipeline, document = trained
    pair = pairs_of(document)[0]
    actual = compared(SMALL, pipeline, document)
    keys, samples = pipeline.context.keys, SMALL.data.test_samples
    for steps in BUDGETS[1:]:
        weights = anchors_training(pair, budget(steps).finetuning).weights
        hits = bits(pipeline.store, keys.of(outcomes_of(weights, "test")), samples)
        shown = actual["pairs"][0]["anchors_alone"][str(steps)]
        assert {name: figure["value"] for name, figure in shown.items()} == {
            name: hits[name].mean() for name in pair.names
        }
    assert all(not any(p["anchors_alone"].values()) for p in actual["pairs"][1:])


def test_no_steps_leave_the_zero_shot_networks(trained):
    pipeline, document = trained
    pair = pairs_of(document)[0]
    chosen = method_choice(pair, SMALL.selection, "kl")
    samples = SMALL.data.val_samples
    actual = bits(pipeline.store, trained_outcomes_key(pair, chosen, budget(0), "val"), samples)
    zero_shot = bits(pipeline.store, outcomes_key(pair, SMALL, "zero_shot"), samples)
    for i, j in pair.places(chosen):
        assert (actual[f"{i}-{j}"] == zero_shot[f"{i}-{j}.hits"]).all()
    for anchor in pair.cheap_and_costly:
        assert actual[anchor["name"]].mean() == anchor["accuracy"]
    later = bits(pipeline.store, trained_outcomes_key(pair, chosen, SMALL, "val"), samples)
    assert any((later[name] != actual[name]).any() for name in actual)


def test_figures_are_of_the_test_images(trained):
    pipeline, document = trained
    pair, context = pairs_of(document)[0], pipeline.context
    actual = compared(SMALL, pipeline, document)
    assert actual["finetuned_on"] == "test"
    assert actual["data"]["test"]["samples"] == 200

    @torch.inference_mode()
    def top1(network, viewer):
        right = [
            network(images).argmax(1) == labels
            for images, labels in context.batches(context.test.images, context.test.rows, viewer)
        ]
        return float(torch.cat(right).float().mean())

    ends = []
    for anchor in pair.cheap_and_costly:
        entry = next(a for a in actual["anchors"] if a["name"] == anchor["name"])
        pretrained = top1(context.anchors[anchor["name"]], anchor["name"])
        assert entry["test"]["value"] == pytest.approx(pretrained)
        assert entry["val"]["value"] == anchor["accuracy"]
        ends.append((anchor["macs"], pretrained))
    assert [a["test"] is None for a in actual["anchors"]] == [False, False, True, True]

    chosen = method_choice(pair, SMALL.selection, "kl")
    weights = pipeline.stored_layers(pair, chosen, "finetuned")
    family = context.family(pair.names, weights, pair.places(chosen))
    source, target = family.source, family.target
    wanted = []
    for i, j in pair.places(chosen):
        network = Stitch(source, i, target, j, family.layer((i, j))).eval()
        wanted.append(top1(network, pair.names[0]))
    first = actual["pairs"][0]
    got = [stitch["accuracy"]["finetuned"] for stitch in first["chosen"]["kl"]]
    assert got == pytest.approx(wanted)

    method = first["methods"]["kl"]
    slow = areas(pair.macs[chosen], wanted, *ends)
    for name in ("auc", "auc_stitches", "area_top1", "mean_top1"):
        assert method["finetuned"][name]["value"] == pytest.approx(getattr(slow, name))
        assert method["budgets"]["12"][name] == method["finetuned"][name]
    means = [method["budgets"][str(steps)]["mean_top1"]["value"] for steps in BUDGETS]
    assert len(set(means)) > 1
    assert first["methods"]["random"]["finetuned"]["gain"] is not None


def test_what_nobody_trained_is_null(trained):
    pipeline, document = trained
    actual = compared(SMALL, pipeline, document)
    for pair in actual["pairs"][1:]:
        assert all(m["finetuned"] is None for m in pair["methods"].values())
        assert all(set(m["budgets"].values()) == {None} for m in pair["methods"].values())
    for metric in METRICS:
        ours = actual["pairs"][0]["methods"][metric]
        whole = actual["all_pairs"]["methods"][metric]
        for got, alone in (
            (whole["finetuned"], ours["finetuned"]),
            (whole["budgets"]["3"], ours["budgets"]["3"]),
        ):
            if alone is None:
                assert got is None
                continue
            assert got["pairs"] == 1
            figures = {n: figure for n, figure in got.items() if n != "pairs"}
            assert all(figure.pop("pairs") == 1 for figure in figures.values() if figure)
            assert figures == alone
        assert (ours["finetuned"] is not None) == (metric in METHODS)


def test_without_a_test_split_the_validation_images_judge(trained):
    pipeline, document = trained
    data = SMALL.data.model_copy(update={"test": None})
    study = SMALL.model_copy(update={"data": data})
    record = Record()
    bare = Pipeline(study, pipeline.store, device="cpu", progress=record)
    actual = compared(study, pipeline, bare.run())
    assert all(total == 0 for total, _ in record.stages.values())
    assert actual["finetuned_on"] == "val"
    assert all(anchor["test"] is None for anchor in actual["anchors"])
    pair = pairs_of(document)[0]
    chosen = method_choice(pair, SMALL.selection, "kl")
    hits = bits(pipeline.store, trained_outcomes_key(pair, chosen, SMALL, "val"), 300)
    got = [stitch["accuracy"]["finetuned"] for stitch in actual["pairs"][0]["chosen"]["kl"]]
    assert got == [hits[f"{i}-{j}"].mean() for i, j in pair.places(chosen)]
    ends = [(a["macs"], a["accuracy"]) for a in pair.cheap_and_costly]
    auc = actual["pairs"][0]["methods"]["kl"]["finetuned"]["auc"]["value"]
    assert auc == pytest.approx(areas(pair.macs[chosen], got, *ends).auc)


def test_the_seed_of_the_training_decides_and_the_same_seed_repeats(computed, trained, tmp_path):
    pipeline, document = trained
    pair = pairs_of(document)[0]
    chosen = method_choice(pair, SMALL.selection, "kl")
    fresh = Pipeline(SMALL, copy_of(computed[0], tmp_path / "store"), device="cpu")

    def weights(pipeline, seed):
        study = change(budget(3), "finetuning", seed=seed)
        training = joint_training(pair, chosen, study.finetuning)
        pipeline.train(training)
        return pipeline.context.read(training.weights)

    first, again = weights(pipeline, 0), weights(fresh, 0)
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    other = weights(fresh, 1)
    assert not all(np.array_equal(first[name], other[name]) for name in first)
    # A comparison of another seed shows nothing of this one.
    actual = compared(change(SMALL, "finetuning", seed=1), pipeline, document)
    assert actual["pairs"][0]["methods"]["kl"]["finetuned"] is None
    fresh.store.close()


def test_a_method_that_diverges_is_reported_and_the_others_are_kept(
    computed, tmp_path, monkeypatch
):
    store, document = computed
    pair = pairs_of(document)[0]
    study = budget(2)  # and of no steps
    snnet = pair.places(method_choice(pair, SMALL.selection, "snnet"))
    really = recipe.finetune

    def training(family, *rest, **settings):
        if list(family.places) == snnet:
            raise DivergedError("fine-tuning diverged at step 2")
        really(family, *rest, **settings)

    monkeypatch.setattr(recipe, "finetune", training)
    pipeline = Pipeline(study, copy_of(store, tmp_path / "store"), device="cpu")
    (sentence,) = pipeline.finetune_methods([pair])
    assert sentence == f"{pair.name}, snnet: fine-tuning diverged at step 2"
    methods = compared(study, pipeline, document)["pairs"][0]["methods"]
    assert methods["snnet"]["finetuned"] is None
    assert methods["snnet"]["budgets"]["0"] is not None
    assert methods["snnet"]["budgets"]["2"] is None
    assert methods["kl"]["finetuned"]["mean_top1"] is not None
    assert methods["random"]["finetuned"]["gain"] is not None
    pipeline.store.close()


def test_a_rate_that_is_too_high_names_the_step(computed, tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "METRICS", ("kl",))
    store, document = computed
    study = change(budget(2), "finetuning", lr=1e30)
    pipeline = Pipeline(study, copy_of(store, tmp_path / "store"), device="cpu")
    sentences = pipeline.finetune_methods(pairs_of(document)[:1])
    method, alone = sentences
    for sentence in sentences:
        assert sentence.endswith("diverged at step 2; lower [finetuning] lr")
    assert ", kl: " in method
    assert ", the anchors alone: " in alone
    pipeline.store.close()


@pytest.mark.parametrize(
    ("right", "best"), [((0.6, 0.9), 1), ((0.9, 0.6), 0), ((0.8, 0.8), 1), ((0.8, None), 0)]
)
@pytest.mark.parametrize("ends", [(0, 2), (2, 0)])
def test_the_teacher_is_the_best_anchor_and_of_equals_the_costlier(
    computed, tmp_path, right, best, ends
):
    """``right`` and ``best`` are of the cheap and the costly anchor; None: it has no head."""
    store, document = computed
    cheap, costly = (document["anchors"][k] for k in (0, 2))
    assert cheap["macs"] < costly["macs"]
    own = copy_of(store, tmp_path / "store")
    context = Pipeline(SMALL, own, device="cpu").context
    for anchor, share in zip((cheap, costly), right):
        if share is None:
            info = context.anchors[anchor["name"]].info
            context.anchors[anchor["name"]].info = replace(info, classes=0)
            continue
        key = context.keys.of(Validation(anchor=anchor["name"]))
        stored = {name: np.array(values) for name, values in own.get(key).items()}
        labels, wrong = stored["labels"], round((1 - share) * len(stored["labels"]))
        stored["logits"] = np.eye(10, dtype=np.float32)[labels]
        stored["logits"][:wrong] = np.roll(stored["logits"][:wrong], 1, axis=1)
        own.put(key, stored)
    names = [document["anchors"][k]["name"] for k in ends]
    settings = change(SMALL, "finetuning", distillation=True).finetuning
    weights = FinetunedWeights(
        source=names[0], target=names[1], stitches=((1, 1),), finetuning=settings
    )
    views = torch.randn(2, 2, 1, 16, 16)
    wanted = (cheap, costly)[best]["name"]
    taught = recipe.teacher(weights, context)(*views)
    assert torch.equal(taught, context.anchors[wanted](views[names.index(wanted)]))
    own.close()


def test_interrupted_it_goes_on_where_it_was(computed, tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "METRICS", ("kl", "random"))
    store, document = computed
    pairs, own = pairs_of(document)[:1], copy_of(store, tmp_path / "store")
    study = budget(2)

    class Interrupt(Record):
        def advance(self, amount):
            super().advance(amount)
            if self.stages.get("finetuned", (0, 0))[1] == 3:  # in the second method's training
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pipeline(study, own, device="cpu", progress=Interrupt()).finetune_methods(pairs)
    record = Record()
    resumed = Pipeline(study, own, device="cpu", progress=record)
    assert resumed.finetune_methods(pairs) == []
    # Of 8 steps 2 were done: two methods and each of the two anchors alone take 2 each.
    assert record.stages["finetuned"] == [6, 6]
    resumed.finetune_methods(pairs)
    assert record.stages["finetuned"] == [0, 0]
    own.close()
