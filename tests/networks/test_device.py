import pytest
import torch
from torch import nn

from klas.errors import KlasError
from klas.networks.device import autocast, forward_precision, peak_device_bytes, pick_device, place
from klas.pipeline.run import Pipeline
from klas.study import STAGES
from tests.conftest import SMALL

CPU = torch.device("cpu")
BFLOAT16 = torch.bfloat16


def test_a_device_by_name_and_one_that_is_not_there():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(KlasError, match=f"'{name}' is not available"):
            pick_device(name)


def test_precision_is_bfloat16_only_where_asked_for_or_built_in(monkeypatch):
    assert forward_precision(CPU) == "float32"
    assert forward_precision(CPU, "bfloat16") == "bfloat16"
    cuda = torch.device("cuda")
    for native, wanted in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert forward_precision(cuda) == wanted
        assert forward_precision(cuda, "float32") == "float32"


def test_autocast_is_of_the_wanted_precision():
    layer, rows = nn.Linear(3, 2), torch.ones(1, 3)
    with autocast(CPU, "bfloat16"):
        assert layer(rows).dtype == BFLOAT16
    with autocast(CPU, "float32"):
        assert layer(rows).dtype == torch.float32


def test_channels_last_is_for_convolutions_on_cuda_alone(monkeypatch):
    convnet = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    patches = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4))
    place(convnet, CPU)
    assert not convnet[0].weight.is_contiguous(memory_format=torch.channels_last)
    moved = nn.Module.to
    monkeypatch.setattr(  # there is no such device here to move to
        nn.Module, "to", lambda self, *a, **k: moved(self, **k) if k else self
    )
    for network in (convnet, patches):
        place(network, torch.device("cuda"))
    assert convnet[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not patches[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_cpu_has_no_memory_of_its_own_to_report():
    assert peak_device_bytes(CPU) == 0


def test_results_of_two_precisions_never_stand_for_each_other(computed):
    store, document = computed
    rounded = SMALL.model_copy(update={"precision": "bfloat16"})
    pipeline = Pipeline(rounded, store, device="cpu")
    for stage in STAGES:
        for step in pipeline.steps(stage):
            assert not any(pipeline.context.has(result) for result in step.results)
    in_bfloat16 = pipeline.run("anchors")
    assert (document["precision"], in_bfloat16["precision"]) == ("float32", "bfloat16")
    for mine, theirs in zip(in_bfloat16["anchors"], document["anchors"]):
        assert abs(mine["accuracy"] - theirs["accuracy"]) < 0.02
    assert in_bfloat16["pairs"][0]["theta_output"] != document["pairs"][0]["theta_output"]
    assert in_bfloat16["pairs"][0]["theta_output"] == pytest.approx(
        document["pairs"][0]["theta_output"], rel=0.1
    )
