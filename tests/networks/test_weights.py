import pytest
import torch
from safetensors.torch import save_file
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

from klas.errors import AnchorError
from klas.networks.load import check_model_name
from klas.networks.weights import load_model
from tests.networks.loading import TAG, assert_loaded, refusal, spec, state_of


def test_the_model_does_not_keep_the_file_a_second_time(tmp_path):
    save_file(state_of(), tmp_path / "w.safetensors")
    model, _ = load_model(spec(tmp_path / "w.safetensors"))
    assert "state_dict" not in model.pretrained_cfg


def test_a_file_trained_on_own_classes_keeps_its_head(tmp_path):
    right = state_of(num_classes=7)
    save_file(right, tmp_path / "w.safetensors")
    model, _ = load_model(spec(tmp_path / "w.safetensors"))
    assert model.num_classes == 7
    assert_loaded(model, right)


def test_batchnorm_without_its_counter_is_an_old_file_not_a_broken_one(tmp_path):
    right = state_of("test_resnet")
    old = {k: v for k, v in right.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")
    model, _ = load_model(spec(tmp_path / "w.pth", "test_resnet"))
    assert_loaded(model, right)


def test_missing_and_unexpected_tensors_are_named_and_counted(tmp_path):
    state = state_of()
    file = tmp_path / "w.safetensors"
    save_file({k: v for k, v in state.items() if not k.startswith("blocks.1.")}, file)
    message = refusal(file)
    assert "do not fit digits_vit_tiny" in message
    assert "it lacks 'blocks.1.norm1.weight', 'blocks.1.norm1.bias'" in message
    assert f"({sum(k.startswith('blocks.1.') for k in state)} in all)" in message
    save_file(state | {"ema.decay": torch.ones(1)}, file)
    assert "no place for its 'ema.decay'" in refusal(file)
    save_file({k: v for k, v in state.items() if not k.startswith("head.")}, file)
    assert "it lacks 'head.weight', 'head.bias'" in refusal(file)


def test_a_tensor_of_another_shape_is_named_with_both(tmp_path):
    state = state_of() | {"blocks.0.norm1.weight": torch.ones(5)}
    save_file(state, tmp_path / "w.safetensors")
    assert "'blocks.0.norm1.weight' is (5) there and (8) in the model" in refusal(
        tmp_path / "w.safetensors"
    )


# Networks of which timm asks more than of the digits: a filter that renames, a lenient load,
# no head.

SHAPE = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1}
CONFIG = {"input_size": (3, 16, 16), "classifier": "head", "num_classes": 10}
default_cfgs = generate_default_cfgs(
    {
        "klas_test_renaming": CONFIG,
        "klas_test_lenient": CONFIG,
        "klas_test_headless": CONFIG | {"num_classes": 0},
    }
)


@register_model
def klas_test_renaming(pretrained=False, **kwargs):
    def rename(state, model):
        return {k.replace("classify.", "head."): v for k, v in state.items()}

    return build_model_with_cfg(
        VisionTransformer,
        "klas_test_renaming",
        pretrained,
        pretrained_filter_fn=rename,
        **(SHAPE | kwargs),
    )


@register_model
def klas_test_lenient(pretrained=False, **kwargs):
    return build_model_with_cfg(
        VisionTransformer,
        "klas_test_lenient",
        pretrained,
        pretrained_strict=False,
        **(SHAPE | kwargs),
    )


@register_model
def klas_test_headless(pretrained=False, **kwargs):
    return build_model_with_cfg(
        VisionTransformer, "klas_test_headless", pretrained, **(SHAPE | kwargs)
    )


@pytest.mark.parametrize("classes", [10, 7])
def test_timms_filter_applies_and_own_classes_survive_it(tmp_path, classes):
    right = state_of("klas_test_renaming", num_classes=classes)
    save_file(
        {k.replace("head.", "classify."): v for k, v in right.items()}, tmp_path / "w.safetensors"
    )
    model, _ = load_model(spec(tmp_path / "w.safetensors", "klas_test_renaming"))
    assert_loaded(model, right)


def test_a_lenient_model_is_not_left_with_random_tensors(tmp_path):
    right = state_of("klas_test_lenient")
    file = tmp_path / "w.safetensors"
    save_file(right, file)
    assert_loaded(load_model(spec(file, "klas_test_lenient"))[0], right)
    save_file({k: v for k, v in right.items() if k != "norm.weight"}, file)
    assert "it lacks 'norm.weight'" in refusal(file, "klas_test_lenient")


def test_a_head_that_the_model_has_not_by_default(tmp_path):
    right = state_of("klas_test_headless", num_classes=7)
    save_file(right, tmp_path / "w.safetensors")
    model, _ = load_model(spec(tmp_path / "w.safetensors", "klas_test_headless"))
    assert_loaded(model, right)


def test_a_model_without_weights_and_a_tag_that_is_none():
    assert "timm has no weights for klas_test_renaming" in refusal(None, "klas_test_renaming")
    with pytest.raises(AnchorError, match=r"no tag 'a2_in1k' of test_vit; there are r160_in1k"):
        check_model_name(spec(model="test_vit.a2_in1k"))
    check_model_name(spec(model=TAG))
