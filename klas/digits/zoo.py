"""The digits zoo: three small vision transformers and a convolutional network.

Importing this module registers them with timm, like any other network:
``timm.create_model("digits_vit_base", pretrained=True)`` then loads the shipped weights.
"""

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from klas.digits.scenes import CLASSES, SIZE

WEIGHTS = Path(__file__).parent / "weights"

# Width and depth both differ, so no pair is block-for-block alike.
SHAPES: dict[str, dict[str, int]] = {
    "digits_vit_tiny": {"embed_dim": 8, "depth": 3, "num_heads": 1},
    "digits_vit_small": {"embed_dim": 12, "depth": 5, "num_heads": 1},
    "digits_vit_base": {"embed_dim": 64, "depth": 8, "num_heads": 4},
}
# Residual blocks of two 3×3 convolutions with BatchNorm. Strides and widths are chosen so that it
# lies between the transformers in cost and in accuracy: the narrow first stage, on 4×4 positions,
# limits it, and most of its work is done on the 2×2 positions of the second.
CONVNET = ByoModelCfg(
    stem_type="3x3",
    stem_pool="maxpool",
    stem_chs=8,
    blocks=(
        ByoBlockCfg(type="basic", d=1, c=8, s=1),
        ByoBlockCfg(type="basic", d=3, c=64, s=2),
    ),
)

ZOO = ("digits_vit_tiny", "digits_vit_small", "digits_convnet", "digits_vit_base")
"""All of them, by cost."""


def _config(name: str, first_conv: str, classifier: str) -> dict[str, Any]:
    return {
        "file": str(WEIGHTS / f"{name}.safetensors"),
        "num_classes": CLASSES,
        "input_size": (1, SIZE, SIZE),
        "mean": (0.5,),
        "std": (0.25,),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": first_conv,
        "classifier": classifier,
    }


default_cfgs = generate_default_cfgs(
    {
        name: _config(name, "patch_embed.proj", "head") | {"fixed_input_size": True}
        for name in SHAPES
    }
    | {"digits_convnet": _config("digits_convnet", "stem.conv1.conv", "head.fc")}
)


def _create(name: str, pretrained: bool, **kwargs: Any) -> VisionTransformer:
    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,  # fits position embeddings to other sizes
        **({"img_size": SIZE, "patch_size": 4, "in_chans": 1} | SHAPES[name] | kwargs),
    )
    return model


@register_model
def digits_vit_tiny(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 8, depth 3: cheap, and wrong about one time in four."""
    return _create("digits_vit_tiny", pretrained, **kwargs)


@register_model
def digits_vit_small(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 12, depth 5."""
    return _create("digits_vit_small", pretrained, **kwargs)


@register_model
def digits_vit_base(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 64, depth 8: costly and good."""
    return _create("digits_vit_base", pretrained, **kwargs)


@register_model
def digits_convnet(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Four residual blocks with BatchNorm: between the small and the base transformer."""
    model: ByobNet = build_model_with_cfg(
        ByobNet, "digits_convnet", pretrained, model_cfg=CONVNET, **kwargs
    )
    return model
