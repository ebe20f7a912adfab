"""A study of networks for segmentation, from folders to figures: tiny, and held to plain code."""

import tomllib
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL.Image import Resampling
from safetensors.torch import save_file

import klas.digits  # noqa: F401 - registers the built-in networks
from klas.errors import AnchorError, SelectionError, StudyError
from klas.networks.segmenter import Segmenter, bare_network
from klas.pipeline.context import Context
from klas.pipeline.run import Pipeline
from klas.results.accuracies import tier_layers
from klas.results.comparison import compare
from klas.results.documents.scores import ScoresDocument
from klas.results.pair import pairs_of
from klas.results.per_class import (
    anchor_class_iou,
    stitch_class_iou,
    stored_pictures,
)
from klas.results.result import SHOWN_PICTURES, Features, Probes, Validation, layers_at
from klas.results.selections import choose
from klas.selection.scores import SCORES
from klas.storage.store import Store
from klas.study import (
    AnchorSpec,
    DataSpec,
    EngineSpec,
    FitSpec,
    Study,
    TuningSpec,
    change,
    parse_study,
)
from klas.tasks.metric import MIOU
from klas.tasks.segmentation import Segmentation
from tests.data.label_folders import CLASSES, write

SIZE = (1, 16, 16)
MODELS = {"cheap": "digits_vit_tiny", "costly": "digits_convnet"}


def make_study(folder):
    train, names = write(folder / "train", 24)
    val, _ = write(folder / "val", 12, first=50)
    anchors = []
    for seed, (name, model) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        bare = bare_network(AnchorSpec(name=name, model=model), SIZE)
        network = Segmenter(bare, name, classes=len(CLASSES), input_size=SIZE)
        with torch.no_grad():  # untrained, blocks would hardly change what they are given
            for parameter in network.parameters():
                parameter.mul_(4 if parameter.dim() > 1 else 1)
        save_file(network.state_dict(), folder / f"{name}.safetensors")
        weights = str(folder / f"{name}.safetensors")
        anchors.append(AnchorSpec(name=name, model=model, weights=weights))
    data = DataSpec(
        train=str(train), val=str(val), classes=str(names), crop=1.0, interpolation="bilinear"
    )
    settings = {
        "fit": FitSpec(samples=16),
        "tuning": TuningSpec(steps=2, batch=8),
        "engine": EngineSpec(name="here"),
    }
    return Study(
        name="town",
        task="segmentation",
        anchors=tuple(anchors),
        pairs="both-directions",
        data=data,
        **settings,
    )


class Computed(NamedTuple):
    """A study whose every stage is done."""

    context: Context
    document: ScoresDocument


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    study = make_study(folder)
    with Store(folder / "cache") as store:
        pipeline = Pipeline(study, store, device="cpu")
        yield Computed(pipeline.context, pipeline.run())


def test_every_stage_is_done_and_says_miou(town):
    document = town.document
    assert (document["task"], document["accuracy_metric"]) == ("segmentation", "miou")
    for anchor in document["anchors"]:
        assert 0 < anchor["accuracy"] < 1
        assert len(anchor["probe_accuracy"]) == anchor["blocks"] + 1
        assert len(anchor["probe_converged"]) == anchor["blocks"] + 1
    for pair in pairs_of(document):
        assert pair.task.metric is MIOU
        assert pair.raw["theta_output"] > 0
        for metric in SCORES:
            assert not np.isnan(pair.scores(metric)).any()
        for tier in ("zero_shot", "tuned"):
            accuracy = pair.accuracy(tier)[~pair.diverged]
            assert ((accuracy >= 0) & (accuracy <= 1)).all()


def test_an_anchors_figure_is_the_miou_of_its_predictions(town):
    context, objective = town.context, Segmentation()
    for name, entry in zip(MODELS, town.document["anchors"]):
        outcomes = []
        with torch.inference_mode():
            for images, targets in context.batches(context.val.images, context.val.rows, name):
                outcomes.append(objective.outcomes(context.anchors[name](images), targets))
        wanted = MIOU.value(torch.cat(outcomes).numpy())
        assert entry["accuracy"] == pytest.approx(wanted, rel=1e-9)


