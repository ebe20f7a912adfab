"""The Studies page in Streamlit's own test runner: empty, partial and full."""

import pytest

from dashboard.session.state import StudiesRow
from klas.errors import StoreError
from klas.jobs import listing
from klas.pipeline.run import Pipeline
from klas.results.usage import usage
from klas.storage.key import Key
from klas.storage.saved_studies import open_study, save_study, saved_studies
from klas.storage.store import Store
from klas.study import built_in_studies
from tests.conftest import SMALL
from tests.dashboard.reading import labels, press, session, table
from tests.expected_text import size

MINE = SMALL.model_copy(update={"name": "mine"})


@pytest.fixture
def alone(copied, monkeypatch, app):
    """The computed study saved as `mine`, and no file of it elsewhere."""
    save_study(copied, MINE)

    def start(**query):
        monkeypatch.delenv("KLAS_STUDY", raising=False)
        return app(copied.root, "studies", **query)

    return start


def row(tester, name):
    actual = table(tester, "study")
    return actual[actual["study"] == name].iloc[0]


def pick(tester, identity):
    """As a click on a row of the table does, which the test runner can't make."""
    session(tester).studies_row = StudiesRow(session(tester).study_name, identity)


def said(tester):
    return [s.value for s in tester.success]


def test_on_first_start_the_built_in_studies_are_there(app, tmp_path, monkeypatch):
    monkeypatch.delenv("KLAS_STUDY")
    tester = app(tmp_path / "empty", "studies")
    assert table(tester, "study")["study"].tolist() == [*built_in_studies()]
    assert row(tester, "digits")["tuned"] == "–"
    assert tester.subheader[0].value == "digits"
    assert "None of it is computed yet." in [m.value for m in tester.markdown]
    assert "Delete it" not in labels(tester)
    assert "Rename it" not in labels(tester)


def test_a_partial_run_shows_how_far_it_is(app, tmp_path):
    store = Store(tmp_path / "partial")
    Pipeline(SMALL, store, device="cpu").run("anchors")
    tester = app(store.root, "studies")
    actual = row(tester, "small.toml")
    assert (actual["anchors"], actual["probes"], actual["tuned"]) == ("✓", "–", "–")
    assert actual["size (MB)"] == pytest.approx(usage(store).bytes / 1e6)
    store.close()


def test_a_full_run_shows_all_stages_and_what_they_take(alone, copied):
    tester = alone(study="mine")
    actual = row(tester, "mine")
    stages = ("anchors", "probes", "scores", "zero_shot", "tuned")
    assert [actual[s] for s in stages] == ["✓"] * 5
    taken = usage(copied).bytes
    assert actual["size (MB)"] == actual["only its own (MB)"] == pytest.approx(taken / 1e6)
    assert actual["kept as"] == "saved here"
    assert size(taken) in "".join(m.value for m in tester.markdown)
    assert "klas cache pack mine --out mine.klas" in tester.code[0].value


def test_a_study_is_renamed_and_keeps_its_results(alone, copied):
    tester = alone(study="mine")
    tester.text_input[0].set_value("yours").run()
    press(tester, "Rename it")
    assert said(tester) == ["mine is named yours now\\. Its results stay\\."]
    assert tester.subheader[0].value == "yours"  # it stays the one at hand
    assert row(tester, "yours")["tuned"] == "✓"
    assert saved_studies(copied) == ["yours"]


@pytest.mark.parametrize("name", ["digits", "other", "../x", "[x](y)"])
def test_a_name_that_will_not_do_is_a_sentence(alone, copied, name):
    save_study(copied, SMALL.model_copy(update={"name": "other"}))
    tester = alone(study="mine")
    tester.text_input[0].set_value(name).run()
    press(tester, "Rename it")
    assert len(tester.error) == 1
    assert saved_studies(copied) == ["mine", "other"]


def test_a_copy_shares_the_results_and_protects_them(alone, copied):
    tester = alone(study="mine")
    press(tester, "Save the copy")
    assert saved_studies(copied) == ["mine", "mine 2"]
    assert row(tester, "mine")["only its own (MB)"] == 0
    assert any("What it shares with mine 2 stays" in m.value for m in tester.markdown)
    assert next(b for b in tester.button if b.label == "Free 0 B").disabled


def test_its_results_are_freed_and_the_study_stays(alone, copied):
    tester = alone(study="mine")
    taken = usage(copied).bytes
    press(tester, f"Free {size(taken)}")
    assert said(tester)[0].replace("\\", "") == f"Freed {size(taken)}."
    assert row(tester, "mine")["tuned"] == "–"
    assert saved_studies(copied) == ["mine"]
    assert usage(copied).bytes == 0


