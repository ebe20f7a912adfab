"""The zoo of the built-in study for segmentation: a transformer and two convolutional networks.

Importing this module registers them with timm. They have no classifier; the shipped weights are
those of a :class:`klas.networks.segmenter.Segmenter`, the network with a plain head.
"""

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.vision_transformer import VisionTransformer

from klas.digits.label_scenes import SIZE

WEIGHTS = Path(__file__).parent / "weights"

# The transformer's patches are too large for the strokes of a digit: its grid limits it.
SEGMENTER_VIT = {"patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2}


def _convnet(width: int, depth: int) -> ByoModelCfg:
    """Residual blocks of two 3×3 convolutions with BatchNorm, on a grid of 12 × 12."""
    return ByoModelCfg(
        stem_type="3x3",
        stem_pool="",
        stem_chs=width,
        blocks=(
            ByoBlockCfg(type="basic", d=1, c=width, s=1),
            ByoBlockCfg(type="basic", d=depth - 1, c=width, s=1),
        ),
    )


SEGMENTER_CONVNETS = {
    "digits_seg_convnet_small": _convnet(width=12, depth=3),
    "digits_seg_convnet": _convnet(width=32, depth=5),
}

SEGMENTERS = ("digits_seg_vit_tiny", "digits_seg_convnet_small", "digits_seg_convnet")
"""All of them, by cost."""


def _config(name: str, first_conv: str) -> dict[str, Any]:
    return {
        "file": str(WEIGHTS / f"{name}.safetensors"),
        "num_classes": 0,
        "input_size": (1, SIZE, SIZE),
        "mean": (0.5,),
        "std": (0.25,),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": first_conv,
        "classifier": None,
    }


default_cfgs = generate_default_cfgs(
    {
        "digits_seg_vit_tiny": _config("digits_seg_vit_tiny", "patch_embed.proj")
        | {"fixed_input_size": True}
    }
    | {name: _config(name, "stem.conv") for name in SEGMENTER_CONVNETS}
)


def _without_head(state: dict[str, Any], _: Any) -> dict[str, Any]:
    """Of a segmenter's weights those of the network alone."""
    start = "backbone."
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


def _create_convnet(name: str, pretrained: bool, **kwargs: Any) -> ByobNet:
    model: ByobNet = build_model_with_cfg(
        ByobNet,
        name,
        pretrained,
        model_cfg=SEGMENTER_CONVNETS[name],
        pretrained_filter_fn=_without_head,
        **({"in_chans": 1} | kwargs),
    )
    return model


@register_model
def digits_seg_vit_tiny(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 24, depth 3, 6 × 6 patches: cheap, and coarse."""
    own = {"img_size": SIZE, "in_chans": 1, "class_token": False, "global_pool": "avg"}
    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        "digits_seg_vit_tiny",
        pretrained,
        pretrained_filter_fn=_without_head,
        **(own | SEGMENTER_VIT | kwargs),
    )
    return model


@register_model
def digits_seg_convnet_small(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Width 12, three residual blocks."""
    return _create_convnet("digits_seg_convnet_small", pretrained, **kwargs)


@register_model
def digits_seg_convnet(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Width 32, five residual blocks: costly and good."""
    return _create_convnet("digits_seg_convnet", pretrained, **kwargs)