def test_probes_are_the_optimum_of_the_shares_in_cells(town):
    """The gradient of the mean cross-entropy over cells, with ½ L2 ‖W‖², is next to nothing."""
    context, objective = town.context, Segmentation()
    features = context.read(Features(anchor="costly"))
    probes = context.read(Probes(anchor="costly"))
    masks = torch.from_numpy(features["labels"].copy())
    for k, layout in enumerate(context.anchors["costly"].info.layouts):
        x = torch.from_numpy(features[f"cut{k}"].reshape(-1, layout.channels).copy()).double()
        y = objective.unit_targets(masks, layout, len(CLASSES)).double()
        mean, std, weight, bias = (
            torch.from_numpy(probes[f"cut{k}.{part}"].copy()).double()
            for part in ("mean", "std", "weight", "bias")
        )
        x = (x - mean) / std

        def gradient(weight, bias, x=x, y=y):
            weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
            log_p = (x @ weight.T + bias).log_softmax(1)
            loss = -(y * log_p).sum() / len(x) + 1e-4 / 2 * weight.square().sum()
            return torch.cat(
                [g.flatten() for g in torch.autograd.grad(loss, (weight, bias))]
            ).norm()

        zero = gradient(torch.zeros_like(weight), torch.zeros_like(bias))
        assert float(gradient(weight, bias)) <= 2e-3 * float(zero)