@pytest.mark.parametrize("too", [True, False])
def test_a_study_is_deleted_with_or_without_its_results(alone, copied, too):
    tester = alone(study="mine")
    taken = usage(copied).bytes
    tester.checkbox[0].set_value(too).run()
    press(tester, "Delete it")
    assert saved_studies(copied) == []
    assert table(tester, "study")["study"].tolist() == [*built_in_studies()]
    assert usage(copied).bytes == (0 if too else taken)
    assert usage(copied).unclaimed == (0 if too else taken)


def test_a_study_known_by_its_results_can_be_kept_or_freed(copied, app, monkeypatch):
    monkeypatch.delenv("KLAS_STUDY")
    tester = app(copied.root, "studies")
    assert row(tester, "small")["kept as"] == "its results alone"
    pick(tester, f"results:small:{SMALL.results_key()}")
    tester.run()
    assert tester.subheader[0].value == "small"
    press(tester, "Save it here")
    assert open_study(copied, "small").content() == SMALL.content()  # a document has no engine
    assert row(tester, "small")["kept as"] == "saved here"


def test_a_study_deleted_or_changed_in_another_tab_is_a_sentence(alone, copied):
    tester = alone(study="mine")
    changed = MINE.model_copy(update={"seed": 77})
    delete = next(b for b in tester.button if b.label == "Delete it")
    # The other tab is quicker, while this one still holds what it saw.
    from klas.storage import saved_studies as module

    real = module.open_study

    def meanwhile(store, name):
        save_study(copied, changed, replace=True)
        return real(store, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_study", meanwhile)
        delete.click().run()
    assert "was changed meanwhile" in tester.error[0].value
    assert saved_studies(copied) == ["mine"]
    (copied.root / "studies" / "mine.toml").unlink()
    tester.run()
    assert not tester.exception
    assert "There is no study" in tester.warning[0].value


def test_a_study_whose_file_makes_no_sense_is_said_and_can_go(alone, copied):
    (copied.root / "studies" / "mine.toml").write_text("name = 5")
    tester = alone(study="mine")
    assert "mine.toml" in tester.error[0].value.replace("\\", "")
    assert "Rename it" not in labels(tester)
    press(tester, "Delete it")
    assert saved_studies(copied) == []


BAD = {
    "a number too large": "seed = 0x" + "f" * 5_000,
    "a key too long": "a" + ".a" * 2_000 + " = 1",
    "no end": "seed = " + "[" * 3_000,
    "no study": "name = 5",
}
"""Study files that once took the page down, or might."""


def bad_studies(root):
    """A store with one result, and each of these files beside a good study."""
    store = Store(root)
    store.put(Key(stage="features", version=1, inputs={}), "x")
    save_study(store, MINE)
    for name, text in BAD.items():
        (store.root / "studies" / f"{name}.toml").write_text(text)
    store.close()
    return store.root


def test_a_bad_study_is_a_line_in_the_list_with_its_sentence(app, tmp_path):
    tester = app(bad_studies(tmp_path / "bad"), "studies")
    assert not tester.error
    assert row(tester, "mine")["problem"] == ""
    for name in BAD:
        assert row(tester, name)["problem"].startswith(f"{name}.toml: ")
        assert str(tmp_path) not in row(tester, name)["problem"]


def test_nothing_is_freed_under_a_running_job_and_the_table_says_it_runs(
    alone, copied, monkeypatch
):
    monkeypatch.setattr(listing, "studies_at_work", lambda _: ["mine"])
    tester = alone(study="mine")
    assert row(tester, "mine")["now"] == "computing …"
    before = usage(copied)
    press(tester, "Delete it")
    assert "a job is computing study mine" in tester.error[0].value
    assert usage(copied) == before


def test_a_disk_that_is_full_is_a_sentence_and_the_page_goes_on(alone, copied, monkeypatch):
    tester = alone(study="mine")

    def full(*_, **__):
        raise StoreError("No space left on device")

    monkeypatch.setattr(Store, "write_file", full)
    press(tester, "Save the copy")
    assert tester.error[0].value == "No space left on device"
    assert table(tester, "study")["study"].tolist() == [*built_in_studies(), "mine"]


def test_hostile_names_are_text(app, tmp_path, monkeypatch):
    monkeypatch.delenv("KLAS_STUDY")
    store = Store(tmp_path / "hostile")
    save_study(store, MINE)
    path = store.root / "studies" / "[x](javascript) $z$ <b>.toml"
    path.write_text("name = 5")
    tester = app(store.root, "studies")
    pick(tester, f"saved:{path.stem}:")
    tester.run()
    store.close()
    shown = [tester.subheader[0].value, *(m.value for m in tester.markdown)]
    assert not any("[x](" in text for text in shown)
    assert tester.error
