import re
from pathlib import Path

import pytest

from klas.errors import StoreError, StudyError
from klas.storage.saved_studies import (
    duplicate_study,
    find_study,
    make_study,
    open_study,
    remove_study,
    rename_study,
    save_study,
    saved_studies,
    study_path,
)
from klas.study import DIGITS, built_in_studies
from tests.conftest import SMALL

MINE = SMALL.model_copy(update={"name": "mine 1.0"})


def test_a_saved_study_is_listed_and_opens_as_it_was(store):
    assert saved_studies(store) == []
    path = save_study(store, MINE)
    save_study(store, SMALL)
    assert saved_studies(store) == ["mine 1.0", "small"]
    assert open_study(store, "mine 1.0") == MINE
    assert study_path(store, "mine 1.0") == path
    assert path.parent == store.root / "studies"


def test_clearing_the_results_leaves_the_studies(store):
    save_study(store, MINE)
    store.clear()
    assert open_study(store, MINE.name) == MINE


def test_another_study_of_the_same_name_is_refused_unless_it_may_replace(store):
    save_study(store, MINE)
    save_study(store, MINE)  # the same again is no loss
    other = MINE.model_copy(update={"seed": 7})
    with pytest.raises(StudyError, match=r"there is a study 'mine 1\.0' already"):
        save_study(store, other)
    assert open_study(store, MINE.name) == MINE
    save_study(store, other, replace=True)
    assert open_study(store, MINE.name) == other


@pytest.mark.parametrize("study", built_in_studies().values(), ids=built_in_studies())
def test_a_built_in_study_keeps_its_name(store, study):
    with pytest.raises(StudyError, match="built-in"):
        save_study(store, study)


@pytest.mark.parametrize("name", ["absent", "../mine 1.0", "/etc/passwd", "", "x" * 300])
def test_only_what_the_folder_lists_is_opened(store, name):
    save_study(store, MINE)
    with pytest.raises(StudyError, match=r"there is no saved study .* there are: mine 1\.0"):
        open_study(store, name)


def test_a_duplicate_differs_in_name_alone_and_takes_no_others(store):
    save_study(store, MINE)
    copy = duplicate_study(store, MINE, "copy")
    assert copy == MINE.model_copy(update={"name": "copy"})
    assert open_study(store, "copy") == copy
    with pytest.raises(StudyError, match="already"):
        duplicate_study(store, DIGITS, "copy")
    with pytest.raises(StudyError, match="already"):
        duplicate_study(store, MINE, MINE.name)
    with pytest.raises(StudyError, match="name"):
        duplicate_study(store, MINE, "a/b")


def test_a_renamed_study_keeps_everything_else_and_its_results(store):
    save_study(store, MINE)
    renamed = rename_study(store, MINE.name, "yours")
    assert renamed == MINE.model_copy(update={"name": "yours"})
    assert saved_studies(store) == ["yours"]
    assert open_study(store, "yours") == renamed
    assert renamed.results_key() == MINE.results_key()
    assert rename_study(store, "yours", "yours") == renamed
    assert saved_studies(store) == ["yours"]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("small", "there is a study 'small' already"),
        ("digits", "built-in"),
        ("../x", "name"),
        ("", "name"),
        ("x" * 81, "name"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused_and_nothing_changes(store, new, words):
    save_study(store, MINE)
    save_study(store, SMALL)
    with pytest.raises(StudyError, match=words):
        rename_study(store, MINE.name, new)
    assert saved_studies(store) == ["mine 1.0", "small"]
    assert open_study(store, "small") == SMALL


def test_a_rename_that_fails_leaves_the_study(store, monkeypatch):
    save_study(store, MINE)

    def full(*_):
        raise StoreError("No space left on device")

    monkeypatch.setattr(store, "write_file", full)
    with pytest.raises(StoreError, match="No space left"):
        rename_study(store, MINE.name, "yours")
    assert saved_studies(store) == [MINE.name]
    monkeypatch.undo()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match=r"mine 1\.0\.toml: cannot be deleted \(Permission denied"):
        remove_study(store, MINE.name, MINE)
    assert open_study(store, MINE.name) == MINE