def test_theta_is_the_mean_over_cells_of_the_probes_predictions(town):
    """Ω of a candidate against float64, both cuts' predictions on the coarser of their grids."""
    context = town.context
    pair = next(p for p in pairs_of(town.document) if p.names == ("cheap", "costly"))

    def chances(name, cut, grid):
        stored, probes = (context.read(kind(anchor=name)) for kind in (Validation, Probes))
        x = stored[f"cut{cut}"].astype(np.float64)
        mean, std, weight, bias = (
            probes[f"cut{cut}.{part}"].astype(np.float64)
            for part in ("mean", "std", "weight", "bias")
        )
        logits = (x - mean) / std @ weight.T + bias
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        n, height, width, classes = p.shape
        h, w = grid
        return p.reshape(n, h, height // h, w, width // w, classes).mean((2, 4))

    layouts = [context.anchors[name].info.layouts for name in pair.names]
    for row, (i, j) in enumerate(pair.everywhere):
        grid = min(layouts[0][i].grid, layouts[1][j].grid)
        p, q = chances("cheap", i, grid), chances("costly", j, grid)
        theta = (p * (np.log(p) - np.log(q))).sum(-1).mean()
        assert pair.scores("theta")[row] == pytest.approx(theta, rel=1e-3, abs=1e-8)
        ce = -(p * np.log(q)).sum(-1).mean()
        assert pair.scores("ce")[row] == pytest.approx(ce, rel=1e-3)


def test_anchors_of_different_sizes_are_refused(tmp_path):
    study = make_study(tmp_path)
    spec = study.anchors[1].model_copy(update={"image_size": (32, 32)})
    study = study.model_copy(update={"anchors": (study.anchors[0], spec)})
    with (
        Store(tmp_path / "cache") as store,
        pytest.raises(AnchorError, match=r"see images of different sizes \(cheap 16 × 16 pixels"),
    ):
        _ = Pipeline(study, store, device="cpu").context.anchors


def test_a_study_names_its_task_and_classification_stays_unsaid(tmp_path):
    study = make_study(tmp_path)
    assert 'task = "segmentation"' in study.to_toml()
    assert parse_study(tomllib.loads(study.to_toml()), "there") == study
    usual = study.model_copy(update={"task": "classification"})
    assert "task" not in usual.content()
    assert usual.results_key() != study.results_key()
    with pytest.raises(StudyError, match="the units of segmentation are cells"):
        parse_study(study.content() | {"probes": {"pool": "prefix"}}, "there")


def first_candidate(pair):
    return next(place for place, out in zip(pair.everywhere, pair.diverged) if not out)


def test_a_class_has_an_iou_and_their_mean_is_the_accuracy(town):
    assert tuple(town.document["class_names"]) == CLASSES
    store, study = town.context.store, town.context.study
    for pair in pairs_of(town.document):
        for anchor in (pair.source, pair.target):
            iou = anchor_class_iou(store, pair, study, anchor["name"])
            assert np.nanmean(iou) == pytest.approx(anchor["accuracy"])
        for tier in ("zero_shot", "tuned"):
            place = first_candidate(pair)
            layers = layers_at(pair.names, tier, study.finetuning)
            iou = stitch_class_iou(store, pair, study, layers, place)
            wanted = pair.accuracy(tier)[pair.everywhere.index(place)]
            assert np.nanmean(iou) == pytest.approx(wanted)
        trained = layers_at(pair.names, "finetuned", study.finetuning, (place,))
        assert stitch_class_iou(store, pair, study, trained, place) is None


def test_pictures_are_what_networks_predict_for_the_first_images(town):
    context = town.context
    pair = next(p for p in pairs_of(town.document) if p.names == ("cheap", "costly"))
    place = first_candidate(pair)
    layers = layers_at(pair.names, "tuned", context.study.finetuning)
    assert stored_pictures(context.store, pair, context.study, layers, place) is None
    Pipeline(context.study, context.store, device="cpu").pictures(pair, layers, place)
    shown = stored_pictures(context.store, pair, context.study, layers, place)
    rows = context.val.rows[:SHOWN_PICTURES]
    views, targets = next(context.batches(context.val.images, rows, "cheap"))
    assert (shown["label"] == targets.numpy()).all()
    pictures = [context.val.images.image(row).convert("L") for row in rows]
    seen = np.stack([picture.resize(SIZE[1:], Resampling.BILINEAR) for picture in pictures])
    assert (shown["image"][..., 0] == seen).all()
    with torch.inference_mode():
        for called, name in zip(("source", "target"), pair.names):
            assert (shown[called] == context.anchors[name](views).argmax(1).numpy()).all()
        family = context.family(pair.names, context.layers(layers), [place])
        assert (shown["stitch"] == family.use(place)(views).argmax(1).numpy()).all()


def test_pictures_are_refused_where_an_image_has_one_class_and_at_a_tier_that_is_not_there(town):
    context = town.context
    pair = pairs_of(town.document)[0]
    pipeline = Pipeline(context.study, context.store, device="cpu")
    trained = layers_at(pair.names, "finetuned", context.study.finetuning, ((1, 1),))
    with pytest.raises(SelectionError, match="that tier is not computed yet"):
        pipeline.pictures(pair, trained, (1, 1))
    document = town.document | {"task": "classification", "accuracy_metric": "top1"}
    with pytest.raises(SelectionError, match="pictures are for segmentation alone"):
        pipeline.pictures(pairs_of(document)[0], trained, (1, 1))


def test_what_is_chosen_is_trained_measured_on_everything_and_compared(town):
    """Joint training, a race, every validation image, and the comparison: all in mIoU."""
    context = town.context
    study = change(context.study, "finetuning", steps=2, batch=4)
    study = change(study, "selection", buckets=2)
    pipeline = Pipeline(study, context.store, device="cpu")
    pair = next(p for p in pairs_of(town.document) if p.names == ("cheap", "costly"))
    picked = choose(pair, study.selection)
    done = pipeline.finetune(pair, picked.chosen)
    assert set(done["accuracy"]) == {f"{i}-{j}" for i, j in pair.places(picked.chosen)}
    assert set(done["anchors"]) == set(MODELS)
    assert all(0 <= value <= 1 for value in (done["accuracy"] | done["anchors"]).values())
    layers = tier_layers(pair, picked.chosen, study, "finetuned")
    place = pair.places(picked.chosen)[0]
    iou = stitch_class_iou(context.store, pair, study, layers, place)
    assert np.nanmean(iou) == pytest.approx(done["accuracy"]["{}-{}".format(*place)])
    everything = pipeline.full_validation(pair, picked.chosen, "finetuned")
    assert everything["samples"] == 12
    # It is the whole split, so the figures are the same.
    assert everything["accuracy"] == pytest.approx(done["accuracy"])
    assert pipeline.finetune_methods([pair]) == []
    comparison = compare(town.document, study, context.store)
    assert comparison["accuracy_metric"] == "miou"
    entry = next(p for p in comparison["pairs"] if (p["source"], p["target"]) == pair.names)
    kl = entry["methods"]["kl"]["finetuned"]
    assert kl["mean_top1"]["value"] == pytest.approx(np.mean([*done["accuracy"].values()]))
    low, high = kl["mean_top1"]["low"], kl["mean_top1"]["high"]
    assert low <= kl["mean_top1"]["value"] <= high
