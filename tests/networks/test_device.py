import pytest
import torch
from torch import nn

from klas.errors import KlasError
from klas.networks.device import (
    LARGEST_BATCH,
    BatchSize,
    autocast,
    forward_precision,
    image_bytes,
    lacks_memory,
    memory_budget_bytes,
    peak_device_bytes,
    pick_device,
    place,
)
from klas.networks.layout import Layout
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


def test_bytes_of_an_image():
    tokens = Layout(channels=10, grid=(2, 2), prefix=1)  # 50 values
    small = Layout(channels=4, grid=(1, 1), prefix=0)  # 4 values
    assert image_bytes([tokens, tokens, small]) == 4 * (104 + 8 * 50)
    assert image_bytes([tokens], [small]) == 4 * (54 + 8 * 50)


def test_a_budget_and_a_peak_on_the_cpu(monkeypatch):
    assert memory_budget_bytes(CPU) == 2**30
    assert peak_device_bytes(CPU) == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000, 9_000_000))
    assert memory_budget_bytes(torch.device("cuda")) == 4_000_000


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (0, LARGEST_BATCH),
        (3_900, LARGEST_BATCH),
        (4_000, 128),
        (7_800, 128),
        (10**6, 1),
        (10**9, 1),
    ],
)
def test_the_first_batch_is_what_the_budget_holds(image, size):
    assert BatchSize(image, 10**6).size == size


class Network:
    """Takes batches up to a size; like a sweep it ticks after each."""

    def __init__(self, batch, limit, error, samples=300):
        self.batch, self.limit, self.error, self.samples = batch, limit, error, samples
        self.sizes = []

    def __call__(self, tick):
        self.sizes.append(self.batch.size)
        for start in range(0, self.samples, self.batch.size):
            if start >= 100 and self.batch.size > self.limit:
                raise self.error
            tick(min(self.batch.size, self.samples - start))
        return "done"


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError("Unable to allocate 9 GiB"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_the_batch_is_halved_until_it_fits_and_progress_counts_once(error):
    batch, ticks = BatchSize(1, 10**9), []
    network = Network(batch, 40, error)
    assert batch.retrying(network, ticks.append) == "done"
    assert network.sizes == [256, 128, 64, 32]
    assert batch.size == 32  # later work begins with what fitted
    assert sum(ticks) == 300
    assert min(ticks) > 0


def test_a_real_failure_to_allocate_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert lacks_memory(caught.value)


def test_one_image_that_does_not_fit_is_one_sentence():
    batch = BatchSize(1, 10**9)
    with pytest.raises(KlasError, match=r"single image.*--device"):
        batch.retrying(Network(batch, 0, NO_MEMORY[0]), lambda n: None)
    assert batch.size == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KlasError("out of memory")])
def test_other_errors_are_not_tried_again(error):
    batch = BatchSize(1, 10**9)
    network = Network(batch, 40, error)
    with pytest.raises(type(error), match=str(error)):
        batch.retrying(network, lambda n: None)
    assert network.sizes == [256]


def test_the_failed_attempts_tensors_are_let_go():
    import weakref

    batch, held = BatchSize(1, 10**9), []

    def make(tick):
        assert all(ref() is None for ref in held)
        activation = torch.zeros(3)
        held.append(weakref.ref(activation))
        if batch.size > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")

    batch.retrying(make, lambda n: None)
    assert len(held) == 3


def test_results_of_two_precisions_never_stand_for_each_other(computed):
    store, document = computed
    rounded = SMALL.model_copy(update={"precision": "bfloat16"})
    pipeline = Pipeline(rounded, store, device="cpu")
    for stage in STAGES:
        for _, _, tasks in pipeline.stages.tasks(stage):
            assert not any(store.has(task.key) for task in tasks)
    found = pipeline.run("anchors")
    assert (document["precision"], found["precision"]) == ("float32", "bfloat16")
    for mine, theirs in zip(found["anchors"], document["anchors"]):
        assert abs(mine["accuracy"] - theirs["accuracy"]) < 0.02
    assert found["pairs"][0]["theta_output"] != document["pairs"][0]["theta_output"]
    assert found["pairs"][0]["theta_output"] == pytest.approx(
        document["pairs"][0]["theta_output"], rel=0.1
    )
