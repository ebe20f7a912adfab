"""Which device a job may take, found without torch."""

import os

import pytest

from klas.jobs.queue import places, visible_gpus


def locks(wish, gpus):
    return [(place.device, place.lock) for place in places(wish, gpus)]


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
def test_a_wish_becomes_places_in_order(wish, gpus, expected):
    assert locks(wish, gpus) == expected


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
