"""Networks of timm's with a plain head: cut as in classification, loaded from their own files."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate

import klas.digits  # noqa: F401 - registers the built-in networks
from klas.errors import AnchorError
from klas.networks.anchor import freeze
from klas.networks.cost import anchor_cost
from klas.networks.load import load_anchor
from klas.networks.segmenter import Segmenter, bare_network
from klas.study import AnchorSpec

SIZE = (1, 32, 48)
MODELS = ("digits_vit_small", "digits_convnet")


def network(model, classes=4, seed=0):
    torch.manual_seed(seed)
    bare = bare_network(AnchorSpec(name=model, model=model), SIZE)
    return Segmenter(bare, model, classes=classes, input_size=SIZE).eval()


def load(path, model, *, allow_code=False, **options):
    spec = AnchorSpec(
        **({"name": "net", "model": model, "weights": str(path), "image_size": SIZE[1:]} | options)
    )
    return load_anchor(
        spec, crop=1.0, interpolation="bilinear", allow_code=allow_code, task="segmentation"
    )


@pytest.fixture
def saved(tmp_path):
    def save(model, **options):
        path = tmp_path / f"{model}.safetensors"
        save_file(network(model, **options).state_dict(), path)
        return path

    return save


@pytest.mark.parametrize("model", MODELS)
def test_chained_parts_are_the_network_and_the_head_reads_the_last_map(model, saved):
    anchor, whole = load(saved(model), model), network(model)
    images = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = anchor(images)
        assert torch.equal(logits, whole(images))
        assert logits.shape == (3, 4, *SIZE[1:])
        for cut, activation in enumerate(anchor.cut_activations(images)):
            assert torch.equal(anchor.resume(activation, cut), logits)
        last = anchor.info.layouts[-1]
        tokens = activation if last.form == "NLC" else activation.flatten(2).mT
        cells = whole.head.classes(whole.head.norm(tokens[:, last.prefix :]))
        maps = cells.mT.unflatten(2, last.grid)
        wanted = interpolate(maps, size=SIZE[1:], mode="bilinear", align_corners=False)
    assert torch.allclose(logits, wanted, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_cuts_are_those_of_the_network_for_classification(model, saved):
    info = load(saved(model), model).info
    spec = AnchorSpec(name="net", model=model, image_size=SIZE[1:])
    usual = load_anchor(spec, crop=1.0, interpolation="bilinear").info
    assert (info.cuts, info.layouts) == (usual.cuts, usual.layouts)
    assert (info.classes, info.plain_head) == (4, 4)
    assert info.transform.whole
    assert not usual.transform.whole


def test_the_cost_of_the_head_is_that_of_a_1x1_convolution(saved):
    anchor = freeze(load(saved("digits_convnet"), "digits_convnet"), torch.device("cpu"))
    last = anchor.info.layouts[-1]
    assert anchor_cost(anchor).macs[-1] == last.positions * last.channels * 4


def test_a_network_without_a_head_for_pixels_has_none():
    spec = AnchorSpec(name="net", model="digits_vit_small", image_size=(32, 48))
    anchor = load_anchor(spec, crop=1.0, interpolation="bilinear", task="segmentation")
    assert anchor.info.classes == 0
    assert anchor.info.transform.whole


def test_weights_that_do_not_fit_are_refused_in_a_sentence(saved, tmp_path):
    path = saved("digits_vit_small")
    with pytest.raises(AnchorError, match=r"net: the weights of .* do not fit digits_vit_tiny at"):
        load(path, "digits_vit_tiny")
    with pytest.raises(AnchorError, match=r"'backbone.pos_embed' is \(1, 97, 12\) there and"):
        load(path, "digits_vit_small", image_size=(32, 32))
    state = network("digits_vit_small").state_dict()
    del state["backbone.blocks.0.attn.qkv.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(AnchorError, match=r"they lack 'backbone.blocks.0.attn.qkv.weight'"):
        load(tmp_path / "less.safetensors", "digits_vit_small")
    state["backbone.blocks.0.attn.qkv.weight"] = torch.full((36, 12), torch.nan)
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(AnchorError, match="the weights hold NaN"):
        load(tmp_path / "nan.safetensors", "digits_vit_small")


def test_a_function_and_a_fused_form_are_refused(saved):
    with pytest.raises(AnchorError, match="cannot be fused here"):
        load(saved("digits_convnet"), "digits_convnet", fused=True)
    with pytest.raises(AnchorError, match="cannot be made by a function here"):
        load(saved("digits_convnet"), "somewhere:network", allow_code=True)
