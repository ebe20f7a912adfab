import weakref

import pytest
import torch

from klas.errors import KlasError
from klas.networks.batch_size import (
    LARGEST_BATCH,
    BatchSize,
    image_bytes,
    lacks_memory,
    memory_budget_bytes,
)
from klas.networks.layout import Layout


def test_bytes_of_an_image():
    tokens = Layout(channels=10, grid=(2, 2), prefix=1)  # 50 values
    small = Layout(channels=4, grid=(1, 1), prefix=0)  # 4 values
    assert image_bytes([tokens, tokens, small]) == 4 * (104 + 8 * 50)
    assert image_bytes([tokens], [small]) == 4 * (54 + 8 * 50)


def test_the_memory_budget_of_a_device(monkeypatch):
    assert memory_budget_bytes(torch.device("cpu")) == 2**30
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
    batch, activations = BatchSize(1, 10**9), []

    def make(tick):
        assert all(ref() is None for ref in activations)
        activation = torch.zeros(3)
        activations.append(weakref.ref(activation))
        if batch.size > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")

    batch.retrying(make, lambda n: None)
    assert len(activations) == 3