def test_a_study_that_was_deleted_elsewhere_is_no_longer_renamed_or_removed(store):
    save_study(store, MINE)
    remove_study(store, MINE.name, MINE)
    for act in (
        lambda: rename_study(store, MINE.name, "x"),
        lambda: remove_study(store, "x", SMALL),
    ):
        with pytest.raises(StudyError, match="there is no saved study"):
            act()


def test_what_changed_meanwhile_is_not_removed(store):
    save_study(store, MINE.model_copy(update={"seed": 5}))
    with pytest.raises(StudyError, match="changed meanwhile"):
        remove_study(store, MINE.name, MINE)
    with pytest.raises(StudyError, match="changed meanwhile"):
        remove_study(store, MINE.name, None)
    assert saved_studies(store) == [MINE.name]


def test_a_study_is_found_by_name_or_by_file(store, tmp_path):
    save_study(store, MINE)
    path = tmp_path / "small.toml"
    path.write_text(SMALL.to_toml())
    for name, study in built_in_studies().items():
        assert find_study(store, name) == study
    assert find_study(store, MINE.name) == MINE
    assert find_study(store, str(path)) == SMALL
    known = re.escape(", ".join([*built_in_studies(), MINE.name]))
    with pytest.raises(StudyError, match=f"neither a study file nor .* there are: {known}"):
        find_study(store, "absent")
    path.write_text("x")
    with pytest.raises(StudyError, match="not valid TOML"):
        find_study(store, str(path))


ANCHORS = [{"name": t, "model": t, "weights": None} for t in ("resnet18.a1_in1k", "levit_128s")]


def values(tmp_path, **changes):
    data = {"train": str(tmp_path), "val": str(tmp_path)}
    return {"name": "new", "anchors": ANCHORS, "data": data} | changes


def test_a_made_study_has_every_default_but_for_what_was_changed(tmp_path):
    study = make_study({}, values(tmp_path, selection={"buckets": 3}))
    assert [a.model for a in study.anchors] == ["resnet18.a1_in1k", "levit_128s"]
    assert study.selection.buckets == 3
    assert study.selection.tau == 0.05
    assert study.data.train_samples == 100_000


def test_a_study_made_from_another_keeps_its_settings(tmp_path):
    base = SMALL.model_dump(mode="json")
    study = make_study(base, {"name": "new", "data": {"crop": 0.5}})
    assert study.data == SMALL.data.model_copy(update={"crop": 0.5})
    assert study.tuning == SMALL.tuning


def test_folders_and_weights_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    (tmp_path / "w.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    mine = {"name": "mine", "model": "levit_128s", "weights": "w.safetensors"}
    data = {"train": "train", "val": "hfds/x", "class_map": "w.safetensors"}
    study = make_study({}, values(tmp_path, data=data, anchors=[*ANCHORS, mine]))
    assert study.data.class_map == str(tmp_path / "w.safetensors")
    assert study.data.train == str(tmp_path / "train")
    assert study.data.val == "hfds/x"  # no folder's name: the data's reader knows it
    assert study.anchors[2].weights == str(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"anchors": ANCHORS[:1]}, "at least two"),
        ({"anchors": ANCHORS[:1] * 2}, "named twice"),
        ({"data": {"train": "", "val": "x"}}, "data.train: name a folder"),
        ({"data": {"train": "/absent/folder", "val": "x"}}, "there is no folder /absent/folder"),
        ({"data": {"train": "\0", "val": "~nobody-here/x"}}, "there is no folder ~nobody"),
        ({"data": {"train": "x", "val": "x", "crop": 2.0}}, "data.crop"),
        ({"data": {"train": "x", "val": "x", "class_map": "no.txt"}}, "class_map: the file no.txt"),
        (
            {"anchors": [*ANCHORS, {"name": "m", "model": "m", "weights": "no.pth"}]},
            "m: the weights file no.pth does not exist",
        ),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_in_a_sentence(tmp_path, changes, words):
    with pytest.raises(StudyError, match=words):
        make_study({}, values(tmp_path, **changes))
