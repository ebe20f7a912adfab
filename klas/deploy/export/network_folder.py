"""Our own form: a folder of safetensors and ``config.json``, which :func:`klas.load` opens."""

from pathlib import Path

from klas.deploy.export.agreement import Run, without_gradients
from klas.deploy.load import load
from klas.deploy.network import Network


def write(network: Network, path: Path) -> None:
    """Write the network's folder."""
    network.save(path)


def read(path: Path, *, allow_code: bool = False) -> Run:
    """What was written, ready to run."""
    return without_gradients(load(path, allow_code=allow_code))


def lines(path: Path) -> tuple[str, ...]:
    """The Python that loads it and runs it on a picture."""
    return (
        "import klas",
        f"network = klas.load({str(path)!r})",
        "logits = network(network.prepare(picture)[None])",
    )
