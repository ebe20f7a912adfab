import threading

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.models import get_pretrained_cfg

import klas.digits  # noqa: F401 - registers the built-in networks and images
from klas.data import batches, loading, open_images
from klas.digits.scenes import make_scenes
from klas.digits.train import normalised
from klas.errors import DataError
from klas.networks.anchor import Transform
from klas.study import DIGITS

CPU = torch.device("cpu")
PLAIN = Transform(
    input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3, crop=1.0, interpolation="bilinear"
)
CROPPED = Transform(
    input_size=(3, 12, 12),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    crop=0.9,
    interpolation="bicubic",
)


def test_pictures_are_exactly_what_timms_transform_makes_of_them(folder):
    images = open_images(str(folder))
    transform = create_transform(
        input_size=CROPPED.input_size,
        is_training=False,
        interpolation=CROPPED.interpolation,
        mean=CROPPED.mean,
        std=CROPPED.std,
        crop_pct=CROPPED.crop,
    )
    rows = np.array([7, 0, 3, 11, 3])
    ((views, labels),) = batches(images, rows, [CROPPED], device=CPU)
    assert torch.equal(views, torch.stack([transform(images.image(r)) for r in rows]))
    assert views.is_contiguous()
    assert labels.tolist() == images.labels[rows].tolist()


def test_batches_follow_the_rows_and_apply_a_transform_once(folder):
    images = open_images(str(folder))
    views = list(batches(images, np.arange(12), [PLAIN, PLAIN, CROPPED], device=CPU, batch=5))
    assert [len(v[3]) for v in views] == [5, 5, 2]
    assert views[0][0] is views[0][1]
    assert views[0][2].shape == (5, 3, 12, 12)
    assert torch.cat([v[3] for v in views]).tolist() == images.labels.tolist()


@pytest.mark.parametrize("threads", [0, 1, 3, 8])
def test_the_order_is_the_same_whatever_the_threads(folder, monkeypatch, threads):
    images = open_images(str(folder))
    rows = np.random.default_rng(0).permutation(np.arange(12).repeat(4))
    wanted = torch.cat([v[0] for v in batches(images, rows, [PLAIN], device=CPU, batch=48)])
    monkeypatch.setattr(loading, "loader_threads", lambda _: threads)
    got = torch.cat([v[0] for v in batches(images, rows, [PLAIN], device=CPU, batch=7)])
    assert torch.equal(got, wanted)


def test_a_caller_who_stops_early_leaves_no_thread_behind(folder):
    images = open_images(str(folder))
    loader = batches(images, np.arange(12), [PLAIN], device=CPU, batch=2)
    next(loader)
    loader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("klas-loader")]


def test_no_more_is_loaded_ahead_than_allowed():
    begun = []

    def work(item):
        begun.append(item)
        return item

    stream = loading.in_order(work, range(1000), threads=2, ahead=10)
    assert next(stream) == 0
    stream.close()
    assert len(begun) <= 11


def test_greyscale_and_colour_are_converted_to_what_the_anchor_takes():
    images = open_images("klas/digits:val")
    grey = Transform(**(vars(PLAIN) | {"input_size": (1, 16, 16), "mean": (0.5,), "std": (0.5,)}))
    ((one, three, _),) = batches(images, np.arange(2), [grey, PLAIN], device=CPU)
    assert one.shape == (2, 1, 16, 16)
    assert three.shape == (2, 3, 16, 16)
    assert torch.equal(one[:, 0], three[:, 2])


def test_the_digits_come_out_as_the_zoo_was_trained():
    """The general path (PIL, timm's transform) gives the very numbers of the training loop."""
    config = get_pretrained_cfg("digits_vit_tiny")
    zoo = Transform(
        input_size=config.input_size,
        mean=config.mean,
        std=config.std,
        crop=DIGITS.data.crop,
        interpolation=DIGITS.data.interpolation,
    )
    images = open_images(DIGITS.data.val)
    ((views, labels),) = batches(images, np.arange(20), [zoo], device=CPU)
    pixels, wanted = make_scenes("val", 20)
    assert torch.allclose(views, normalised(pixels), atol=1e-6)
    assert labels.tolist() == wanted.tolist()


def test_a_file_that_is_no_image_is_named(folder):
    (folder / "cow" / "3.png").write_bytes(b"moo")
    images = open_images(str(folder))
    with pytest.raises(DataError, match=r"cow/3\.png: is not a readable image") as caught:
        list(batches(images, np.arange(12), [PLAIN], device=CPU))
    assert "\n" not in str(caught.value)


def test_a_picture_in_a_rare_mode_is_converted(folder):
    Image.new("CMYK", (30, 30), (10, 20, 30, 40)).save(folder / "ant" / "9.jpg")
    Image.new("I;16", (30, 30), 300).save(folder / "ant" / "99.png")
    Image.new("P", (30, 30), 3).save(folder / "ant" / "999.png")
    images = open_images(str(folder))
    ((views, _),) = batches(images, np.arange(15), [PLAIN], device=CPU)
    assert bool(torch.isfinite(views).all())
