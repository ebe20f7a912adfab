"""Which device a job may take, and which job takes it first; all of it without torch."""

import os
import signal
from types import SimpleNamespace

import pytest

from klas.jobs import process
from klas.jobs import queue as queues
from klas.jobs.listing import all_jobs, status_of, studies_at_work
from klas.jobs.queue import device_slots, devices_for, visible_gpus
from tests.jobs.workers import (
    RUN,
    at_work,
    finished,
    queue_up,
    tiny_study,
    wait_for,
    waiting,
)

pytestmark = pytest.mark.usefixtures("no_worker_left")


@pytest.mark.slow
def test_jobs_wait_for_the_device_and_go_in_the_order_they_came(store, on_cpu, hold):
    (device,) = hold("cpu")
    first, second, third = queue_up(store, 3)
    assert waiting(store) == [first, second, third]
    assert studies_at_work(store) == ["study 2", "study 1", "study 0"]
    assert [(j.id, j.before) for j in all_jobs(store)] == [(third, 2), (second, 1), (first, 0)]
    assert process.start(store, tiny_study(0), RUN) == first  # asked for again, it keeps its place
    assert waiting(store)[0] == first
    device.close()
    for ahead, behind in ((first, second), (second, third)):
        status = wait_for(store, ahead, at_work)
        assert status.began >= status.started
        assert status_of(store, behind).state == "queued"
        process.cancel(store, ahead)
    wait_for(store, third, at_work)
    assert waiting(store) == []


@pytest.mark.slow
def test_a_queued_job_is_cancelled_at_once_and_a_killed_one_holds_up_nobody(store, on_cpu, hold):
    (device,) = hold("cpu")
    first, second, third = queue_up(store, 3)
    process.cancel(store, first)
    assert wait_for(store, first, finished, seconds=10).state == "cancelled"
    os.kill(status_of(store, second).pid, signal.SIGKILL)
    assert wait_for(store, second, finished, seconds=10).state == "died"
    assert waiting(store) == [third]
    device.close()
    wait_for(store, third, at_work)
    assert {status_of(store, job).state for job in (first, second)} == {"cancelled", "died"}


@pytest.mark.slow
def test_each_of_two_devices_has_a_worker_of_its_own(store, monkeypatch, hold):
    monkeypatch.delenv("KLAS_DEVICE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    other, device = hold("gpu-4", "gpu-7")
    first, second, third = queue_up(store, 3)
    other.close()
    wait_for(store, first, at_work)
    assert waiting(store) == [second, third]
    device.close()
    wait_for(store, second, at_work)
    assert waiting(store) == [third]


@pytest.mark.slow
def test_a_job_for_another_device_overtakes(store, monkeypatch, hold):
    hold("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("KLAS_DEVICE", "cpu")
    (first,) = queue_up(store, 1)
    monkeypatch.setenv("KLAS_DEVICE", "cuda:1")
    second = process.start(store, tiny_study(1), RUN)
    wait_for(store, second, at_work)
    assert waiting(store) == [first]


def devices_of(store, job, wish="auto"):
    """The devices that a job would get now."""
    with devices_for(store, job, wish) as taken:
        return [slot.device for slot in taken]


def test_a_job_takes_every_free_device_that_nobody_waits_for(store, monkeypatch, hold):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    queue = []
    monkeypatch.setattr(queues, "waiting", lambda store: queue)
    me, behind, at_cpu = (
        SimpleNamespace(id=name, device=device)
        for name, device in (("me", "auto"), ("behind", "cuda:1"), ("at the CPU", "cpu"))
    )
    assert devices_of(store, "me") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of(store, "me", "cuda:1") == ["cuda:1"]
    queue[:] = [me, at_cpu]
    assert devices_of(store, "me") == ["cuda:0", "cuda:1", "cuda:2"]
    queue[:] = [me, behind]
    assert devices_of(store, "me") == ["cuda:0", "cuda:2"]
    queue[:] = [me, behind, SimpleNamespace(id="third", device="auto")]
    assert devices_of(store, "me") == ["cuda:0"]
    queue[:] = [behind, me]
    assert devices_of(store, "me") == ["cuda:0", "cuda:2"]
    queue.clear()
    hold("gpu-4")
    assert devices_of(store, "me") == ["cuda:1", "cuda:2"]
    monkeypatch.setattr(queues.time, "sleep", time_out)
    with devices_for(store, "me", "auto"), pytest.raises(TimeoutError):
        devices_of(store, "another")  # it waits, for all are held


def time_out(seconds):
    raise TimeoutError


def slots(wish, gpus):
    return [(slot.device, slot.lock) for slot in device_slots(wish, gpus)]


@pytest.mark.parametrize(
    ("wish", "gpus", "expected"),
    [
        ("auto", [], [("auto", "cpu")]),
        ("cpu", ["0"], [("cpu", "cpu")]),
        ("mps", [], [("mps", "cpu")]),
        ("auto", ["0", "1"], [("cuda:0", "gpu-0"), ("cuda:1", "gpu-1")]),
        ("cuda", ["0"], [("cuda:0", "gpu-0")]),
        ("cuda:1", ["4", "7"], [("cuda:1", "gpu-7")]),
        ("cuda:3", ["0"], [("cuda:3", "cuda-3")]),  # the worker says that there is none
        ("../xpu", [], [("../xpu", "---xpu")]),
    ],
)
def test_a_wish_becomes_slots_in_order(wish, gpus, expected):
    assert slots(wish, gpus) == expected


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("4,7", ["4", "7"]), ("", []), ("-1", []), ("GPU-8a/b, 1", ["GPU-8a-b", "1"])],
)
def test_gpus_are_those_that_the_environment_leaves_visible(monkeypatch, variable, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == expected


def test_without_the_variable_the_driver_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n"
        "echo '  MIG 1g.18gb Device 0: (UUID: MIG-1)'\n"
        "echo 'GPU 1: NVIDIA H200 (UUID: GPU-2)'\n"
    )
    os.chmod(tool, 0o755)
    assert visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'GPU 0: lost'\nexit 9\n")
    assert visible_gpus() == []
