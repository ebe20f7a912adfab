import pytest
import timm
import torch

from klas.digits.zoo import ZOO
from klas.pipeline import catalogue
from klas.pipeline.catalogue import build_catalogue, count_part
from klas.progress import Silent
from klas.storage.catalogue import part_key, read_catalogue

# GMACs that timm publishes: results/benchmark-infer-amp-nchw-pt291-cu128-4090.csv of its
# repository (column infer_gmacs), counted by fvcore or deepspeed on the whole network.
PUBLISHED = {
    "resnet18.a1_in1k": 1.82,
    "resnet50.a1_in1k": 4.11,
    "resnet101.a1h_in1k": 7.83,
    "wide_resnet50_2.racm_in1k": 11.43,
    "resnext50_32x4d.a1h_in1k": 4.26,
    "regnety_032.ra_in1k": 3.2,
    "densenet121.ra_in1k": 2.87,
    "vgg13.tv_in1k": 11.31,
    "inception_v3.tv_in1k": 5.73,
    "convnext_tiny.fb_in1k": 4.47,
    "convnext_small.fb_in1k": 8.71,
    "deit_tiny_patch16_224.fb_in1k": 1.26,
    "deit_small_patch16_224.fb_in1k": 4.61,
    "vit_base_patch16_224.augreg2_in21k_ft_in1k": 17.58,
    "beit_base_patch16_224.in22k_ft_in22k_in1k": 17.58,
    "swin_tiny_patch4_window7_224.ms_in1k": 4.51,
    "levit_128s.fb_dist_in1k": 0.3,
    "levit_384.fb_dist_in1k": 2.35,
    "mixer_b16_224.goog_in21k_ft_in1k": 12.62,
    "xcit_small_12_p16_224.fb_in1k": 4.82,
    "pvt_v2_b2.in1k": 4.05,
    "maxvit_nano_rw_256.sw_in1k": 4.46,
    "eva02_small_patch14_224.mim_in22k": 6.14,
    # Where normalisation is a good part of the whole, which fvcore counts and the papers
    # don't: MobileNetV2 (table 4), MobileNetV3 (table 3), EfficientNet (table 2).
    "mobilenetv2_100.ra_in1k": 0.3,
    "mobilenetv3_large_100.ra_in1k": 0.219,
    "efficientnet_b0.ra_in1k": 0.39,
}


def entry(tag):
    (row,) = count_part("any", [tag], Silent())
    return row


@pytest.mark.parametrize("tag", PUBLISHED)
def test_gmacs_are_timms_published_ones(tag):
    assert entry(tag)["macs"] / 1e9 == pytest.approx(PUBLISHED[tag], rel=0.03)


def test_an_entry_is_that_of_the_network_itself():
    network = timm.create_model("resnet18.a1_in1k")
    assert entry("resnet18.a1_in1k") == {
        "tag": "resnet18.a1_in1k",
        "family": "any",
        "kind": "ResNet",
        "params": sum(p.numel() for p in network.parameters()),
        "macs": entry("resnet18.tv_in1k")["macs"],
        "input_size": (3, 224, 224),
        "classes": 1000,
        "licence": "apache-2.0",
        "problem": None,
    }


def test_the_head_and_the_size_are_the_tags_own():
    wide, narrow = entry("resnet18.tv_in1k"), entry("resnet18.fb_swsl_ig1b_ft_in1k")
    assert wide["macs"] == narrow["macs"]
    assert entry("vit_small_patch16_384.augreg_in1k")["input_size"] == (3, 384, 384)
    headless = entry("vit_small_patch14_dinov2.lvd142m")
    assert (headless["classes"], headless["input_size"]) == (0, (3, 518, 518))


def test_what_shares_a_shape_is_counted_once(monkeypatch):
    tags = ["resnet18.a1_in1k", "resnet18.a2_in1k", "resnet18.tv_in1k"]
    built = []
    create = timm.create_model

    def counting(name, **kwargs):
        built.append(name)
        return create(name, **kwargs)

    monkeypatch.setattr(catalogue.timm, "create_model", counting)
    rows = count_part("resnet", tags, Silent())
    assert [r["tag"] for r in rows] == tags
    assert len({r["macs"] for r in rows}) == 1
    # The second and third differ from the first in training alone, if their sizes agree.
    assert len(built) == len({timm.get_pretrained_cfg(t).input_size for t in tags})


def test_a_network_that_cannot_be_built_or_run_is_listed_with_the_reason(monkeypatch):
    class Broken(torch.nn.Linear):
        def forward(self, x):
            raise ValueError("needs real numbers\nand more")

    monkeypatch.setattr(catalogue.timm, "create_model", lambda *a, **k: Broken(3, 5))
    row = entry("resnet18.a1_in1k")
    assert (row["kind"], row["params"], row["macs"]) == ("Broken", 20, None)
    assert row["problem"] == "ValueError: needs real numbers"

    def refuse(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(catalogue.timm, "create_model", refuse)
    row = entry("resnet18.a1_in1k")
    assert (row["kind"], row["params"], row["macs"]) == (None, None, None)
    assert row["problem"] == "RuntimeError: no message"


class Recorder(Silent):
    def __init__(self):
        self.totals = []
        self.done = 0

    def start(self, stage, unit, total):
        self.totals.append(total)

    def advance(self, amount):
        self.done += amount


@pytest.fixture
def few(monkeypatch):
    """timm with two families of pretrained networks."""
    tags = ["levit_128s.fb_dist_in1k", "resnet18.a1_in1k", "resnet18.tv_in1k", *sorted(ZOO)]
    monkeypatch.setattr(catalogue.timm, "list_pretrained", lambda: tags)
    return tags


def test_the_catalogue_is_built_once_and_holds_every_tag(store, few):
    first, again = Recorder(), Recorder()
    networks = build_catalogue(store, first)
    assert sorted(n.tag for n in networks) == sorted(few)
    assert {n.family for n in networks} == {"levit", "resnet", "digits"}
    assert first.done == first.totals[0]
    assert read_catalogue(store) == networks
    assert build_catalogue(store, again) == networks
    assert again.totals == [0]
    assert again.done == 0


def test_a_large_family_is_stored_in_parts(store, few, monkeypatch):
    monkeypatch.setattr(catalogue, "PART", 1)
    networks = build_catalogue(store)
    assert [n.tag for n in networks] == sorted(few)
    for tag in few[1:3]:
        assert [row["tag"] for row in store.get(part_key("resnet", [tag]))] == [tag]


def test_a_killed_build_goes_on_after_the_families_it_finished(store, few, monkeypatch):
    count = catalogue.count_part
    families = []

    def dies_at_the_second(family, tags, progress):
        families.append(family)
        if len(families) == 2:
            raise KeyboardInterrupt
        return count(family, tags, progress)

    monkeypatch.setattr(catalogue, "count_part", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        build_catalogue(store)
    assert read_catalogue(store) is None
    assert store.has(part_key("levit", few[:1]))
    networks = build_catalogue(store)
    assert families.count("levit") == 1
    assert [n.tag for n in networks] == sorted(few)
