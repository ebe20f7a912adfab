import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from klas.data import balanced_order, batches, open_images, subset
from klas.errors import DataError
from klas.networks.anchor import Transform

PLAIN = Transform(
    input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3, crop=1.0, interpolation="bilinear"
)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("ant", 5), ("bee", 3), ("cow", 4)):
        (tmp_path / name).mkdir()
        for k in range(count):
            pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    return tmp_path


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 99))
def test_every_prefix_is_as_balanced_as_the_classes_allow(labels, seed):
    labels = np.array(labels)
    order = balanced_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    totals = np.bincount(labels, minlength=5)
    for n in range(len(labels) + 1):
        counts = np.bincount(labels[order[:n]], minlength=5)
        unfinished = counts[counts < totals]
        assert not unfinished.size or counts.max() - unfinished.min() <= 1


def test_a_subset_is_seeded_and_never_in_the_folders_order():
    images = open_images("klas/digits:val")
    first, again, other = (subset(images, 100, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (np.diff(first) < 0).any()
    assert np.bincount(images.labels[first]).tolist() == [10] * 10


def test_a_folder_gives_its_images_and_classes(folder):
    images = open_images(str(folder))
    assert images.class_names == ("ant", "bee", "cow")
    assert np.bincount(images.labels).tolist() == [5, 3, 4]
    views = list(
        batches(images, np.arange(12), [PLAIN, PLAIN], device=torch.device("cpu"), batch=5)
    )
    assert [len(v[2]) for v in views] == [5, 5, 2]
    assert views[0][0] is views[0][1]  # one transform, applied once
    wanted = np.asarray(images.image(0).resize((16, 16), Image.Resampling.BILINEAR))
    got = views[0][0][0].permute(1, 2, 0).numpy() * 127.5 + 127.5
    assert np.abs(got - wanted).max() < 2


def test_the_fingerprint_notices_a_changed_a_new_and_a_renamed_file(folder):
    seen = {open_images(str(folder)).fingerprint}
    (folder / "bee" / "0.png").write_bytes((folder / "ant" / "0.png").read_bytes())
    seen.add(open_images(str(folder)).fingerprint)
    (folder / "bee" / "9.png").write_bytes((folder / "ant" / "0.png").read_bytes())
    seen.add(open_images(str(folder)).fingerprint)
    (folder / "bee" / "9.png").rename(folder / "bee" / "8.png")
    seen.add(open_images(str(folder)).fingerprint)
    assert len(seen) == 4


def test_greyscale_and_colour_are_converted_to_what_the_anchor_takes():
    images = open_images("klas/digits:val")
    grey = Transform(**(vars(PLAIN) | {"input_size": (1, 16, 16), "mean": (0.5,), "std": (0.5,)}))
    ((one, three, _),) = batches(images, np.arange(2), [grey, PLAIN], device=torch.device("cpu"))
    assert one.shape == (2, 1, 16, 16)
    assert three.shape == (2, 3, 16, 16)
    assert torch.equal(one[:, 0], three[:, 2])


def test_the_digits_come_out_as_the_zoo_was_trained():
    """The general path (PIL, timm's transform) gives the very numbers of the training loop."""
    from klas.digits.scenes import make_scenes
    from klas.digits.train import normalised
    from klas.networks.load import load_anchor
    from klas.study import DIGITS

    data = DIGITS.data
    anchor = load_anchor(DIGITS.anchors[0], crop=data.crop, interpolation=data.interpolation)
    images = open_images(data.val)
    loader = batches(images, np.arange(20), [anchor.info.transform], device=torch.device("cpu"))
    ((views, labels),) = loader
    pixels, wanted = make_scenes("val", 20)
    assert torch.allclose(views, normalised(pixels), atol=1e-6)
    assert labels.tolist() == wanted.tolist()


@pytest.mark.parametrize("ref", ["/no/such/folder", "klas/digits:lunch"])
def test_what_is_not_there_is_named(ref):
    with pytest.raises(DataError, match=ref):
        open_images(ref)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(DataError, match="class folders"):
        open_images(str(tmp_path))


def test_a_file_that_is_no_image_is_named(folder):
    (folder / "cow" / "3.png").write_bytes(b"moo")
    images = open_images(str(folder))
    with pytest.raises(DataError, match=r"3\.png: is no readable image") as caught:
        list(batches(images, np.arange(12), [PLAIN], device=torch.device("cpu")))
    assert "\n" not in str(caught.value)  # though it happened in a loader's process


def test_a_link_to_nowhere_is_named(folder):
    (folder / "cow" / "9.png").symlink_to(folder / "gone.png")
    with pytest.raises(DataError, match=r"9\.png: cannot be read"):
        open_images(str(folder))


def test_a_folder_with_splits_is_not_searched_for_one(folder, tmp_path_factory):
    """Else train = "imagenet" would silently read the validation images."""
    root = tmp_path_factory.mktemp("root")
    (root / "val").symlink_to(folder)
    (root / "train").symlink_to(folder)
    assert set(open_images(str(root)).class_names) <= {"train", "val", "ant", "bee", "cow"}
    assert len(open_images(str(root)).labels) == 24
