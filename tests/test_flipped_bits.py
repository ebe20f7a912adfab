"""A flipped bit in any kind of file that the store keeps is told or harmless, and costs nothing."""

import pytest

from klas.errors import KlasError
from klas.jobs.kinds import RunJob
from klas.jobs.listing import all_jobs
from klas.jobs.submission import Submission, job_id, plain_study
from klas.results.health import examine, mend
from klas.results.refs import note_used
from klas.results.usage import usage
from klas.storage.saved_studies import save_study
from klas.storage.store import Store
from tests.conftest import SMALL
from tests.results.packs import minimal
from tests.storage.test_kills import ARRAYS, ROWS, TEXT, contents, networks

JOB = job_id(SMALL, RunJob(until="probes"))
KINDS = {
    "a result as JSON": f"objects/*/{TEXT.digest}.json",
    "arrays": f"objects/*/{ARRAYS.digest}.safetensors",
    "arrays written in rows": f"objects/*/{ROWS.digest}.safetensors",
    "what a result says of itself": f"objects/*/{TEXT.digest}.entry",
    "the index": "index/cache.db",
    "a scores document": "refs/scores-*.json",
    "the note of a study's results": "refs/used-*.json",
    "the note of a study": "refs/study-*.json",
    "a saved study": "studies/*.toml",
    "an export": "exports/*/model.onnx",
    "a trained network": "trained/*/model.safetensors",
    "their checksums": "*/one/SHA256SUMS",
    "a job": f"jobs/{JOB}/job.json",
    "a job's status": f"jobs/{JOB}/status.json",
}
FREE = ("the index", "a saved study", "a job", "a job's status")
"""What has no checksum: a flip may make another file of them that is as good."""


def kept(root, document):
    """A store that has a file of every kind."""
    networks(root)
    with Store(root) as store:
        minimal(store, document=document)
        note_used(store, SMALL, [TEXT.digest])
        save_study(store, SMALL.model_copy(update={"name": "mine"}))
        (root / "jobs" / JOB).mkdir()
        spec = RunJob(until="probes").model_dump(mode="json")
        asked = Submission(study=plain_study(SMALL), task=spec, submitted=1.0, device="cpu")
        store.write_file(root / "jobs" / JOB / "job.json", asked.model_dump_json().encode())
        status = asked.first_status(1).to_bytes()
        store.write_file(root / "jobs" / JOB / "status.json", status)


def flipped(root, kind, bit):
    """Flip a bit in a file of each place that the kind names; returns what was told of it."""
    for path in root.glob(KINDS[kind]):
        data = bytearray(path.read_bytes())
        place = bit * 7919 % (8 * len(data))
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
    try:
        with Store(root) as store:
            all_jobs(store)
            usage(store)
            return examine(store).problem
    except KlasError as error:
        return str(error)


def restored(root):
    """Repair, then what a run and jobs make of it."""
    with Store(root) as store:
        mend(store)
        assert examine(store).problem == ""
    networks(root)
    return contents(root)


def results(files):
    return {name: content for name, content in files.items() if name.startswith("objects")}


FEW, MANY = range(3), range(3, 150)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "bits", [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.soak)]
)
def test_a_flipped_bit(kind, bits, computed, tmp_path):
    kept(tmp_path / "whole", computed[1])
    expected = results(contents(tmp_path / "whole"))
    for bit in bits:
        root = tmp_path / str(bit)
        kept(root, computed[1])
        told = flipped(root, kind, bit)
        assert told or kind in (*FREE, "what a result says of itself"), (kind, bit)
        after = results(restored(root))
        assert after == expected, (kind, bit)
