import random

import numpy as np
import pytest
import torch
from PIL import Image

from klas.data.loading import prepared
from klas.deploy.training.augmentation import Augmentation
from klas.errors import StudyError
from klas.networks.anchor import Transform
from tests.deploy.training.trainings import PLAIN


def transform(channels, height, width, interpolation="bilinear"):
    return Transform(
        input_size=(channels, height, width),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        crop=1.0,
        interpolation=interpolation,
    )


VIEWS = {"large": transform(3, 96, 96), "small": transform(1, 40, 40), "wide": transform(3, 48, 80)}
ALL = list(VIEWS)


def augmentation(views=VIEWS, **recipe):
    return Augmentation(views, PLAIN.model_copy(update=recipe))


def marked(at=(70, 150), size=(120, 200)):
    """A black picture with a bright spot."""
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[at[0] - 12 : at[0] + 12, at[1] - 12 : at[1] + 12] = 255
    return Image.fromarray(pixels)


def place(view):
    """The spot's centre as shares of height and width; None where it was cropped away."""
    mass = view.float().mean(0)
    if mass.sum() < 255 * 4:
        return None
    return [
        float((mass.sum(1 - axis) * (torch.arange(side) + 0.5)).sum() / mass.sum() / side)
        for axis, side in enumerate(mass.shape)
    ]


def test_every_view_shows_a_marker_at_the_same_relative_place():
    augment = augmentation(scale=(0.2, 1.0), ratio=(0.7, 1.4), hflip=0.5)
    seen = []
    for row in range(40):
        views = augment(marked(), 3, row, ALL)
        places = [place(view) for view in views.values()]
        if None in places:
            continue
        seen.append(places[0])
        assert np.ptp(places, axis=0).max() < 1.5 / 40  # a pixel of the smallest view
    assert len(seen) > 20
    assert np.ptp(seen, axis=0).min() > 0.3  # and it is elsewhere every time


def test_views_agree_in_what_randaugment_does():
    """Turned, shifted, inverted or solarised: one view says what the other looks like."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((192, 192), Image.Resampling.BICUBIC)
    views = {"large": transform(3, 96, 96), "small": transform(3, 48, 48)}
    augment = augmentation(views, aa="rand-m9-mstd0.5-inc1", scale=(0.5, 1.0), hflip=0.5)
    alike, apart = [], []
    before = None
    for row in range(30):
        seen = augment(picture, 0, row, list(views))
        small = seen["small"].float()
        large = torch.nn.functional.avg_pool2d(seen["large"].float(), 2)
        alike.append((small - large).abs().mean().item())
        if before is not None:
            apart.append((small - before).abs().mean().item())
        before = small
    assert np.median(alike) < 4
    assert max(alike) < min(np.median(apart), 25)


def test_one_rectangle_is_erased_in_all_views():
    augment = augmentation(reprob=1.0)
    black = Image.new("RGB", (96, 96))
    for row in range(25):
        places = []
        for view in augment(black, 0, row, ALL).values():
            noise = view.amax(0) > 0
            assert noise.any()
            rows, columns = torch.nonzero(noise.any(1)), torch.nonzero(noise.any(0))
            height, width = noise.shape
            places.append(
                [
                    rows[0].item() / height,
                    (rows[-1].item() + 1) / height,
                    columns[0].item() / width,
                    (columns[-1].item() + 1) / width,
                ]
            )
        assert np.ptp(places, axis=0).max() < 3.5 / 40  # thin noise may begin a pixel later


def test_erasing_is_timms_noise_in_units_of_the_normalised_image():
    views = {"one": transform(3, 200, 200)}
    grey = Image.new("RGB", (200, 200), (127, 127, 127))
    for row in range(200):
        view = augmentation(views, reprob=0.5)(grey, 0, row, ["one"])["one"].float()
        erased = view != 127
        if erased.sum() > 9000:
            noise = (view[erased] / 255 - 0.5) / 0.25
            assert abs(noise.mean()) < 0.1
            assert noise.std() == pytest.approx(0.96, abs=0.05)  # cut at two deviations
            break
    else:
        raise AssertionError("nothing was erased")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_so_many_images_are_erased(share):
    augment = augmentation(reprob=share)
    black = Image.new("RGB", (48, 48))
    erased = sum(bool(augment(black, 0, row, ["small"])["small"].any()) for row in range(200))
    assert erased / 200 == pytest.approx(share, abs=0.1)


def test_an_image_is_a_function_of_seed_step_and_row():
    rich = {
        "aa": "rand-m9-mstd0.5-inc1",
        "scale": (0.2, 1.0),
        "hflip": 0.5,
        "reprob": 0.5,
    }
    augment, picture = augmentation(**rich), marked()
    first = augment(picture, 5, 7, ALL)
    random.random(), np.random.rand(), torch.rand(1)
    augment(picture, 1, 2, ["small"])
    again = augmentation(**rich)(picture, 5, 7, ["wide", "large"])
    assert all(torch.equal(again[name], first[name]) for name in again)
    for seed, step, row in ((1, 5, 7), (0, 6, 7), (0, 5, 8)):
        other = augmentation(**rich, seed=seed)(picture, step, row, ALL)
        assert any(not torch.equal(other[name], first[name]) for name in ALL)


def test_the_states_that_others_draw_from_stay_as_they_are():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    augmentation(reprob=1.0, aa="rand-m9", color_jitter=0.4)(marked(), 0, 0, ALL)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_without_augmentation_it_is_the_image_that_is_measured():
    square = marked(at=(60, 60), size=(120, 120))
    for name, view in augmentation()(square, 0, 0, ALL).items():
        if name != "wide":  # of another shape: measured by its middle, trained on as a whole
            pixels = view.float().div(255).sub(0.5).div(0.25)
            assert torch.equal(pixels, prepared(square, VIEWS[name]))


@pytest.mark.parametrize("aa", ["sideways", "rand-q7", "rand-m9-nx1"])
def test_what_timm_does_not_know_is_refused(aa):
    with pytest.raises(StudyError, match=rf"aa = '{aa}': timm doesn't know it"):
        augmentation(aa=aa)


@pytest.mark.parametrize("aa", ["rand-m9-mstd0.5-inc1", "rand-m9-t3a", "original", "3a", "v0"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_augmentation_takes_every_interpolation_and_grey_images(aa, interpolation):
    views = {name: transform(n, 16, 16, interpolation) for name, n in (("grey", 1), ("rgb", 3))}
    augment = augmentation(views, aa=aa, color_jitter=0.4)
    for row in range(12):
        seen = augment(marked(), 0, row, ["grey", "rgb"])
        assert [view.shape for view in seen.values()] == [(1, 16, 16), (3, 16, 16)]
