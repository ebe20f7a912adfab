"""What the store keeps of studies beside their results: whole, or told; odd, and refused."""

import pytest

from klas.errors import StoreError
from klas.results.archive import pack
from klas.results.health import examine, mend
from klas.results.pair import pairs_of
from klas.results.refs import note_used, scores_ref, stored_scores, study_ref, used_ref
from klas.results.result import Machine
from klas.results.timings import note_timings, timings_of
from klas.results.usage import usage
from klas.storage.exports import storing_export
from klas.storage.sealed import seal
from klas.storage.trained import LIST, training_folder
from tests.conftest import SMALL
from tests.results.packs import minimal

KEY = SMALL.results_key()
ODD = [
    b'{"bytes": "x"}',
    b"5",
    b"null",
    b"[" * 200_000,
    b"\xff\xfe",
    b"",
    b'{"study": 5}',
    b'{"study": {"name": []}, "pairs": 7}',
    b'[["a", 1, {"device": 3}]]',
    b'["../../x"]',
]


@pytest.fixture
def kept(store, computed):
    """A store with one result of a study, its document and notes."""
    digest = minimal(store, document=computed[1])
    note_used(store, SMALL, [digest])
    return store


def pair(document):
    return pairs_of(document)[0]


def test_a_changed_figure_in_the_scores_document_is_noticed(kept, computed, tmp_path):
    file = kept.ref_path(scores_ref(KEY))
    value = computed[1]["anchors"][0]["accuracy"]
    assert examine(kept).problem == ""
    file.write_bytes(
        file.read_bytes().replace(f'"accuracy": {value}'.encode(), b'"accuracy": 0.99', 1)
    )
    assert b"0.99" in file.read_bytes()
    assert stored_scores(kept, SMALL) is None  # so no page, comparison or pack takes it
    with pytest.raises(StoreError, match="run `klas run`"):
        pack(kept, SMALL, tmp_path / "p")
    health = examine(kept)
    assert health.refs == (file.name,)
    assert f"damaged: refs/{file.name}" in health.sentences()
    assert "klas cache repair" in health.problem
    assert mend(kept).sentences()[-1] == f"deleted: refs/{file.name}"
    assert examine(kept).problem == ""


@pytest.mark.parametrize("ref", [scores_ref, used_ref, study_ref])
def test_a_flipped_bit_in_any_of_them_is_told(kept, ref):
    file = kept.ref_path(ref(KEY))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 2
    file.write_bytes(data)
    assert examine(kept).refs == (file.name,)
    usage(kept)
    mend(kept)
    assert not file.exists()


def test_those_of_an_older_klas_are_read_and_counted(kept, computed):
    for file in (kept.root / "refs").iterdir():
        file.write_bytes(file.read_bytes().splitlines()[0])
    assert stored_scores(kept, SMALL) == computed[1]
    assert usage(kept).unclaimed == 0
    health = examine(kept)
    assert (health.problem, health.unprotected) == ("", 3)
    assert "3 documents and notes of an older klas have no checksum" in "".join(health.sentences())


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("ref", ["scores", "used", "study", "latency"])
def test_odd_content_is_as_good_as_none(kept, computed, ref, odd):
    file = kept.ref_path(f"{ref}-{KEY}")
    file.write_bytes(odd)
    usage(kept)
    assert (stored_scores(kept, SMALL) is None) == (ref == "scores")
    assert timings_of(kept, SMALL, pair(computed[1])) == []
    health = examine(kept)
    assert file.name in (*health.refs, *health.others)
    note_used(kept, SMALL, ["0" * 64])
    note_timings(kept, SMALL, pair(computed[1]), Machine(device="cpu", threads=1, torch="2"))
    mend(kept)
    health = examine(kept)
    assert health.problem == ""
    # A run has put its own in the place of all but the document, which it writes at its end.
    assert set(health.others) <= {f"scores-{KEY}.json"}


def put_networks(store):
    """One that is exported, one that is trained, and a training that is not finished."""
    with storing_export(store, "one") as folder:
        (folder / "model.onnx").write_bytes(b"weights")
    for name in ("two", "three"):
        training_folder(store, name).mkdir(parents=True)
        (training_folder(store, name) / LIST).write_bytes(b"weights")
    seal(training_folder(store, "two"))


@pytest.mark.parametrize("file", ["exports/one/model.onnx", "trained/two/stitches.json"])
def test_networks_are_looked_at_too_and_mending_deletes_damaged_ones(kept, file):
    put_networks(kept)
    health = examine(kept)
    assert health.problem == ""
    assert (health.to_json()["exports_checked"], health.to_json()["trained_checked"]) == (1, 2)
    (kept.root / file).write_bytes(b"wreights")
    health, damaged = examine(kept), file.rpartition("/")[0]
    assert f"damaged: {damaged}" in health.sentences()
    assert "again" in health.problem
    assert examine(kept) == health  # a look changes nothing
    assert f"deleted: {damaged}" in mend(kept).sentences()
    assert not (kept.root / damaged).exists()
    assert examine(kept).problem == ""


def test_a_machine_is_noted_once_and_the_latest_is_last(kept, computed):
    one, two = (Machine(device="cpu", threads=n, torch="2") for n in (1, 2))
    for machine in (one, two, one):
        note_timings(kept, SMALL, pair(computed[1]), machine)
    noted = kept.get_ref(f"latency-{KEY}")
    assert [machine["threads"] for *_, machine in noted] == [2, 1]
