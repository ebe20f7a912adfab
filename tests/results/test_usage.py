"""What the store holds by study: against sets that are counted by hand."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klas.errors import JobError, StoreError, StudyError
from klas.results.freeing import (
    delete_study,
    free_everything,
    free_stage,
    free_study,
    free_unclaimed,
)
from klas.results.refs import note_used
from klas.results.stages import stages_done
from klas.results.usage import claimed, usage
from klas.storage.catalogue import catalogue_key, part_key
from klas.storage.key import Key
from klas.storage.objects import files_of_results
from klas.storage.saved_studies import open_study, save_study, saved_studies
from klas.storage.store import Store
from klas.study import DIGITS, FinetuningSpec, built_in_studies
from tests.conftest import SMALL
from tests.small_catalogue import put_catalogue

A, B, C = (SMALL.model_copy(update={"name": n, "seed": 10 + k}) for k, n in enumerate("abc"))


def put(store, name, stage="features"):
    """A result of a known size; returns its digest."""
    key = Key(stage=stage, version=1, inputs={"name": name}, label=name)
    store.put(key, name)
    return key.digest


def note(store, study, digests):
    """What a run leaves behind: which results it used, and a document."""
    key = study.results_key()
    store.set_ref(f"used-{key}", sorted(digests))
    store.set_ref(f"scores-{key}", {"study": study.model_dump(mode="json")})


def held(store, name, files=()):
    return next(h for h in usage(store, files).studies if h.known.name == name)


def here(store):
    return {e.digest for e in store.entries()}


def bytes_of(store):
    return sum(p.stat().st_size for p in files_of_results(store.root))


def test_an_empty_store_knows_the_built_in_studies_alone(store):
    assert [h.known.name for h in usage(store).studies] == [*built_in_studies()]
    for there in usage(store).studies:
        assert there.known.origin == "built-in"
        assert (there.bytes, there.results, there.done, there.changed) == (0, 0, {}, None)
        assert not there.complete
    assert usage(store).bytes == 0


def test_shared_results_count_with_each_study_but_are_freed_with_neither(store):
    one, two, both, nobody = (put(store, n) for n in ("one", "second", "both of them", "nobody"))
    for study, digests in ((A, [one, both]), (B, [two, both])):
        save_study(store, study)
        note(store, study, digests)
    a, b = held(store, "a"), held(store, "b")
    assert (a.bytes, a.freeable, a.results) == (5 + 14, 5, 2)  # as JSON, with its quotes
    assert (b.bytes, b.freeable, b.shared_with) == (8 + 14, 8, ("a",))
    assert usage(store).unclaimed == 8
    assert usage(store).bytes == 5 + 8 + 14 + 8
    assert usage(store).stages == {"features": (4, 35)}
    assert [e.digest for e in claimed(store, A)] == sorted([one, both])
    assert free_study(store, A, at_work=()) == 5
    assert here(store) == {two, both, nobody}
    assert held(store, "a").results == 0
    assert held(store, "b").freeable == 8 + 14  # nobody shares it any more
    assert free_unclaimed(store, at_work=()) == 8
    assert here(store) == {two, both}


@settings(max_examples=30, deadline=None)
@given(
    uses=st.lists(st.frozensets(st.integers(0, 7)), min_size=3, max_size=3),
    stages=st.lists(st.sampled_from(["features", "tuned"]), min_size=8, max_size=8),
    order=st.permutations([A, B, C]),
)
def test_what_is_promised_is_what_goes(tmp_path_factory, uses, stages, order):
    store = Store(tmp_path_factory.mktemp("random"))
    digests = [put(store, "x" * (10 + k), stages[k]) for k in range(8)]
    wanted = dict(zip("abc", uses))
    for study in (A, B, C):
        save_study(store, study)
        note(store, study, [digests[k] for k in wanted[study.name]])
    for study in order:
        mine, others = wanted[study.name], set().union(*wanted.values())
        others = set().union(*(u for n, u in wanted.items() if n != study.name))
        promised = held(store, study.name).freeable
        before = bytes_of(store)
        assert promised == sum(12 + k for k in mine - others)
        assert delete_study(store, study.name, study, at_work=(), with_results=True) == promised
        assert before - bytes_of(store) == promised
        wanted[study.name] = frozenset()
        # The others have everything that is theirs.
        assert {digests[k] for n in wanted for k in wanted[n]} <= here(store)
    unclaimed = usage(store).unclaimed
    assert unclaimed == bytes_of(store)
    assert free_unclaimed(store, at_work=()) == unclaimed
    assert here(store) == set()
    store.close()


def test_studies_with_the_same_results_protect_each_other(store):
    twin = A.model_copy(update={"name": "twin", "finetuning": FinetuningSpec(steps=3)})
    assert twin.results_key() == A.results_key()
    digest = put(store, "x")
    note(store, A, [digest])
    for study in (A, twin):
        save_study(store, study)
    assert (held(store, "a").freeable, held(store, "a").shared_with) == (0, ("twin",))
    assert free_study(store, A, at_work=()) == 0
    assert delete_study(store, "a", A, at_work=(), with_results=True) == 0
    assert held(store, "twin").results == 1  # what it uses is still known
    assert free_study(store, twin, at_work=()) == 3


def test_a_study_run_from_a_file_elsewhere_is_known_by_its_document(store, tmp_path):
    digest = put(store, "x")
    note(store, A, [digest])
    assert held(store, "a").known.origin == "results"
    assert usage(store).unclaimed == 0
    path = tmp_path / "mine.toml"
    path.write_text(A.to_toml())
    assert [h.known.name for h in usage(store, [path]).studies] == [
        *built_in_studies(),
        "mine.toml",
    ]
    assert held(store, "mine.toml", [path]).freeable == 3
    assert free_study(store, A, at_work=()) == 3
    assert [h.known.name for h in usage(store).studies] == [*built_in_studies()]


def test_results_noted_by_an_older_klas_are_still_the_studys(store):
    digest = put(store, "x")
    save_study(store, A)
    store.set_ref("used-old", [digest])
    store.set_ref("scores-old", {"study": A.model_dump(mode="json")})
    assert held(store, "a").freeable == 3
    assert [h.known.name for h in usage(store).studies] == [*built_in_studies(), "a"]
    assert delete_study(store, "a", A, at_work=(), with_results=True) == 3
    assert store.get_ref("used-old") is None


@pytest.mark.parametrize("junk", [[1], "text", {"study": 5}, {"study": {"name": "x"}}, None])
def test_refs_that_no_run_has_written_are_passed_over(store, junk):
    store.set_ref("scores-junk", junk)
    store.set_ref("used-junk", junk)
    store.set_ref("study-junk", junk)
    put(store, "x")
    save_study(store, A)
    store.set_ref(f"used-{A.results_key()}", junk)
    actual = usage(store)
    assert [h.known.name for h in actual.studies] == [*built_in_studies(), "a"]
    assert actual.unclaimed == 3


def test_the_catalogue_is_everybodys(store):
    put_catalogue(store)
    assert usage(store).unclaimed == 0
    assert free_unclaimed(store, at_work=()) == 0
    assert here(store) == {catalogue_key().digest}


def test_the_parts_of_a_catalogue_are_everybodys_until_it_is_whole(store):
    part = part_key("vit", ["vit_tiny"])
    store.put(part, [])
    assert usage(store).unclaimed == 0
    assert free_unclaimed(store, at_work=()) == 0
    put_catalogue(store)
    assert usage(store).unclaimed == 2  # as JSON
    assert free_unclaimed(store, at_work=()) == 2
    assert here(store) == {catalogue_key().digest}


def test_a_study_run_from_a_file_elsewhere_is_known_before_its_first_document(store):
    digest = put(store, "x")
    note_used(store, A, [digest, "0" * 64])
    assert usage(store).unclaimed == 0
    assert (held(store, "a").known.origin, held(store, "a").results) == ("results", 1)
    assert free_study(store, A, at_work=()) == 3
    assert [h.known.name for h in usage(store).studies] == [*built_in_studies()]
    assert list((store.root / "refs").iterdir()) == []


def test_a_study_elsewhere_whose_results_are_gone_is_not_listed(store):
    note_used(store, A, [put(store, "x")])
    assert free_stage(store, "features", at_work=()) == 3
    assert [h.known.name for h in usage(store).studies] == [*built_in_studies()]


def test_freeing_a_stage_takes_the_documents_that_speak_of_it(store):
    tuned, features = put(store, "x", "tuned"), put(store, "y", "features")
    save_study(store, A)
    note(store, A, [tuned, features])
    note(store, B, [])
    assert free_stage(store, "features", at_work=()) == 3
    # Pages show nothing of features, which are the largest by far.
    assert store.get_ref(f"scores-{A.results_key()}") is not None
    assert free_stage(store, "tuned", at_work=()) == 3
    assert store.get_ref(f"scores-{A.results_key()}") is None
    assert store.get_ref(f"scores-{B.results_key()}") is not None
    assert store.get_ref(f"used-{A.results_key()}") is not None


def test_one_stage_of_one_study(store):
    mine, shared, other = (put(store, n) for n in ("m", "s", "o"))
    kept = put(store, "k", "tuned")
    for study, digests in ((A, [mine, shared, kept]), (B, [other, shared])):
        save_study(store, study)
        note(store, study, digests)
    assert free_study(store, A, at_work=(), stage="features") == 3
    assert here(store) == {shared, other, kept}
    assert held(store, "a").results == 2


def test_everything_goes_but_the_studies(store):
    save_study(store, A)
    note(store, A, [put(store, "x")])
    assert free_everything(store, at_work=()) == 3
    assert here(store) == set()
    assert saved_studies(store) == ["a"]


def test_deleting_without_its_results_leaves_them_to_nobody(store):
    save_study(store, A)
    note(store, A, [put(store, "x")])
    assert delete_study(store, "a", A, at_work=(), with_results=False) == 0
    assert saved_studies(store) == []
    assert [h.known.name for h in usage(store).studies] == [*built_in_studies()]
    assert usage(store).unclaimed == 3


def test_the_built_in_studys_results_can_be_freed_but_not_itself(store):
    note(store, DIGITS, [put(store, "x")])
    with pytest.raises(StudyError, match="no saved study 'digits'"):
        delete_study(store, "digits", DIGITS, at_work=(), with_results=True)
    assert free_study(store, DIGITS, at_work=()) == 3


def test_a_study_changed_or_deleted_meanwhile_is_not_deleted(store):
    save_study(store, A)
    note(store, A, [put(store, "x")])
    changed = A.model_copy(update={"seed": 99})
    save_study(store, changed, replace=True)
    with pytest.raises(StudyError, match="'a' was changed meanwhile"):
        delete_study(store, "a", A, at_work=(), with_results=True)
    assert open_study(store, "a") == changed
    assert len(here(store)) == 1
    delete_study(store, "a", changed, at_work=(), with_results=True)
    with pytest.raises(StudyError, match="no saved study 'a'"):
        delete_study(store, "a", changed, at_work=(), with_results=True)


def test_a_study_whose_file_makes_no_sense_is_listed_and_deleted(store):
    save_study(store, A)
    (store.root / "studies" / "a.toml").write_text("name = 5")
    actual = held(store, "a")
    assert actual.known.study is None
    assert "a.toml" in actual.known.problem
    delete_study(store, "a", None, at_work=(), with_results=True)
    assert saved_studies(store) == []


def test_nothing_is_freed_under_a_running_job(store):
    save_study(store, A)
    save_study(store, B)
    note(store, A, [put(store, "x")])
    note(store, B, [put(store, "yy")])
    at_work = ["a"]
    for act in (
        lambda: free_study(store, A, at_work=at_work),
        lambda: delete_study(store, "a", A, at_work=at_work, with_results=True),
        lambda: free_stage(store, "features", at_work=at_work),
        lambda: free_unclaimed(store, at_work=at_work),
        lambda: free_everything(store, at_work=at_work),
    ):
        with pytest.raises(JobError, match="computing study a; wait until it ends, or cancel"):
            act()
    assert len(here(store)) == 2
    assert free_study(store, B, at_work=at_work) == 4  # it is about another
    assert free_study(store, A, at_work=[None]) == 3  # the catalogue is of no study
    with pytest.raises(JobError, match="catalogue of networks"):
        free_everything(store, at_work=[None])


def test_a_result_that_cannot_be_deleted_is_a_sentence(store, monkeypatch):
    save_study(store, A)
    note(store, A, [put(store, "x")])

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    for act in (
        lambda: free_study(store, A, at_work=()),
        lambda: free_stage(store, "features", at_work=()),
        lambda: free_everything(store, at_work=()),
        lambda: delete_study(store, "a", A, at_work=(), with_results=True),
    ):
        with pytest.raises(StoreError, match="Permission denied"):
            act()
    assert saved_studies(store) == ["a"]


def test_a_computed_study_has_every_stage_and_all_of_its_results(computed):
    store, document = computed
    actual = held(store, "small")
    assert actual.complete
    pairs, anchors = len(document["pairs"]), len(document["anchors"])
    assert dict(actual.done) == {
        "anchors": (anchors, anchors),
        "probes": (anchors, anchors),
        "scores": (pairs, pairs),
        "zero_shot": (pairs, pairs),
        "tuned": (pairs, pairs),
    }
    assert {"features", "probes", "scores", "zero_shot", "tuned"} <= actual.stages.keys()
    assert actual.changed is not None
    assert sum(actual.stages.values()) == actual.bytes


def test_stages_are_read_from_the_document_as_far_as_it_goes():
    anchors = [{"probe_accuracy": None}, {"probe_accuracy": [0.5]}]
    candidates = [{"accuracy": {"zero_shot": 0.5, "tuned": None}}]
    pairs = [
        {"theta": [[0.0]], "candidates": candidates},
        {"theta": [[0.0]], "candidates": []},
        {"theta": None, "candidates": []},
    ]
    assert stages_done({"anchors": anchors, "pairs": pairs}) == {
        "anchors": (2, 2),
        "probes": (1, 2),
        "scores": (2, 3),
        "zero_shot": (2, 3),
        "tuned": (1, 3),
    }
    for junk in (None, 5, [], {}, {"anchors": 5, "pairs": []}, {"anchors": [{}], "pairs": [{}]}):
        assert stages_done(junk) == {}
