"""What a worker makes of an export job: one file, which gives the outputs of the stitch."""

import subprocess
import sys
import zipfile

import pytest
import torch

import klas
from klas.deploy.export.stored import stored_network
from klas.jobs import process
from klas.jobs.kinds import ExportJob
from klas.results.pair import pairs_of
from klas.storage.exports import export_bytes, stored_export
from klas.storage.locks import try_lock
from tests.conftest import SMALL
from tests.jobs.workers import finished, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_worker_left")]
IMAGES = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def stitch(computed, to):
    """A job for the first stitch of the first pair."""
    pair = pairs_of(computed[1])[0]
    (i, j), (source, target) = pair.everywhere[0], pair.names
    name = f"{source}:{i}-{target}:{j}"
    return ExportJob(member=name, pair=pair.names, tier="tuned", to=to)


def done(store, job):
    name = process.start(store, SMALL, job)
    status = wait_for(store, name, finished)
    assert status.state == "done", status.error
    return stored_export(store, name), status.answer


def outputs(network):
    with torch.no_grad():
        return network(IMAGES)


def test_a_folder_comes_as_a_zip_and_its_lines_load_the_stitch(
    computed, on_cpu, tmp_path, monkeypatch
):
    store, job = computed[0], stitch(computed, "safetensors")
    with (store.root / "locks" / "device-cpu.lock").open("ab") as device:
        assert try_lock(device)  # as another worker does, behind which it would wait
        kept, answer = done(store, job)
    assert answer.beside_other_work
    assert answer.difference == 0
    assert answer.milliseconds > 0
    assert kept.is_whole()
    assert export_bytes(store) > kept.path.stat().st_size > 4 * answer.params
    assert kept.path.name.startswith("small-digits_vit_tiny-")
    with zipfile.ZipFile(kept.path) as packed:
        assert packed.testzip() is None
        packed.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    expected = stored_network(store, SMALL, job.member, "tuned")
    assert (answer.macs, answer.params) == (expected.member.macs, expected.member.params)
    found = {}
    exec("\n".join(answer.python[:2]), found)
    assert torch.equal(outputs(found["network"]), outputs(expected))
    assert isinstance(found["network"], klas.deploy.network.Network)


def test_a_file_comes_as_it_is_and_its_lines_load_it_without_klas(computed, on_cpu, tmp_path):
    store, job = computed[0], stitch(computed, "torch")
    kept, answer = done(store, job)
    assert kept.path.suffix == ".pt2"
    code = "\n".join([*answer.python, "print(how['name'], network)"])
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=kept.path.parent, capture_output=True, text=True
    )
    assert ran.stdout.startswith(f"{job.member} "), ran.stderr
    network = torch.export.load(kept.path).module()
    expected = stored_network(store, SMALL, job.member, "tuned")
    torch.testing.assert_close(outputs(network), outputs(expected), rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_a_sentence_and_leaves_nothing(computed, on_cpu):
    store = computed[0]
    before = export_bytes(store)
    job = ExportJob(member="digits_vit_tiny", pair=None, tier=None, to="timm", fused=True)
    name = process.start(store, SMALL, job)
    status = wait_for(store, name, finished)
    assert status.state == "failed"
    assert "has nothing that timm can fuse" in status.error
    assert stored_export(store, name) is None
    assert export_bytes(store) == before
