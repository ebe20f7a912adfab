import numpy as np
import pytest

from klas.data import (
    Unreadable,
    balanced_order,
    find_unreadable,
    open_images,
    readable,
    subset,
    unreadable_sentence,
)
from klas.data.pictures import UnreadableError, decoded
from klas.errors import DataError
from tests.data.conftest import picture_bytes


@pytest.fixture
def many(tmp_path):
    root = tmp_path / "many"
    for number, name in enumerate(("ant", "bee", "cow")):
        (root / name).mkdir(parents=True)
        for k in range(20):
            content = picture_bytes(100 * number + k, "JPEG", (8, 8))
            (root / name / f"{k}.jpg").write_bytes(content)
    return root


def damage(images, root, rows):
    for row in rows:
        path = root / images.where(int(row))
        path.write_bytes(path.read_bytes()[:-30])


def test_damaged_rows_are_replaced_by_the_next_of_their_class(many):
    images = open_images(str(many))
    bad = set(balanced_order(images.labels, 0)[[0, 4, 11, 30]].tolist())
    damage(images, many, bad)
    actual = find_unreadable("many", images, 12, 0)
    assert {u.row for u in actual} == bad - {int(balanced_order(images.labels, 0)[30])}
    assert all("truncated" in u.reason for u in actual)
    assert all(u.where == images.where(u.row) for u in actual)
    without = [u.row for u in actual]
    rows = subset(images, 12, 0, without=without)
    assert not set(rows.tolist()) & bad
    assert np.bincount(images.labels[rows]).tolist() == [4, 4, 4]
    # And as if all the damage in the folder had been known.
    assert (rows == subset(images, 12, 0, without=sorted(bad))).all()
    for row in rows.tolist():
        images.image(row)


def test_the_replacement_of_a_damaged_row_is_checked_too(many):
    images = open_images(str(many))
    ants = [r for r in balanced_order(images.labels, 0).tolist() if images.labels[r] == 0]
    damage(images, many, ants[:3])
    actual = find_unreadable("many", images, 3, 0)
    assert sorted(u.row for u in actual) == sorted(ants[:3])
    assert ants[3] in subset(images, 3, 0, without=[u.row for u in actual])


def test_smaller_subsets_are_readable_too(many):
    """Least squares takes the first rows of the same order."""
    images = open_images(str(many))
    damage(images, many, balanced_order(images.labels, 0)[:5])
    without = [u.row for u in find_unreadable("many", images, 30, 0)]
    for samples in range(31):
        for row in balanced_order(images.labels, 0, without=without)[:samples].tolist():
            images.image(row)


def test_the_result_is_plain_values(many):
    import json

    images = open_images(str(many))
    damage(images, many, [3])
    actual = find_unreadable("many", images, 60, 0)
    assert [Unreadable(*raw) for raw in json.loads(json.dumps(actual))] == actual
    sentence = unreadable_sentence("many", actual)
    assert sentence.startswith(f"many: left out 1 image that cannot be read: {images.where(3)} (")


def test_too_many_are_refused_by_count_and_name(many):
    images = open_images(str(many))
    order = balanced_order(images.labels, 0)
    damage(images, many, order[:11])
    names = ", ".join(rf"{images.where(int(r))} \(.*\)" for r in order[:3])
    with pytest.raises(DataError, match=rf"more than 10 of the 30 .* {names} and 8 more"):
        find_unreadable("many", images, 30, 0)


def test_one_percent_is_accepted(many, monkeypatch):
    monkeypatch.setattr(readable, "FEW", 0)
    monkeypatch.setattr(readable, "ACCEPTED", 0.05)
    images = open_images(str(many))
    damage(images, many, [0, 20, 40])
    assert len(find_unreadable("many", images, 60, 0)) == 3
    damage(images, many, [1])
    with pytest.raises(DataError, match="more than 3 of the 60"):
        find_unreadable("many", images, 60, 0)


def test_a_class_of_which_nothing_can_be_read_is_named(folder):
    images = open_images(str(folder))
    damage(images, folder, np.flatnonzero(images.labels == 1))
    with pytest.raises(DataError, match=r"not one image of bee can be read \(bee/"):
        find_unreadable("f", images, 12, 0)


def test_a_link_to_nowhere_and_an_empty_file_count_as_unreadable(folder):
    (folder / "cow" / "8.png").write_bytes(b"")
    (folder / "cow" / "9.png").symlink_to(folder / "gone.png")
    images = open_images(str(folder))
    actual = {u.where: u.reason for u in find_unreadable("f", images, 100, 0)}
    assert actual.keys() == {"cow/8.png", "cow/9.png"}
    assert actual["cow/9.png"] == "No such file or directory"


def test_what_is_drawn_needs_no_check(monkeypatch):
    images = open_images("klas/digits:train")
    monkeypatch.setattr(images, "image", None)
    assert find_unreadable("digits", images, 1000, 0) == []


def test_progress_is_told_of_every_picture(many):
    told = []

    class Told:
        def start(self, stage, unit, total):
            told.append((stage, unit, total))

        def label(self, text):
            told.append(text)

        def advance(self, amount):
            told.append(amount)

    find_unreadable("many", open_images(str(many)), 6, 0, progress=Told())
    assert told == [("data", "images", 6), "many", 1, 1, 1, 1, 1, 1]


def test_what_would_start_an_interpreter_is_no_picture(tmp_path):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n")
    with file.open("rb") as opened, pytest.raises(UnreadableError, match="no known format"):
        decoded(opened, str(file))
