import pytest
from torch import nn

from klas.networks.splitting.grids import layout_of


def read(shape, size, maps=(), **attributes):
    model = nn.Module()
    for name, value in attributes.items():
        setattr(model, name, value)
    layout = layout_of(shape, model, (3, *size), maps)
    return layout and (layout.prefix, layout.grid)


@pytest.mark.parametrize(
    ("tokens", "size", "wanted"),
    [
        (197, (224, 224), (1, (14, 14))),  # torchvision's and Hugging Face's ViT
        (196, (224, 224), (0, (14, 14))),
        (198, (224, 224), (2, (14, 14))),  # DeiT's class and distillation tokens
        (261, (224, 224), (5, (16, 16))),  # DINOv2's class token and four registers
        (1370, (518, 518), (1, (37, 37))),
        (1 + 8 * 12, (128, 192), (1, (8, 12))),
        (5 + 24 * 16, (384, 256), (5, (24, 16))),
        (4 * 6, (32, 48), (0, (4, 6))),
    ],
)
def test_prefix_tokens_are_told_from_the_size_of_the_image(tokens, size, wanted):
    assert read((tokens, 96), size) == wanted


def test_what_the_network_says_of_its_prefix_tokens_comes_first():
    assert read((81, 96), (64, 64)) == (0, (9, 9))
    assert read((81, 96), (64, 64), num_prefix_tokens=17) == (17, (8, 8))


def test_a_grid_that_does_not_divide_the_image_is_one_if_the_network_makes_such_maps():
    assert read((1 + 27 * 27, 64), (224, 224)) is None
    assert read((1 + 27 * 27, 64), (224, 224), maps={(27, 27)}) == (1, (27, 27))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((96,), (32, 32)), ((2, 96), (32, 32)), ((83, 96), (64, 128)), ((96, 5, 16), (32, 32))],
)
def test_other_shapes_are_no_form_of_an_image(shape, size):
    assert read(shape, size) is None
