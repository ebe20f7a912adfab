"""The Cache page in Streamlit's own test runner: empty, partial and full."""

from pathlib import Path

import pytest

from klas.jobs import listing
from klas.results.usage import usage
from klas.storage.exports import storing_export
from klas.storage.key import Key
from klas.storage.saved_studies import save_study
from klas.storage.sealed import seal
from klas.storage.store import Store
from klas.storage.trained import LIST, training_folder
from tests.conftest import SMALL
from tests.dashboard.reading import press, table
from tests.dashboard.views.test_studies import BAD, bad_studies
from tests.expected_text import size

NOBODYS = "Results of no known study"


def said(tester):
    return [s.value for s in tester.success]


def offers(tester):
    return tester.selectbox(key="cache:what").options


def test_an_empty_store_says_so(app, tmp_path):
    tester = app(tmp_path / "empty", "cache")
    assert tester.info[0].value == "Nothing is stored yet."
    assert tester.metric[0].value == "0 B"
    assert not tester.button


def test_a_bad_study_does_not_empty_the_page_which_says_what_it_is(app, tmp_path):
    tester = app(bad_studies(tmp_path / "bad"), "cache")
    assert not tester.error
    assert table(tester, "stage")["results"].tolist() == [1]
    said = [warning.value.replace("\\", "") for warning in tester.warning]
    assert [sentence.split(".toml: ")[0] for sentence in said] == sorted(BAD)


def test_everything_stored_is_in_the_tables(app, copied):
    tester = app(copied.root, "cache")
    actual = usage(copied)
    stages = table(tester, "stage")
    assert dict(zip(stages["stage"], stages["results"])) == {
        stage: count for stage, (count, _) in actual.stages.items()
    }
    assert 1e6 * stages["size (MB)"].sum() == pytest.approx(actual.bytes)
    assert (stages["what"][stages["stage"] == "probes"] != "").all()
    studies = table(tester, "study")
    assert studies["study"].tolist() == ["small.toml"]
    assert studies["size (MB)"][0] == pytest.approx(actual.bytes / 1e6)
    assert tester.metric[0].value == size(actual.bytes)
    assert NOBODYS not in offers(tester)


def test_a_stage_is_freed_and_the_page_says_how_much(app, copied):
    tester = app(copied.root, "cache")
    count, taken = usage(copied).stages["features"]
    assert count
    tester.selectbox(key="cache:what").select("Stage features, of all studies").run()
    press(tester, f"Yes, free {size(taken)}")
    assert said(tester) == [f"Freed {size(taken)}."]
    assert "features" not in usage(copied).stages
    assert "features" not in table(tester, "stage")["stage"].tolist()


def test_a_study_nobodys_results_and_everything_are_freed(app, copied):
    key = Key(stage="features", version=1, inputs={"old": 1}, label="old")
    copied.put(key, "x" * 1000)
    tester = app(copied.root, "cache")
    tester.selectbox(key="cache:what").select(NOBODYS).run()
    press(tester, "Yes, free 1 kB")
    assert not copied.has(key)
    copied.put(key, "x" * 1000)
    before = usage(copied).bytes
    tester.run()
    tester.selectbox(key="cache:what").select("Study small.toml: what no other study uses").run()
    press(tester, f"Yes, free {size(before - 1002)}")
    assert usage(copied).bytes == 1002
    tester.selectbox(key="cache:what").select("Everything").run()
    press(tester, "Yes, free 1 kB")
    assert usage(copied).bytes == 0
    assert tester.info[0].value == "Nothing is stored yet."


def test_nothing_is_freed_under_a_running_command_and_the_page_says_which(app, copied):
    tester = app(copied.root, "cache")
    tester.selectbox(key="cache:what").select("Everything").run()
    before = usage(copied).bytes
    with copied.at_work("klas run on study mine"):
        press(tester, f"Yes, free {size(before)}")
    (error,) = (error.value.replace("\\", "") for error in tester.error)
    assert "'klas run on study mine'" in error
    assert str(copied.root) not in error
    assert usage(copied).bytes == before


