"""``klas doctor``: one screen, whatever it finds."""

import json

import pytest

from klas.networks import pretrained
from klas.results.formatting import size
from klas.results.usage import usage
from klas.storage.store import Store


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(pretrained, "unreachable", lambda address: "ConnectError")


def test_one_screen_says_what_a_bug_report_needs(klas, computed):
    done = klas("doctor", "--device", "cpu")
    assert done.returncode == 0
    assert done.stdout.count("\n") <= 24
    count, total = len(list(computed[0].entries())), size(usage(computed[0]).bytes)
    for said in ("torch ", "timm ", "cpu (", f"{total}, ", f" free; {count} results; all is whole",
                 "cannot be reached (ConnectError)"):  # fmt: skip
        assert said in done.stdout


def test_as_json(klas, computed):
    found = json.loads(klas("doctor", "--json").stdout)
    assert found["packages"]["torch"]
    assert found["cache"]["health"]["checked"] == len(list(computed[0].entries()))
    assert found["cache"]["free_bytes"] > 0
    assert found["pretrained"]["problem"] == "ConnectError"


def test_a_result_that_is_damaged_or_gone_is_counted_and_left_as_it_is(klas, tmp_path, monkeypatch):
    from klas.storage.key import Key

    monkeypatch.setattr(pretrained, "unreachable", lambda address: None)
    with Store(tmp_path / "cache") as store:
        for k in range(3):
            store.put(Key(stage="x", version=1, inputs={"k": k}), "y" * 100)
        first, second, _ = (store.path_of(entry) for entry in store.entries())
    first.unlink()
    second.write_bytes(b"z")
    done = klas("doctor", cache=tmp_path / "cache")
    assert done.returncode == 0
    assert "3 results, 2 of them damaged; " in done.stdout
    assert "run `klas cache repair`" in done.stdout
    assert "can be reached" in done.stdout
    assert second.read_bytes() == b"z"


def test_what_is_wrong_is_a_line_and_no_error(klas, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = klas("doctor", "--device", "cuda:77", cache=tmp_path / "file")
    assert done.returncode == 0
    assert "device 'cuda:77' is not available here" in done.stdout
    assert "the cache folder cannot be used" in done.stdout


def test_a_report_does_not_name_the_user(klas, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = klas("doctor", cache=tmp_path / "cache")
    assert "~/cache" in done.stdout
    assert str(tmp_path) not in done.stdout
