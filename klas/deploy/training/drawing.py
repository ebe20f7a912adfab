"""Random choices of libraries that draw from global states, made a function of what is asked."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

AUGMENTATION, ERASING, MIXING, DROPOUT = range(1, 5)
"""What is drawn: the first number of a seed, so that no two draws are the same by accident."""


@contextmanager
def drawn(*seed: int) -> Iterator[None]:
    """Seed what Python, numpy and torch draw from on the CPU, and put it back afterwards.

    All three belong to the process, so no other thread may draw meanwhile.

    Examples:
        >>> with drawn(AUGMENTATION, 0, 7):
        ...     first = random.random(), np.random.rand(), torch.rand(())
        >>> with drawn(AUGMENTATION, 0, 7):
        ...     first == (random.random(), np.random.rand(), torch.rand(()))
        True
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for_python, for_numpy, for_torch = words(*seed, count=3)
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.default_generator.manual_seed(for_torch)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def words(*seed: int, count: int) -> list[int]:
    """So many numbers of 32 bits that nothing connects but the seed."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(count)]
