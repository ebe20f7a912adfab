"""Splits: opened when they are asked for, the same rows every time, and what is left out."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import klas.digits  # noqa: F401 - registers the built-in images
from klas.data import open_images
from klas.errors import DataError
from klas.pipeline.splits import Splits
from klas.progress import Silent
from klas.results.keys import unreadable_key
from tests.conftest import SMALL


class Memory:
    """Remembers what cannot be read, as a store does: as JSON."""

    def __init__(self):
        self.values, self.made = {}, []

    def __call__(self, key, make):
        if key.digest not in self.values:
            self.made.append(key)
            self.values[key.digest] = json.dumps(make())
        return json.loads(self.values[key.digest])


def splits(memory=None, fit=None, **data):
    changes = {"data": SMALL.data.model_copy(update=data)}
    if fit:
        changes["fit"] = SMALL.fit.model_copy(update={"samples": fit})
    return Splits(SMALL.model_copy(update=changes), memory or Memory(), Silent())


@pytest.fixture
def opened(monkeypatch):
    """The data sets that were opened, in order."""
    refs = []

    def noting(ref):
        refs.append(ref)
        return open_images(ref)

    monkeypatch.setattr("klas.pipeline.splits.open_images", noting)
    return refs


@pytest.fixture
def folders(tmp_path):
    """Three folders with three classes of eight noisy pictures each; two of them are a study's."""
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("ant", "bee", "cow"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for k in range(8):
                pixels = random.integers(0, 255, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")
    return {"train": str(tmp_path / "train"), "val": str(tmp_path / "val"), "test": None}


def test_nothing_is_opened_before_it_is_asked_for(opened):
    made = splits(train="nowhere/train", val="nowhere/val", test=None)
    assert made.test is None
    assert opened == []
    with pytest.raises(DataError, match="nowhere/train"):
        _ = made.train


def test_each_data_set_is_opened_once(opened):
    made = splits()
    for _ in range(2):
        _ = made.val, made.train, made.test, made.fit_rows, made.class_names, made.notes
    assert Counter(opened) == {"klas/digits:train": 1, "klas/digits:val": 1, "klas/digits:test": 1}


def test_a_split_by_its_name_is_that_split():
    made = splits()
    assert [made.named(name) for name in ("train", "val", "test")] == [
        made.train,
        made.val,
        made.test,
    ]
    with pytest.raises(AssertionError, match="no test split"):
        splits(test=None).named("test")


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_split_looks_at_as_many_different_rows_as_the_study_says(name):
    split, wanted = splits().named(name), getattr(SMALL.data, f"{name}_samples")
    assert split.samples == len(set(split.rows.tolist())) == wanted
    counts = np.bincount(split.images.labels[split.rows])
    assert counts.max() - counts.min() <= 1  # as many of each class
    assert split.identity == {
        "ref": f"klas/digits:{name}",
        "fingerprint": split.images.fingerprint,
        "samples": wanted,
        "images": len(split.images.labels),
        "seed": SMALL.seed,
        "left_out": [],
    }


def test_the_same_study_sees_the_same_rows_and_another_seed_others():
    one, two = splits(), splits()
    assert np.array_equal(one.val.rows, two.val.rows)
    assert np.array_equal(one.fit_rows, two.fit_rows)
    other = Splits(SMALL.model_copy(update={"seed": 5}), Memory(), Silent())
    assert not np.array_equal(one.val.rows, other.val.rows)
    assert other.val.identity["seed"] == 5


def test_the_rows_of_the_fit_are_balanced_training_rows():
    made = splits()
    rows = made.fit_rows
    assert len(set(rows.tolist())) == len(rows) == SMALL.fit.samples
    counts = np.bincount(made.train.images.labels[rows])
    assert counts.max() - counts.min() <= 1
    # They are the first of a longer order, so that more samples keep those before them.
    assert np.array_equal(splits(fit=80).fit_rows[: len(rows)], rows)


def test_more_samples_than_there_are_is_all_of_them(folders):
    made = splits(**folders, train_samples=100, val_samples=100)
    assert sorted(made.train.rows.tolist()) == list(range(24))
    assert made.val.identity["samples"] == made.val.samples == 24
    assert sorted(made.readable_val_rows().tolist()) == list(range(24))


def test_what_cannot_be_read_is_left_out_of_all_that_looks_at_the_split(folders, tmp_path):
    for k in range(8):
        if k != 2:
            (tmp_path / "train" / "bee" / f"{k}.png").write_bytes(b"no picture")
    memory = Memory()
    made = splits(memory, **folders, train_samples=9, val_samples=9, fit=12)
    bad = [unread.row for unread in made.train.unreadable]
    paths = {unread.where for unread in made.train.unreadable}
    assert len(bad) == 7
    assert all("bee" in path for path in paths)
    assert made.train.identity["left_out"] == bad
    for rows in (made.train.rows, made.fit_rows, made.readable_training_rows(24)):
        assert not {*bad} & {*rows.tolist()}
    assert len(made.train.rows) == 9  # others take their places
    (note,) = made.notes
    assert folders["train"] in note
    assert "7" in note


def test_images_are_read_once_for_all_splits_that_have_them(folders):
    memory = Memory()
    for _ in range(2):
        made = splits(memory, **folders, train_samples=9, val_samples=9)
        _ = made.train, made.val, made.notes
    train, val = (made.named(name).images.fingerprint for name in ("train", "val"))
    looked_at = max(9, SMALL.fit.samples)
    assert [key.digest for key in memory.made] == [
        unreadable_key(folders["train"], train, min(looked_at, 24), SMALL.seed).digest,
        unreadable_key(folders["val"], val, 9, SMALL.seed).digest,
    ]


def test_images_that_are_drawn_need_no_look():
    memory = Memory()
    made = splits(memory)
    _ = made.train, made.val, made.test
    assert memory.made == []


@pytest.mark.parametrize("odd", ["val", "test"])
def test_other_classes_than_those_of_the_training_images_are_named(folders, tmp_path, odd):
    (tmp_path / odd / "cow").rename(tmp_path / odd / "yak")
    made = splits(**{**folders, "test": str(tmp_path / "test")})
    for split in ("train", "val", "test"):
        with pytest.raises(DataError, match=f"{odd}: its classes are not .*: cow, yak"):
            made.named(split)


def test_files_that_are_no_images_are_told_of_and_change_no_key(folders):
    before = splits(**folders).train.identity
    for name in ("a.heic", "b.heic", "notes.txt"):
        (Path(folders["train"]) / "ant" / name).write_bytes(b"")
    made = splits(**folders)
    (note,) = made.notes
    assert note.endswith("left out 3 files whose names are not those of images: 2 .heic, 1 .txt")
    assert made.train.identity == before | {"passed_over": {".heic": 2, ".txt": 1}}
    assert "passed_over" not in made.val.identity
