"""``klas cache``."""

import json
import shutil

import pytest

from klas.storage.exports import storing_export
from klas.storage.key import Key
from klas.storage.sealed import seal
from klas.storage.store import Store
from klas.storage.trained import LIST, training_folder
from tests.conftest import SMALL


def test_cache_lists_verifies_and_clears(klas, study, tmp_path):
    cache = tmp_path / "own"
    assert klas("run", study, "--until", "anchors", cache=cache).returncode == 0
    assert "digits_vit_tiny: pass over" in klas("cache", "ls", cache=cache).stdout
    assert "0 damaged" in klas("cache", "verify", cache=cache).stdout
    next((cache / "objects").rglob("*.safetensors")).write_bytes(b"x")
    bad = klas("cache", "verify", cache=cache)
    assert bad.returncode == 1
    assert "1 damaged" in bad.stdout
    assert "klas cache repair" in bad.stderr
    assert "1 were missing or damaged" in klas("cache", "repair", cache=cache).stdout
    assert klas("cache", "verify", cache=cache).returncode == 0
    assert "freed" in klas("cache", "clear", cache=cache).stdout
    assert json.loads(klas("cache", "ls", "--json", cache=cache).stdout)["entries"] == []


def test_without_its_index_a_cache_is_told_repaired_and_cleared(klas, tmp_path):
    cache = tmp_path / "own"
    keys = [Key(stage="features", version=1, inputs={"n": n}, label=f"n{n}") for n in range(3)]
    with Store(cache) as store:
        for key in keys:
            store.put(key, "x")
    shutil.rmtree(cache / "index")
    lost = klas("cache", "verify", cache=cache)
    assert lost.returncode == 1
    assert "3 whole results are not, or wrongly, in the index" in lost.stdout
    assert "orphan: n0" in lost.stdout
    database = cache / "index" / "cache.db"
    database.write_bytes(b"no database" * 500)
    for action in ("verify", "ls"):
        refused = klas("cache", action, cache=cache)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "klas cache repair" in refused.stderr
    repaired = json.loads(klas("cache", "repair", "--json", cache=cache).stdout)
    assert (repaired["results"], repaired["listed"], repaired["deleted"]) == (3, 3, [])
    assert klas("cache", "verify", cache=cache).returncode == 0
    for ending in ("", "-wal", "-shm"):
        database.with_name(f"cache.db{ending}").unlink(missing_ok=True)
    database.write_bytes(b"no database" * 500)
    assert klas("cache", "clear", cache=cache).stdout == "freed 9 B\n"
    assert json.loads(klas("cache", "ls", "--json", cache=cache).stdout)["entries"] == []


def test_nothing_is_cleared_under_a_running_command(klas, tmp_path):
    with Store(tmp_path / "own") as store:
        store.put(Key(stage="features", version=1, inputs={}), "x")
        with store.at_work("klas run on study mine"):
            refused = klas("cache", "clear", cache=store.root)
        assert refused.returncode == 1
        assert "'klas run on study mine'" in refused.stderr
        assert klas("cache", "clear", cache=store.root).stdout == "freed 3 B\n"


def test_a_study_is_packed_here_and_looked_at_there(klas, study, tmp_path):
    packed = klas("cache", "pack", study, "--out", "small.klas")
    assert packed.returncode == 0, packed.stderr
    assert "wrote small.klas: study small" in packed.stdout
    other = tmp_path / "elsewhere"
    unpacked = json.loads(klas("cache", "unpack", "small.klas", "--json", cache=other).stdout)
    assert (unpacked["study"], unpacked["present"], unpacked["kept"]) == ("small", 0, 0)
    again = klas("cache", "unpack", "small.klas", cache=other)
    assert f"{unpacked['results']} were here already" in again.stdout
    assert f"its study file: {unpacked['study_file']}" in again.stdout
    here = klas("compare", study, "--json")
    there = klas("compare", unpacked["study_file"], "--json", cache=other)
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout

    listed = json.loads(klas("cache", "ls", "--json", cache=other).stdout)
    (small,) = (s for s in listed["studies"] if s["name"] == "small")
    assert small["bytes"] == small["freeable_bytes"] == unpacked["bytes"] == listed["bytes"]
    assert listed["unclaimed_bytes"] == 0
    assert "By study" in klas("cache", "ls", cache=other).stdout
    freed = klas("cache", "clear", "--study", "small", "--stage", "features", "--json", cache=other)
    assert json.loads(freed.stdout) == {"freed_bytes": small["stages"]["features"]}
    freed = klas("cache", "clear", "--study", study, cache=other)
    assert "freed" in freed.stdout
    assert json.loads(klas("cache", "ls", "--json", cache=other).stdout)["entries"] == []


