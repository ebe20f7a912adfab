"""Whether what was written gives the outputs of the network that it was written from."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from klas.errors import ExportError

Run = Callable[[Tensor], Tensor]
"""Prepared images (N, C, H, W) to logits (N, classes), on the CPU."""

BATCHES = (1, 5)
"""Neither is the example's that a network is traced with (:data:`EXAMPLE`)."""

EXAMPLE = 2

TOLERANCE = 1e-4
"""How far outputs may be from the network's, relative to the largest of them, or to 1.

Other kernels round otherwise: a deep network in float32 differs by a few millionths.
"""


def example_images(input_size: tuple[int, int, int], batch: int) -> Tensor:
    """Seeded noise in place of images that are prepared, (batch, C, H, W)."""
    return torch.randn(batch, *input_size, generator=torch.Generator().manual_seed(batch))


def largest_difference(network: nn.Module, run: Run, input_size: tuple[int, int, int]) -> float:
    """The largest difference of any output, at every batch of :data:`BATCHES`.

    Args:
        network: in eval mode on the CPU.
        run: what was written, loaded again.
        input_size: (channels, height, width) of an image.

    Raises:
        ExportError: it is beyond :data:`TOLERANCE`, or the outputs are of another shape or no
            numbers; or what was written does not take such a batch.

    Examples:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> largest_difference(network, network, (1, 2, 2))
        0.0
    """
    largest = 0.0
    for batch in BATCHES:
        images = example_images(input_size, batch)
        with torch.no_grad():
            want = network(images)
        have = _outputs(run, images).detach()
        if have.shape != want.shape:
            shapes = f"{tuple(have.shape)} and not {tuple(want.shape)}"
            raise ExportError(f"what was written gives outputs of shape {shapes}; nothing was kept")
        difference = float((want - have).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(want.abs().max())):
            raise ExportError(
                "what was written gives other outputs than the network: they differ by up to "
                f"{difference:.3g} at batch {batch}; nothing was kept"
            )
        largest = max(largest, difference)
    return largest


def without_gradients(network: nn.Module) -> Run:
    """A module to be run alone."""

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(images)
        return logits

    return run


def _outputs(run: Run, images: Tensor) -> Tensor:
    try:
        return run(images)
    except Exception as error:  # whatever the runtime raises
        reason = " ".join(str(error).split())[:200]
        raise ExportError(
            f"what was written does not run on a batch of {len(images)} ({reason}); nothing was "
            "kept"
        ) from None
