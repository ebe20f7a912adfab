"""Where the app may read, and that nothing tells what lies elsewhere."""

import os
from pathlib import Path

import pytest

from klas.errors import StudyError
from klas.jobs.data_roots import data_roots, refuse_elsewhere
from klas.study import DIGITS, AnchorSpec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home folder beside which other folders lie."""
    folder = tmp_path / "home"
    (folder / "images").mkdir(parents=True)
    (tmp_path / "homework").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("KLAS_DATA_ROOTS", raising=False)
    monkeypatch.delenv("KLAS_STUDY", raising=False)
    return folder


def reads(store, **places):
    data = {k: v for k, v in places.items() if k != "weights"}
    study = DIGITS.model_copy(update={"data": DIGITS.data.model_copy(update=data)})
    if "weights" in places:
        anchor = AnchorSpec(name="mine", model="m", weights=places["weights"])
        study = study.model_copy(update={"anchors": (anchor, *DIGITS.anchors)})
    try:
        refuse_elsewhere(study, store)
    except StudyError:
        return False
    return True


def test_by_default_it_is_the_home_folder_and_the_studies_own(home, store):
    assert reads(store)  # the built-in study reads no folder
    assert reads(store, train=str(home / "images"), val=str(home / "absent"))
    assert reads(store, train="~/images")
    assert reads(store, train=str(store.root / "studies" / "images"))
    for elsewhere in ("/", "/etc", str(home.parent / "homework"), str(home.parent), "~root"):
        assert not reads(store, val=elsewhere)


@pytest.mark.parametrize("place", ["train", "val", "test", "classes", "class_map", "weights"])
def test_every_path_of_a_study_counts(home, store, place):
    assert reads(store, **{place: str(home / "x.csv")})
    assert not reads(store, **{place: "/etc/passwd"})


def test_no_way_round_leads_out(home, store, monkeypatch):
    (home / "link").symlink_to("/etc")
    monkeypatch.chdir(home)
    for way in ("~/../homework", str(home / ".." / "homework"), str(home / "link"), "link",
                "../homework", "images/../../homework", "hfds//etc:train", "hfds/../homework:x",
                "hfds/link:train", "hfds/~/../homework:train"):  # fmt: skip
        assert not reads(store, train=way), way
    for other in ("images", "hfds/ylecun/mnist:train", "klas/digits:val", "nothing/here", "a\0b"):
        assert reads(store, train=other), other


def test_a_refusal_is_the_same_whether_something_is_there_or_not(home, store):
    said = []
    for path in ("/etc/passwd", "/etc/absent"):
        with pytest.raises(StudyError) as caught:
            refuse_elsewhere({"data": {"train": path}}, store)
        assert "can name it in the variable KLAS_DATA_ROOTS" in str(caught.value)
        said.append(str(caught.value).replace(path, ""))
    assert said[0] == said[1]


def test_the_variable_names_other_roots_in_place_of_these(home, store, monkeypatch):
    roots = [str(home.parent / "homework"), "/srv/images"]
    monkeypatch.setenv("KLAS_DATA_ROOTS", os.pathsep.join(roots))
    assert data_roots(store) == tuple(map(os.path.realpath, roots))
    assert reads(store, train=roots[0], val="/srv/images/val")
    assert not reads(store, train=str(home / "images"))
    monkeypatch.setenv("KLAS_DATA_ROOTS", "")
    assert data_roots(store) == ()
    assert reads(store)
    assert not reads(store, train=str(home / "images"))


def test_whoever_starts_the_app_on_a_study_allows_what_it_names(home, store, monkeypatch):
    there = home.parent / "homework"
    data = DIGITS.data.model_copy(update={"train": "/srv/images/train"})
    file = there / "mine.toml"
    file.write_text(DIGITS.model_copy(update={"name": "mine", "data": data}).to_toml())
    monkeypatch.setenv("KLAS_STUDY", str(file))
    assert reads(store, train="/srv/images/train", val=str(there / "val"))
    assert not reads(store, val="/srv/images/val")
    file.write_text("name = 3")
    assert reads(store, train=str(there / "images"))


def test_an_app_that_is_started_on_a_built_in_study_reads_no_more(home, store, monkeypatch):
    monkeypatch.chdir(home.parent / "homework")
    roots = data_roots(store)
    monkeypatch.setenv("KLAS_STUDY", "digits")
    assert data_roots(store) == roots
    assert not reads(store, train="/srv/images/train")


def test_a_home_folder_that_is_the_whole_disk_opens_nothing(store, monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert not reads(store, train="/etc")
    assert Path("/") not in map(Path, data_roots(store))
