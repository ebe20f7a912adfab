"""A study of networks for segmentation, from folders to figures: tiny, and held to plain code."""

import tomllib
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import klas.digits  # noqa: F401 - registers the built-in networks
from klas.errors import AnchorError, StudyError
from klas.networks.segmenter import Segmenter, bare_network
from klas.pipeline.context import Context
from klas.pipeline.run import Pipeline
from klas.results.documents.scores import ScoresDocument
from klas.results.pair import pairs_of
from klas.results.result import Features, Probes, Validation
from klas.selection.scores import SCORES
from klas.storage.store import Store
from klas.study import AnchorSpec, DataSpec, EngineSpec, FitSpec, Study, TuningSpec, parse_study
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
