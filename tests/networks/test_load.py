import os

import pytest
import timm
import torch
from safetensors.torch import save_file

from klas.errors import AnchorError
from klas.networks.anchor import tensors_digest
from klas.networks.cost import anchor_cost
from klas.networks.load import load_anchor
from klas.study import AnchorSpec
from tests.networks.loading import TINY


def load(weights=None, model=TINY):
    spec = AnchorSpec(name="mine", model=model, weights=str(weights) if weights else None)
    return load_anchor(spec, crop=0.9, interpolation="bicubic")


def test_a_tag_and_a_file_with_the_same_tensors_are_the_same_anchor(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model(TINY, pretrained=True).state_dict(), file)
    from_tag, from_file = load(), load(file)
    assert from_tag.info.digest == from_file.info.digest
    assert from_tag.info.weights["tag"] == TINY
    assert from_file.info.weights["file"] == str(file)


def test_a_torch_checkpoint_loads_too(tmp_path):
    file = tmp_path / "w.pth"
    torch.save(timm.create_model(TINY, pretrained=True).state_dict(), file)
    assert load(file).info.digest == load().info.digest


def test_the_studys_geometry_and_the_anchors_own_statistics():
    transform = load().info.transform
    assert transform.crop == 0.9
    assert transform.interpolation == "bicubic"
    assert transform.input_size == (1, 16, 16)
    assert transform.mean == (0.5,)


def test_the_digest_sees_one_changed_value():
    model = timm.create_model(TINY, pretrained=True)
    before = tensors_digest(model)
    with torch.no_grad():
        model.head.bias[3] += 1e-6
    assert tensors_digest(model) != before


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(AnchorError, match=r"no model 'digits_vit_tinny'.*digits_vit_tiny"):
        load(model="digits_vit_tinny")


def test_absent_weights(tmp_path):
    with pytest.raises(AnchorError, match="does not exist"):
        load(tmp_path / "none.safetensors")


def test_weights_of_another_network_do_not_fit(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model("digits_vit_small").state_dict(), file)
    with pytest.raises(AnchorError, match="do not fit digits_vit_tiny") as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_nan_in_weights_names_the_tensor(tmp_path):
    state = timm.create_model(TINY, pretrained=True).state_dict()
    state["blocks.1.mlp.fc1.bias"][0] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(AnchorError, match=r"NaN.*blocks\.1\.mlp\.fc1\.bias"):
        load(tmp_path / "w.safetensors")


def test_a_cut_off_file(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model(TINY).state_dict(), file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(AnchorError, match="cannot be loaded"):
        load(file)


def test_a_pickle_with_code_is_never_run(tmp_path):
    flag = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(flag),))

    file = tmp_path / "w.pth"
    torch.save({"head.bias": Bomb()}, file)
    with pytest.raises(AnchorError, match="was not run"):
        load(file)
    assert not flag.exists()


@pytest.mark.parametrize(
    ("model", "size", "grid"),
    [
        ("digits_vit_tiny", 24, (6, 6)),
        ("digits_vit_tiny", (16, 24), (4, 6)),
        ("digits_convnet", 24, (6, 6)),
        ("digits_convnet", (24, 16), (6, 4)),
    ],
)
def test_an_anchor_takes_images_of_the_studys_size(model, size, grid):
    spec = AnchorSpec(name="mine", model=model, image_size=size)
    anchor = load_anchor(spec, crop=0.9, interpolation="bicubic")
    height, width = spec.image_size
    assert anchor.info.transform.input_size == (1, height, width)
    assert anchor.info.layouts[0].grid == grid
    images = torch.randn(2, 1, height, width)
    reference = timm.create_model(model, pretrained=True).eval()
    if model != "digits_convnet":
        reference.set_input_size(img_size=(height, width))  # timm's own resampling
    with torch.no_grad():
        torch.testing.assert_close(anchor(images), reference(images))


def test_a_size_that_is_the_networks_own_changes_nothing():
    plain, sized = (
        load(),
        load_anchor(
            AnchorSpec(name="mine", model=TINY, image_size=16), crop=0.9, interpolation="bicubic"
        ),
    )
    assert sized.info.transform == plain.info.transform
    assert sized.info.digest == plain.info.digest


@pytest.mark.parametrize(
    ("model", "side", "why"),
    [
        ("gmlp_s16_224", 160, "do not fit gmlp_s16_224 at 160 × 160 pixels: 'blocks"),
        ("halonet26t", 72, "halonet26t does not take images of 72 × 72 pixels"),
    ],
)
def test_a_network_that_cannot_take_the_size_is_refused(tmp_path, model, side, why):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model(model).state_dict(), file)
    spec = AnchorSpec(name="mine", model=model, weights=str(file), image_size=side)
    with pytest.raises(AnchorError, match=f"mine: .*{why}") as caught:
        load_anchor(spec, crop=0.9, interpolation="bicubic")
    assert "\n" not in str(caught.value)


def test_a_fused_anchor_is_known_by_the_weights_that_were_fused(tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(timm.create_model("repvgg_a0", num_classes=4).state_dict(), file)
    given = {"name": "mine", "model": "repvgg_a0", "weights": str(file), "image_size": 64}
    trained, fused = (
        load_anchor(AnchorSpec(**given, fused=fused), crop=0.9, interpolation="bicubic")
        for fused in (False, True)
    )
    assert fused.info.fused
    assert fused.info.digest == trained.info.digest
    assert anchor_cost(fused).total == anchor_cost(trained).deployed.total
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(fused(images), trained(images))
        torch.testing.assert_close(fused(images), trained(images), rtol=1e-3, atol=1e-4)
