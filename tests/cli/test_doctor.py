"""``klas doctor``: one screen, whatever it finds."""

import hashlib
import json
import sqlite3

import pytest

from klas.networks import pretrained
from klas.results.formatting import size
from klas.results.usage import usage
from klas.storage.exports import storing_export
from klas.storage.key import Key
from klas.storage.store import Store


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(pretrained, "unreachable", lambda address: "ConnectError")


def test_one_screen_says_what_a_bug_report_needs(klas, computed):
    done = klas("doctor", "--device", "cpu")
    assert done.returncode == 0
    assert done.stdout.count("\n") <= 24
    count, total = len(list(computed[0].entries())), size(usage(computed[0]).bytes)
    for said in ("torch ", "timm ", "cpu (", f"{total}, ", f" free; {count} results; their files",
                 "was not read (`klas cache verify` does)",
                 "cannot be reached (ConnectError)"):  # fmt: skip
        assert said in done.stdout


def test_as_json(klas, computed):
    found = json.loads(klas("doctor", "--json").stdout)
    assert found["packages"]["torch"]
    assert found["cache"]["results"] == len(list(computed[0].entries()))
    assert not any(found["cache"][wrong] for wrong in ("missing", "unlisted", "rows"))
    assert found["cache"]["free_bytes"] > 0
    assert found["pretrained"]["problem"] == "ConnectError"


def test_what_names_and_sizes_tell_is_counted(klas, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "unreachable", lambda address: None)
    with Store(tmp_path / "cache") as store:
        for k in range(3):
            store.put(Key(stage="x", version=1, inputs={"k": k}), "y" * 100)
        first, second, _ = (store.path_of(entry) for entry in store.entries())
    first.unlink()
    second.write_bytes(b"z")
    stray = second.with_name(f"{second.stem[:2]}{'0' * 62}.json")
    stray.write_bytes(b"stray")
    done = klas("doctor", cache=tmp_path / "cache")
    assert done.returncode == 0
    assert (
        "3 results, 2 of them missing or of another size, 1 that the index lacks; " in done.stdout
    )
    assert "run `klas cache repair`" in done.stdout
    assert "can be reached" in done.stdout
    with sqlite3.connect(tmp_path / "cache" / "index" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4")
    database.close()
    done = klas("doctor", cache=tmp_path / "cache")
    assert "0 results, 3 that the index lacks, 3 damaged rows of the index; " in done.stdout


def everything(root):
    """Each file and folder, with what is in it and when it was changed."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (root, *root.rglob("*"))
    }


def test_a_look_reads_no_result_and_changes_nothing(klas, tmp_path, monkeypatch):
    root = tmp_path / "cache"
    with Store(root) as store:
        for k in range(3):
            store.put(Key(stage="x", version=1, inputs={"k": k}), "y" * 100)
        one = next(store.entries())
        with storing_export(store, "one") as folder:
            (folder / "model.onnx").write_bytes(b"weights")
        store.path_of(one).write_bytes(b"z" * one.bytes)
    (root / "exports" / "one" / "model.onnx").write_bytes(b"damaged")
    (root / "tmp" / "new-left").write_bytes(b"left by a killed process")
    before = everything(root)
    with monkeypatch.context() as patch:
        for digest in ("sha256", "file_digest"):  # what else would one read results for?
            patch.setattr(hashlib, digest, lambda *_: pytest.fail("it was read"))
        assert "3 results; their files are there" in klas("doctor", cache=root).stdout
    assert everything(root) == before
    assert "is not there yet" in klas("doctor", cache=tmp_path / "absent").stdout
    assert not (tmp_path / "absent").exists()


def test_what_is_wrong_is_a_line_and_no_error(klas, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = klas("doctor", "--device", "cuda:77", cache=tmp_path / "file")
    assert done.returncode == 0
    assert "device 'cuda:77' is not available here" in done.stdout
    assert "is no folder; name another" in done.stdout


def test_a_report_does_not_name_the_user(klas, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = klas("doctor", cache=tmp_path / "cache")
    assert "~/cache" in done.stdout
    assert str(tmp_path) not in done.stdout
