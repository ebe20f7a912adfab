"""The digits zoo: three small vision transformers, registered with timm like any other network.

Importing this module is what registers them. After that nothing in KLAS knows that they are
special: ``timm.create_model("digits_vit_base", pretrained=True)`` loads the shipped weights.
"""

from pathlib import Path
from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

from klas.digits.scenes import CLASSES, SIZE

WEIGHTS = Path(__file__).parent / "weights"

# Width and depth both differ, so no pair is block-for-block alike.
SHAPES: dict[str, dict[str, int]] = {
    "digits_vit_tiny": {"embed_dim": 8, "depth": 3, "num_heads": 1},
    "digits_vit_small": {"embed_dim": 12, "depth": 5, "num_heads": 1},
    "digits_vit_base": {"embed_dim": 64, "depth": 8, "num_heads": 4},
}
ZOO = tuple(SHAPES)

default_cfgs = generate_default_cfgs(
    {
        name: {
            "file": str(WEIGHTS / f"{name}.safetensors"),
            "num_classes": CLASSES,
            "input_size": (1, SIZE, SIZE),
            "mean": (0.5,),
            "std": (0.25,),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
        for name in ZOO
    }
)


def _create(name: str, pretrained: bool, **kwargs: Any) -> VisionTransformer:
    from timm.models import build_model_with_cfg

    model: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        name,
        pretrained,
        img_size=SIZE,
        patch_size=4,
        in_chans=1,
        **(SHAPES[name] | kwargs),
    )
    return model


@register_model
def digits_vit_tiny(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 8, depth 3: cheap, and wrong about every fourth time."""
    return _create("digits_vit_tiny", pretrained, **kwargs)


@register_model
def digits_vit_small(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 12, depth 5."""
    return _create("digits_vit_small", pretrained, **kwargs)


@register_model
def digits_vit_base(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Width 64, depth 8: costly and good."""
    return _create("digits_vit_base", pretrained, **kwargs)
