"""A user's own networks and pictures, from the study's file to a network of the exported list."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn

import klas
from klas.data import batches, open_images
from klas.deploy.load import check_stitch_list, load_stitch
from klas.deploy.weights_file import save_layers
from klas.errors import AnchorError, FormatError
from klas.pipeline.run import Pipeline
from klas.results import formats as exports
from klas.results.accuracies import finetuned_accuracy
from klas.results.pair import pairs_of
from klas.results.result import Features
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from klas.storage.store import Store
from klas.study import change, parse_study
from tests.networks import nets

CPU = torch.device("cpu")
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


class Block(nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=stride, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()


class Convolutional(nn.Module):
    """Like the networks that people write: a list of blocks, nothing of timm."""

    def __init__(self, width, depth, classes=3):
        super().__init__()
        self.num_classes = classes
        self.pretrained_cfg = {"input_size": (3, 24, 24), "mean": (0.5,) * 3, "std": (0.25,) * 3}
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = nn.Sequential(*(Block(width, 1 + (k == 1)) for k in range(depth)))
        self.head = nn.Linear(width, classes) if classes else nn.Identity()

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def small():
    torch.manual_seed(1)
    return Convolutional(6, 2)


def large():
    torch.manual_seed(2)
    return Convolutional(16, 3)


def headless():
    torch.manual_seed(3)
    return Convolutional(8, 2, classes=0)


def not_a_module():
    return "a string"


def pictures(folder, names, count, seed=0):
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        colour = COLOURS.get(name, (128, 128, 128))
        for k in range(count):
            noise = rng.normal(0, 60, (30, 26, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.jpg")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("colours")
    pictures(root / "train", COLOURS, 12)
    pictures(root / "val", COLOURS, 8, seed=1)
    damaged = root / "train" / "green" / "3.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    return root


def own(*names):
    return [{"name": n, "model": f"tests.pipeline.test_own_networks:{n}"} for n in names]


def study(root, anchors, **more):
    raw = {
        "name": "colours",
        "anchors": anchors,
        "data": {
            "train": str(root / "train"),
            "val": str(root / "val"),
            "train_samples": 36,
            "val_samples": 12,
            "crop": 1.0,
        },
        "fit": {"samples": 12},
        "tuning": {"steps": 3, "batch": 6},
        "finetuning": {"steps": 6, "batch": 6},
        "selection": {"buckets": 3, "tau": 1e6},
    }
    return parse_study(raw | more, "test")


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    pipeline = Pipeline(study(root, own("small", "large")), store, device="cpu", allow_code=True)
    yield pipeline, pipeline.run()
    store.close()


def exported(pipeline, document, tier, folder, **more):
    (pair,) = pairs_of(document)
    selection = pipeline.study.selection
    picked = [(pair, choose(pair, selection).chosen, None)]
    weights_file = save_layers(pipeline, picked, tier, folder / "w.safetensors")

    def finetuned(pair, chosen):
        return finetuned_accuracy(pipeline.store, pair, chosen, pipeline.study)

    stitches = stitch_list(
        document, selection, finetuned=finetuned, weights_file=weights_file, **more
    )
    exports.write(stitches, folder / "list.json")
    return stitches["stitches"]


def accuracy(network, images, rows, transform):
    hits = [network(x).argmax(1) == y for x, y in batches(images, rows, [transform], device=CPU)]
    return float(torch.cat(hits).double().mean())


def test_code_runs_only_where_it_is_allowed(root, store):
    with pytest.raises(AnchorError, match=r"small: .*:small is Python code.*--allow-code"):
        Pipeline(study(root, own("small", "large")), store, device="cpu").context.open()


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("tests.pipeline.test_own_networks:absent", "AttributeError"),
        ("no_such_package:net", "ModuleNotFoundError"),
        ("tests.pipeline.test_own_networks:not_a_module", "returned str, not an nn.Module"),
    ],
)
def test_code_that_gives_no_network_is_refused(root, store, model, why):
    anchors = [*own("small"), {"name": "odd", "model": model}]
    with pytest.raises(AnchorError, match=f"odd: {model}.*{why}"):
        Pipeline(study(root, anchors), store, device="cpu", allow_code=True).context.open()


def test_a_damaged_picture_is_left_out_and_told(finished, root):
    pipeline, document = finished
    (note,) = pipeline.context.open()
    assert "left out 1 image that cannot be read" in note
    assert "3.jpg" in note
    images = open_images(str(root / "train"))
    (row,) = document["data"]["train"]["left_out"]
    assert images.where(row).endswith("3.jpg")
    assert row not in pipeline.context.train.rows
    assert document["data"]["train"]["samples"] == pipeline.context.train.samples == 35


def test_a_tuned_network_of_the_list_has_its_stated_accuracy(finished, tmp_path):
    pipeline, document = finished
    stitches = exported(pipeline, document, "tuned", tmp_path)
    images, rows = pipeline.context.val.images, pipeline.context.val.rows
    transform = pipeline.context.anchors["small"].info.transform
    for index, entry in enumerate(stitches):
        network = load_stitch(tmp_path / "list.json", index, allow_code=True)
        with torch.inference_mode():
            assert accuracy(network, images, rows, transform) == entry["accuracy"]["tuned"]
    check_stitch_list(tmp_path / "list.json", allow_code=True)
    with pytest.raises(AnchorError, match="--allow-code"):
        load_stitch(tmp_path / "list.json", 0)


def test_a_finetuned_network_has_batch_statistics_of_its_own(finished, tmp_path):
    pipeline, document = finished
    (pair,) = pairs_of(document)
    chosen = choose(pair, pipeline.study.selection).chosen
    result = pipeline.finetune(pair, chosen)
    assert set(result["anchors"]) == {"small", "large"}
    stitches = exported(pipeline, document, "finetuned", tmp_path)
    assert len(stitches) > 1
    images, rows = pipeline.context.val.images, pipeline.context.val.rows
    transform = pipeline.context.anchors["small"].info.transform
    means = []
    for index, entry in enumerate(stitches):
        network = load_stitch(tmp_path / "list.json", index, allow_code=True)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        means.append(norms[-1].running_mean.clone())
        with torch.inference_mode():
            assert accuracy(network, images, rows, transform) == entry["accuracy"]["finetuned"]
    assert not torch.equal(means[0], means[-1])  # both end in the same layer of the target
    check_stitch_list(tmp_path / "list.json", allow_code=True)


@pytest.mark.parametrize("tier", ["tuned", "finetuned"])
def test_what_is_chosen_can_be_measured_on_every_validation_image(finished, tmp_path, tier):
    pipeline, document = finished
    (pair,) = pairs_of(document)
    chosen = choose(pair, pipeline.study.selection).chosen
    if tier == "finetuned":
        pipeline.finetune(pair, chosen)
    measured = pipeline.full_validation(pair, chosen, tier)
    assert measured["samples"] == 24  # τ and Γ saw 12
    full_val = {"tier": tier, **measured}
    stitches = exported(pipeline, document, tier, tmp_path, full_val=lambda *_: full_val)
    images = pipeline.context.val.images
    transform = pipeline.context.anchors["small"].info.transform
    for index, entry in enumerate(stitches):
        network = load_stitch(tmp_path / "list.json", index, allow_code=True)
        with torch.inference_mode():
            actual = accuracy(network, images, np.arange(24), transform)
        assert entry["full_val"]["accuracy"] == pytest.approx(actual)
    exports.read(tmp_path / "list.json", "klas-stitches")


def test_a_network_without_a_head_is_a_source_and_no_target(root, store):
    anchors = own("headless", "large")
    pipeline = Pipeline(study(root, anchors), store, device="cpu", allow_code=True)
    document = pipeline.run()
    assert [a["accuracy"] is None for a in document["anchors"]] == [True, False]
    (pair,) = pairs_of(document)
    assert pair.raw["theta_output"] is None
    assert np.isfinite(pair.scores("kl")).any()
    assert np.isfinite(pair.accuracy("tuned")).all()
    result = pipeline.finetune(pair, choose(pair, pipeline.study.selection).chosen)
    assert set(result["anchors"]) == {"large"}
    turned = study(root, anchors, pairs=[["large", "headless"]])
    with pytest.raises(AnchorError, match=r"headless: has no head.*swap the pair"):
        Pipeline(turned, store, device="cpu", allow_code=True).context.open()


def test_folders_named_by_wordnet_ids_find_their_outputs(tmp_path, store):
    torch.manual_seed(0)
    names = ImageNetInfo().label_names()
    columns = [7, 207, 985]
    for split in ("train", "val"):
        pictures(tmp_path / split, [names[c] for c in columns], 3)
    anchors = []
    for name in ("test_resnet", "test_convnext"):
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
        weights = str(tmp_path / f"{name}.safetensors")
        anchors.append({"name": name, "model": name, "weights": weights})
    pipeline = Pipeline(study(tmp_path, anchors), store, device="cpu")
    document = pipeline.run("scores")
    for entry in document["anchors"]:
        assert entry["columns"] == columns
        whole = timm.create_model(entry["model"], pretrained=False).eval()
        whole.load_state_dict(pipeline_state(tmp_path, entry["name"]))
        anchor = pipeline.context.anchors[entry["name"]]
        images = torch.randn(2, *anchor.info.transform.input_size)
        with torch.inference_mode():
            assert torch.equal(anchor(images), whole(images)[:, columns])


def pipeline_state(folder, name):
    from safetensors.torch import load_file

    return load_file(folder / f"{name}.safetensors")


def test_an_anchor_is_made_of_any_module():
    transform = klas.Transform(
        input_size=(3, 24, 24), mean=(0.5,) * 3, std=(0.25,) * 3, crop=1.0, interpolation="bilinear"
    )
    model = large().eval()
    anchor = klas.Anchor.from_module(model, "mine", transform=transform)
    images = torch.randn(2, 3, 24, 24)
    assert (anchor.info.depth, anchor.info.classes, anchor.info.stages) == (3, 3, (1, 2))
    assert torch.equal(anchor(images), model(images))


def test_precision_is_part_of_every_result(root, store, finished):
    _, wide = finished
    narrow = study(root, own("small", "large"), precision="bfloat16")
    pipeline = Pipeline(narrow, store, device="cpu", allow_code=True)
    document = pipeline.run("zero_shot")
    assert (wide["precision"], document["precision"]) == ("float32", "bfloat16")
    ours, theirs = (pairs_of(d)[0].raw["theta"] for d in (document, wide))
    assert ours != theirs
    assert np.allclose(ours, theirs, rtol=0.2, atol=0.05)


def test_a_selection_of_another_metric_is_exported_alike(finished, tmp_path):
    pipeline, document = finished
    spec = change(pipeline.study, "selection", metric="snnet").selection
    assert {s["score"] for s in stitch_list(document, spec)["stitches"]} <= {None}


def test_results_depend_on_the_code_of_ones_own_network(root, tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        "import torch\n"
        "from tests.pipeline.test_own_networks import Convolutional\n"
        "class Mine(Convolutional):\n"
        "    def forward(self, x):\n"
        "        return self.head(self.blocks(self.stem(x)).mean((2, 3)))\n"
        "def net():\n"
        "    torch.manual_seed(5)\n"
        "    return Mine(8, 2)\n"
    )
    described = []
    for name, code in (("mine_a", text), ("mine_b", text.replace("mean(", "amax("))):
        (tmp_path / f"{name}.py").write_text(code)
        anchors = [*own("large"), {"name": "mine", "model": f"{name}:net"}]
        pipeline = Pipeline(study(root, anchors), store, device="cpu", allow_code=True)
        described.append(pipeline.context.identities["mine"])
    assert described[0]["digest"] == described[1]["digest"]
    assert described[0]["source"] != described[1]["source"]


def test_tables_made_from_old_weights_are_forgotten():
    """LeViT keeps its attention biases in eval mode."""
    transform = nets.transform((3, 224, 224))
    anchors = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = timm.create_model("levit_128s", num_classes=3).eval()
        for name, parameter in model.named_parameters():
            if "attention_biases" in name:
                torch.nn.init.normal_(parameter)
        anchors.append(klas.Anchor.from_module(model, "levit", transform=transform))
    used, other = anchors
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        used(images)
        used.load_state_dict(other.state_dict())
        used.forget_tables()
        assert torch.equal(used(images), other(images))


def rep():
    """Blocks of parallel branches that timm folds into one convolution each."""
    blocks = tuple(ByoBlockCfg(type="rep", d=2, c=c, s=2) for c in (8, 16))
    torch.manual_seed(4)
    network = ByobNet(ByoModelCfg(stem_type="3x3", stem_chs=8, blocks=blocks), num_classes=3)
    network.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    return network


torch.library.define("klas_own::shift", "(Tensor x) -> Tensor")
torch.library.impl("klas_own::shift", "CPU")(lambda x: x + 1)
torch.library.register_fake("klas_own::shift")(torch.empty_like)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(16, 16, 1)
        self.act = nn.ReLU()

    def forward(self, x):
        return torch.ops.klas_own.shift(self.act(self.layer(x)))


def shifting():
    network = large()
    network.blocks.append(Shift())
    return network


@pytest.fixture(scope="module")
def with_options(root, tmp_path_factory):
    """Anchors at another size, in the fused form and with an operator without a formula."""
    anchors = own("small", "rep", "shifting")
    anchors[0] |= {"image_size": [16, 32]}
    fused = {**anchors[1], "name": "fused", "fused": True}
    store = Store(tmp_path_factory.mktemp("store"))
    pairs = [["small", "rep"], ["small", "fused"], ["rep", "shifting"]]
    made = study(root, [*anchors, fused], pairs=pairs)
    pipeline = Pipeline(made, store, device="cpu", allow_code=True)
    yield pipeline, pipeline.run("scores")
    store.close()


def test_the_document_says_what_the_options_are(with_options):
    pipeline, document = with_options
    small, trained, shift, fused = document["anchors"]
    assert small["image_size"] == [16, 32]
    assert small["transform"]["input_size"] == [3, 16, 32]
    assert fused["fused"] is True
    assert (fused["macs"], fused["params"]) == tuple(trained["deployed"].values())
    assert fused["digest"] == trained["digest"]
    assert {"image_size", "fused", "uncounted"}.isdisjoint(trained)
    assert {"image_size", "fused", "deployed"}.isdisjoint(shift)
    assert shift["uncounted"] == ["klas_own::shift"]
    keys = pipeline.context.keys
    assert keys.of(Features(anchor="rep")) != keys.of(Features(anchor="fused"))


def test_a_stitch_has_the_deployed_cost_of_its_trained_form(with_options):
    _, document = with_options
    trained, fused, shifting = (pair["candidates"] for pair in document["pairs"])
    for stitch, folded in zip(trained, fused, strict=True):
        assert stitch["deployed"] == {"macs": folded["macs"], "params": folded["params"]}
        assert "deployed" not in folded
        assert stitch["macs"] > folded["macs"]
    # The operator is in the last block, which every stitch into that network has.
    assert all(stitch["uncounted"] == ["klas_own::shift"] for stitch in shifting)
    assert not any("uncounted" in stitch for stitch in [*trained, *fused])


def test_a_list_of_anchors_with_options_is_rebuilt_as_stated(with_options, tmp_path):
    pipeline, document = with_options
    made = stitch_list(document, pipeline.study.selection)
    assert any("deployed" in s for s in made["stitches"])
    assert any("uncounted" in s for s in made["stitches"])
    exports.write(made, tmp_path / "list.json")
    exports.read(tmp_path / "list.json", "klas-stitches")
    check_stitch_list(tmp_path / "list.json", allow_code=True)
    for entry in made["anchors"]:
        entry.pop("image_size", None)
    exports.write(made, tmp_path / "list.json")
    with pytest.raises(FormatError, match="transform is stated"):
        check_stitch_list(tmp_path / "list.json", allow_code=True)