def test_a_stage_is_cleared_alone_and_sharers_are_named(klas, study, tmp_path):
    cache = tmp_path / "own"
    store = Store(cache)
    for k, stage in enumerate(("features", "tuned")):
        key = Key(stage=stage, version=1, inputs={"k": k})
        store.put(key, [k])
    store.set_ref(f"used-{SMALL.results_key()}", [key.digest])
    store.close()
    cleared = klas("cache", "clear", "--stage", "features", cache=cache)
    assert cleared.stdout == "freed 3 B\n"
    (left,) = json.loads(klas("cache", "ls", "--json", cache=cache).stdout)["entries"]
    assert left["stage"] == "tuned"
    studies = cache / "studies"
    studies.mkdir()
    for name in ("one", "two"):
        text = SMALL.model_copy(update={"name": name}).to_toml()
        (studies / f"{name}.toml").write_text(text)
    cleared = klas("cache", "clear", "--study", "one", cache=cache)
    assert cleared.stdout == "freed 0 B\nwhat it shares with two stays\n"


def test_a_bad_study_is_a_line_of_the_list_with_its_sentence(klas, tmp_path):
    studies = tmp_path / "own" / "studies"
    studies.mkdir(parents=True)
    (studies / "odd.toml").write_text("name = 5")
    listed = json.loads(klas("cache", "ls", "--json", cache=studies.parent).stdout)
    (odd,) = (study for study in listed["studies"] if study["name"] == "odd")
    assert odd["problem"].startswith("odd.toml: ")
    assert odd["problem"] in " ".join(klas("cache", "ls", cache=studies.parent).stdout.split())


KINDS = {"exports": "exported", "trained": "trained"}


def put_network(store, kind, name):
    """Leave what an export or a training leaves."""
    if kind == "exports":
        with storing_export(store, name) as folder:
            (folder / "model.onnx").write_bytes(b"weights")
        return
    folder = training_folder(store, name)
    folder.mkdir(parents=True)
    for file in (LIST, "model.onnx"):
        (folder / file).write_bytes(b"weights")
    seal(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_listed_verified_and_cleared(klas, tmp_path, kind):
    cache, what = tmp_path / "own", KINDS[kind]
    store = Store(cache)
    for name in ("a1", "b2"):
        put_network(store, kind, name)
    store.put(Key(stage="features", version=1, inputs={}), "x")
    store.close()
    listed = json.loads(klas("cache", "ls", "--json", cache=cache).stdout)
    assert listed[kind] == 2
    assert listed["bytes"] == listed[f"{kind}_bytes"] + 3
    assert f"are 2 {what} networks" in klas("cache", "ls", cache=cache).stdout
    assert f"2 {what} networks checked, 0 damaged" in klas("cache", "verify", cache=cache).stdout
    (cache / kind / "a1" / "model.onnx").write_bytes(b"?")
    bad = klas("cache", "verify", cache=cache)
    assert bad.returncode == 1
    assert f"damaged: {kind}/a1" in bad.stdout
    assert "them again" in bad.stderr
    freed = json.loads(klas("cache", "clear", f"--{kind}", "--json", cache=cache).stdout)
    assert 0 < freed["freed_bytes"] < listed[f"{kind}_bytes"]
    left = json.loads(klas("cache", "ls", "--json", cache=cache).stdout)
    assert (left[kind], left[f"{kind}_bytes"], len(left["entries"])) == (0, 0, 1)
    both = klas("cache", "clear", f"--{kind}", "--study", "digits", cache=cache)
    assert (both.returncode, "leave --study out" in both.stderr) == (1, True)
    assert klas("cache", "clear", f"--{kind}", "--stage", "x", cache=cache).returncode == 2
