"""The tensors of a module as one safetensors file, each of them once."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from klas.errors import FormatError
from klas.foreign import reading
from klas.networks.checkpoint import shared_filled
from klas.results.documents.networks import TensorsFile
from klas.results.formats import file_sha256
from klas.storage.files import write_whole

FILE = "model.safetensors"


def distinct(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of tensors that are the same memory only the first by name; on the CPU, contiguous."""
    seen, first = set(), {}
    for name in sorted(state):
        tensor = state[name].detach()
        # What has no elements has no memory to share.
        place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
        if not tensor.numel() or place not in seen:
            seen.add(place)
            first[name] = tensor.cpu().contiguous()
    return first


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> TensorsFile:
    """Write tensors into a folder, whole or not at all.

    Raises:
        StoreError: the folder can't be written.
    """
    write_whole(folder / FILE, save_safetensors(dict(tensors)))
    return {"name": FILE, "sha256": file_sha256(folder / FILE)}


def read_tensors(folder: Path, stated: TensorsFile) -> dict[str, Tensor]:
    """What :func:`write_tensors` wrote.

    Raises:
        FormatError: the file is not there, is cut off, or a byte of it has changed.
    """
    file = folder / Path(stated["name"]).name
    if file_sha256(file) != stated["sha256"]:
        raise FormatError(
            f"{file}: is not the file that {folder / 'config.json'} was written with; it may be "
            "cut off or damaged, copy the folder again"
        )
    with reading(FormatError, f"{file}: is not a safetensors file", "copy the folder again"):
        return load_safetensors(file.read_bytes())


def fill(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load what :func:`distinct` kept: every tensor of a module, in place.

    Raises:
        FormatError: one is lacking, too many, or of another shape.
    """
    wrong = f"{where}: its tensors are not those of the network"
    with reading(FormatError, wrong, "save it again"):
        try:
            module.load_state_dict(shared_filled(dict(tensors), module))
        except RuntimeError as error:
            what = " ".join(str(error).split())[:200]
            raise FormatError(f"{wrong} ({what})") from None
