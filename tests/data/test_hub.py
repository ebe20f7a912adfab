"""The datasets package is optional: a small double of what is used of it, and it if installed."""

import io
import sys
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from klas.data import find_unreadable, open_images
from klas.errors import DataError
from tests.data.conftest import picture_bytes


class PictureColumn:
    def __init__(self, decode=True):
        self.decode = decode


class ClassColumn:
    def __init__(self, names):
        self.names = names


class Rows:
    """datasets.Dataset: columns of equal length; a decoded image column gives pictures."""

    def __init__(self, columns, features, kind=None):
        self.columns, self.features, self.kind = columns, features, kind

    def cast_column(self, name, feature):
        return Rows(self.columns, self.features | {name: feature}, self.kind)

    def select_columns(self, names):
        return Rows({n: self.columns[n] for n in names}, self.features, self.kind)

    def with_format(self, kind):
        return Rows(self.columns, self.features, kind)

    def __getitem__(self, key):
        if isinstance(key, slice):
            assert not any(isinstance(self.features[n], PictureColumn) for n in self.columns), (
                "labels must be read without the images"
            )
            return {n: np.asarray(c[key]) for n, c in self.columns.items()}
        for name in self.columns:
            assert not getattr(self.features[name], "decode", False)
        return {name: column[key] for name, column in self.columns.items()}


def held(count):
    return [{"bytes": picture_bytes(k), "path": None} for k in range(count)]


@pytest.fixture
def hub(monkeypatch):
    """name → split → (columns, features), as the hub would serve them."""
    served = {}

    def load_dataset(name, *, split):
        if name not in served:
            assert package.config.HF_HUB_OFFLINE, "it would try again for half a minute"
            raise ConnectionError("no network\nat all")
        if split not in served[name]:
            raise ValueError(f"Unknown split {split!r}.\nSorry.")
        return Rows(*served[name][split])

    package = SimpleNamespace(
        load_dataset=load_dataset,
        Image=PictureColumn,
        ClassLabel=ClassColumn,
        config=SimpleNamespace(HF_HUB_OFFLINE=False),
    )

    def no_network():
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_session", no_network)
    monkeypatch.setitem(sys.modules, "datasets", package)
    return served


MNIST = ({"img": held(4), "digit": [1, 0, 1, 1]}, {"img": PictureColumn()})


def with_names(*names):
    columns, features = MNIST
    return columns, features | {"digit": ClassColumn(list(names))}


def test_a_split_gives_its_images_and_classes(hub):
    hub["ylecun/mnist"] = {"train": with_names("zero", "one")}
    images = open_images("hfds/ylecun/mnist:train")
    assert images.class_names == ("zero", "one")
    assert images.labels.tolist() == [1, 0, 1, 1]
    with Image.open(io.BytesIO(picture_bytes(2))) as wanted:
        assert (np.asarray(images.image(2)) == np.asarray(wanted)).all()


def test_the_fingerprint_follows_labels_and_content(hub):
    columns, features = with_names("zero", "one")
    hub["a"] = {
        "train": (columns, features),
        "again": (columns, features),
        "other": (columns | {"digit": [1, 0, 0, 1]}, features),
        "repainted": (columns | {"img": [*held(3), held(9)[8]]}, features),
    }
    prints = [open_images(f"hfds/a:{split}").fingerprint for split in hub["a"]]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_labels_without_names_are_sorted(hub):
    features = {"image": PictureColumn(), "label": object(), "id": object()}
    columns = {"image": held(4), "label": ["cow", "ant", "cow", "bee"], "id": [0, 1, 2, 3]}
    hub["a"] = {"train": (columns, features)}
    images = open_images("hfds/a:train")
    assert images.class_names == ("ant", "bee", "cow")
    assert images.labels.tolist() == [2, 0, 2, 1]


def test_a_damaged_row_is_found(hub):
    pictures = held(4)
    pictures[3] = {"bytes": pictures[3]["bytes"][:-40], "path": None}
    pictures[2] = {"bytes": None, "path": "/no/such/file.png"}
    columns, features = with_names("zero", "one")
    hub["a"] = {"train": (columns | {"img": pictures}, features)}
    actual = find_unreadable("a", open_images("hfds/a:train"), 4, 0)
    assert sorted(u.where for u in actual) == ["row 2", "row 3"]


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("hfds/ylecun/mnist", "names no split; write hfds/owner/name:split"),
        ("hfds/:train", "names no split"),
        ("hfds/a:lunch", r"cannot be loaded \(Unknown split 'lunch'\.\)"),
        ("hfds/far/away:train", "the hub cannot be reached"),
        ("hfds/a:test", "rows without a label"),
        ("hfds/a:empty", "holds no images"),
        ("hfds/a:text", r"its columns are words, label"),
    ],
)
def test_what_cannot_serve_is_refused_in_a_sentence(hub, ref, sentence):
    columns, features = with_names("zero", "one")
    hub["a"] = {
        "test": (columns | {"digit": [-1] * 4}, features),
        "empty": ({"img": [], "digit": []}, features),
        "text": ({"words": [], "label": []}, {"words": object(), "label": object()}),
    }
    with pytest.raises(DataError, match=sentence) as caught:
        open_images(ref)
    assert "\n" not in str(caught.value)


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        open_images("hfds/ylecun/mnist:train")


def test_the_real_package(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features(
        {"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = {"img": held(6), "fine_label": [k % 2 for k in range(6)]}
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(
        str(tmp_path / "data" / "train.parquet")
    )
    images = open_images(f"hfds/{tmp_path}/data:train")
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert images.class_names == ("a", "b")
    with Image.open(io.BytesIO(picture_bytes(5))) as wanted:
        assert (np.asarray(images.image(5)) == np.asarray(wanted)).all()
