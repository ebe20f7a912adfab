"""Images with label maps: read as they are, in the images' geometry, and refused in a sentence."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import klas.digits  # noqa: F401 - registers the built-in images
from klas.data import batches, find_unreadable, open_label_maps
from klas.data.label_maps import VOID, LabelMaps
from klas.errors import DataError
from klas.networks.anchor import Transform
from tests.data.label_folders import CLASSES, scene, write

CPU = torch.device("cpu")
SEEN = Transform(
    input_size=(1, 8, 8), mean=(0.0,), std=(1.0,), crop=1.0, interpolation="bilinear", whole=True
)


@pytest.fixture
def town(tmp_path):
    return write(tmp_path / "train")


def opened(root, names, void=255):
    return open_label_maps(str(root), classes=str(names), void=void)


def test_maps_are_the_stored_numbers(town):
    images = opened(*town)
    assert isinstance(images, LabelMaps)
    assert images.class_names == CLASSES
    assert len(images.labels) == 8
    for k in range(8):
        row = next(r for r in range(8) if images.where(r) == f"images/town/{k}.jpg")
        assert (np.asarray(images.label_map(row)) == scene(k)[1]).all()


def test_a_paletted_map_counts_by_its_numbers_not_its_colours(town):
    root, names = town
    path = root / "labels" / "town" / "0.png"
    with Image.open(path) as grey:
        numbers = np.array(grey)
    paletted = Image.fromarray(numbers, mode="P")
    paletted.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200] + [0] * 759)
    paletted.save(path)
    with Image.open(path) as stored:
        assert stored.mode == "P"
    images = opened(root, names)
    row = next(r for r in range(8) if images.where(r).endswith("/0.jpg"))
    assert (np.asarray(images.label_map(row)) == numbers).all()


def test_the_void_number_is_the_studys(town):
    root, names = town
    for path in (root / "labels" / "town").iterdir():
        with Image.open(path) as stored:
            numbers = np.array(stored)
        numbers[numbers == 255] = 7
        Image.fromarray(numbers).save(path)
    images = opened(root, names, void=7)
    assert all((np.asarray(images.label_map(r)) == VOID).sum() == 1 for r in range(8))
    with pytest.raises(DataError, match=r"void = 1 is the class 'left'"):
        opened(root, names, void=1)


def test_targets_have_the_images_geometry_and_no_mixed_numbers(town):
    images = opened(*town)
    rows = np.array([3, 0, 5])
    ((views, targets),) = batches(images, rows, [SEEN], device=CPU)
    assert views.shape == (3, 1, 8, 8)
    assert targets.shape == (3, 8, 8)
    assert targets.dtype == torch.uint8
    for row, target in zip(rows, targets):
        whole = images.label_map(row).resize((8, 8), Image.Resampling.NEAREST)
        assert (target.numpy() == np.asarray(whole)).all()


def test_the_middle_is_that_of_the_images(town):
    """With a crop, a map and an image of the same content still agree pixel by pixel."""
    images = opened(*town)

    class Mapped:
        """The maps themselves as images."""

        stored, labels, class_names = False, images.labels, images.class_names
        fingerprint, passed_over = "", {}
        image = label_map = staticmethod(images.label_map)
        where = staticmethod(images.where)

    cropped = Transform(**{**SEEN.__dict__, "crop": 0.7, "interpolation": "nearest"})
    ((views, targets),) = batches(Mapped(), np.arange(8), [cropped], device=CPU)
    assert ((views[:, 0] * 255).round() == targets).all()


def test_the_fingerprint_is_of_images_maps_names_and_void(town, tmp_path):
    root, names = town
    before = opened(root, names).fingerprint
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy)
    assert opened(copy, names).fingerprint == before
    assert opened(root, names, void=9).fingerprint != before
    names.write_text("a\nb\nc\n")
    assert opened(root, names).fingerprint != before
    names.write_text("\n".join(CLASSES))
    Image.fromarray(scene(99)[1]).save(root / "labels" / "town" / "1.png")
    assert opened(root, names).fingerprint != before


def _no_map(root):
    (root / "labels" / "town" / "2.png").unlink()


def _no_image(root):
    (root / "images" / "town" / "2.jpg").unlink()


def _no_labels(root):
    shutil.rmtree(root / "labels")


def _twice(root):
    shutil.copy(root / "images" / "town" / "2.jpg", root / "images" / "town" / "2.jpeg")


def _no_images(root):
    shutil.rmtree(root / "images" / "town")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_no_map, r"1 of 8 images have no label map \(images/town/2.jpg\); put a map"),
        (_no_image, r"1 label maps belong to no image \(labels/town/2.png\)"),
        (_no_labels, r"holds no folder 'labels'"),
        (_twice, r"images/town/2.jpeg, images/town/2.jpg have the same name"),
        (_no_images, r"the folder 'images' holds no images"),
    ],
)
def test_what_does_not_belong_together_is_refused(town, spoil, match):
    root, names = town
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        opened(root, names)
    assert str(caught.value).startswith(str(root))


def _other_size(path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def _beyond(path):
    Image.fromarray(np.full((16, 24), 3, np.uint8)).save(path)


def _coloured(path):
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_other_size, r"is a map of 8×8 pixels, but its image has 24×16"),
        (_beyond, r"has a pixel of class 3, but the classes are 0 to 2"),
        (_coloured, r"is a picture of mode RGB, not of class numbers"),
    ],
)
def test_a_map_that_is_none_of_its_image_is_refused_before_any_network_runs(town, spoil, match):
    root, names = town
    spoil(root / "labels" / "town" / "3.png")
    with pytest.raises(DataError, match=match):
        find_unreadable(str(root), opened(root, names), 8, seed=0)


def test_a_map_that_is_cut_off_is_left_out_like_a_damaged_image(town):
    root, names = town
    path = root / "labels" / "town" / "4.png"
    path.write_bytes(path.read_bytes()[:60])
    (bad,) = find_unreadable(str(root), opened(root, names), 8, seed=0)
    assert bad.where == "images/town/4.jpg"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, r"cannot be read"),
        ("one\n", r"names 1 classes; there can be 2 to 255"),
        ("a\n\nb\n", r"line 2 is empty"),
        ("a\nb\na\n", r"names a twice"),
    ],
)
def test_a_file_of_classes_that_is_no_list_is_refused(town, text, match):
    root, names = town
    names.unlink() if text is None else names.write_text(text)
    with pytest.raises(DataError, match=match):
        opened(root, names)


def test_classes_that_nobody_names_are_asked_for(town):
    with pytest.raises(DataError, match=r"set \[data\] classes"):
        open_label_maps(str(town[0]), classes=None, void=255)


def test_images_of_one_class_are_no_label_maps():
    with pytest.raises(DataError, match="has a class for every image, not for every pixel"):
        open_label_maps("klas/digits:val", classes=None, void=255)