NETWORKS = {"exports": "Exported networks", "trained": "Trained networks"}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_are_measured_verified_and_freed(app, copied, kind):
    for name in ("a1", "b2"):
        if kind == "exports":
            with storing_export(copied, name) as folder:
                (folder / "model.onnx").write_bytes(b"x" * 5000)
        else:
            folder = training_folder(copied, name)
            folder.mkdir(parents=True)
            for file in (LIST, "model.onnx"):
                (folder / file).write_bytes(b"x" * 5000)
            seal(folder)
    tester = app(copied.root, "cache")
    stages = table(tester, "stage").set_index("stage")
    count, taken = getattr(usage(copied), kind)
    assert count == 2
    assert stages["results"][kind] == 2
    assert 1e6 * stages["size (MB)"].sum() == pytest.approx(usage(copied).bytes)
    (copied.root / kind / "a1" / "model.onnx").write_bytes(b"?")
    press(tester, "Verify everything")
    assert f"1 {NETWORKS[kind].lower()} are damaged" in tester.warning[0].value
    press(tester, "Repair")
    assert f"deleted: {kind}/a1" in said(tester)[0].replace("\\", "")
    tester.selectbox(key="cache:what").select(NETWORKS[kind]).run()
    press(tester, f"Yes, free {size(taken // 2)}")
    assert getattr(usage(copied), kind) == (0, 0)
    assert NETWORKS[kind] not in offers(tester)


def test_verify_finds_what_is_damaged(app, copied):
    tester = app(copied.root, "cache")
    press(tester, "Verify everything")
    count = sum(1 for _ in copied.entries())
    assert said(tester) == [f"All {count} results are whole."]
    entry = next(e for e in copied.entries() if e.kind == "json")
    (copied.root / "objects" / entry.digest[:2] / f"{entry.digest}.json").write_bytes(b"?")
    press(tester, "Verify everything")
    assert f"{count} results checked\\, 1 damaged" in tester.error[0].value
    assert entry.digest[:12] in tester.error[0].value
    press(tester, "Repair")
    assert f"names {count - 1} results now" in said(tester)[0]
    press(tester, "Verify everything")
    assert said(tester) == [f"All {count - 1} results are whole."]


def test_a_damaged_index_is_repaired_where_it_is_told(app, copied):
    before = usage(copied)
    copied.close()
    for ending in ("", "-wal", "-shm"):
        (copied.root / "index" / f"cache.db{ending}").unlink(missing_ok=True)
    (copied.root / "index" / "cache.db").write_bytes(b"no database" * 500)
    tester = app(copied.root, "cache")
    assert "klas cache repair" in tester.error[0].value.replace("\\", "")
    assert not tester.metric
    press(tester, "Repair")
    assert tester.metric[0].value == size(before.bytes)


def test_no_page_says_where_on_the_server_the_cache_is(app, copied):
    tester = app(copied.root, "cache")
    press(tester, "Verify everything")
    shown = [*tester.caption, *tester.markdown, *tester.error, *tester.success]
    assert not any(str(copied.root.parent) in element.value.replace("\\", "") for element in shown)


def test_nothing_goes_while_a_job_runs(app, copied, monkeypatch):
    monkeypatch.setattr(listing, "studies_at_work", lambda _: ["small"])
    tester = app(copied.root, "cache")
    before = usage(copied)
    tester.selectbox(key="cache:what").select("Everything").run()
    press(tester, f"Yes, free {size(before.bytes)}")
    assert "a job is computing study small" in tester.error[0].value
    assert usage(copied) == before


def test_a_folder_that_cannot_be_changed_is_a_sentence_and_the_page_goes_on(
    app, copied, monkeypatch
):
    tester = app(copied.root, "cache")
    before = usage(copied)
    unlink = Path.unlink

    def refuse(path, *arguments, **options):
        if copied.root in path.parents and "objects" in path.parts:
            raise PermissionError(13, "Permission denied")
        unlink(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    tester.selectbox(key="cache:what").select("Everything").run()
    press(tester, f"Yes, free {size(before.bytes)}")
    assert "cannot be changed" in tester.error[0].value.replace("\\", "")
    assert tester.metric[0].value == size(before.bytes)


def test_hostile_names_are_text(app, tmp_path):
    store = Store(tmp_path / "hostile")
    label = "<script>alert(1)</script> ![x](http://x) $1$"
    store.put(Key(stage="features", version=1, inputs={}, label=label), "x")
    save_study(store, SMALL.model_copy(update={"name": "a_b_c + d"}))
    (store.root / "studies" / "[x](y) $z$.toml").write_text("name = 5")
    tester = app(store.root, "cache")
    store.close()
    assert not any("[x](" in m.value or "<script" in m.value for m in tester.markdown)
