"""A timm network with a plain head for segmentation: its encoder is cut as any network is.

The head is SETR's naive one (Zheng et al., 2021) without its hidden layer: a 1×1 convolution on
the last grid, resized to the image. Before it stands a normalisation of its own, because the last
block of many networks leaves its sums as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
from timm.models import get_pretrained_cfg
from torch import Tensor, nn
from torch.nn.functional import interpolate

from klas.errors import AnchorError, listing
from klas.networks.checkpoint import read_checkpoint
from klas.networks.layout import Layout, maps_and_prefix
from klas.networks.pretrained import pixels
from klas.networks.splitting.parts import Parts
from klas.networks.splitting.split import split
from klas.networks.weights_folder import weights_file
from klas.study import AnchorSpec

CLASSIFIER = "head.classes.weight"
"""The tensor of a weights file that says how many classes it distinguishes; no file of a network
for classification has it beside ``backbone.…``."""


class PlainHead(nn.Module):
    """From an encoder's last activation to logits for every pixel, (N, K, H, W).

    Examples:
        >>> import torch
        >>> head = PlainHead(Layout(channels=8, grid=(4, 4), prefix=1), classes=3, size=(32, 32))
        >>> head(torch.zeros(2, 17, 8)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, layout: Layout, classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(layout.channels)
        self.classes = nn.Linear(layout.channels, classes)
        self._layout = layout
        self._size = size

    def forward(self, activation: Tensor) -> Tensor:
        """Prefix tokens are left out."""
        maps, _ = maps_and_prefix(activation, self._layout)
        logits = self.classes(self.norm(maps)).permute(0, 3, 1, 2)
        return interpolate(logits, size=self._size, mode="bilinear", align_corners=False)


class Segmenter(nn.Module):
    """A timm network up to its last block, and a plain head.

    Attributes:
        backbone: the network, made without a classifier; what it has behind its last block is not
            used.
        head: the plain head.
    """

    def __init__(
        self, backbone: nn.Module, name: str, *, classes: int, input_size: tuple[int, int, int]
    ) -> None:
        """Cut the network and put a head behind its last block, of random values.

        Args:
            name: what errors call it.
            classes: K.
            input_size: (channels, height, width) of its images.

        Raises:
            AnchorError: it can't be cut.
        """
        super().__init__()
        parts = split(backbone, name, input_size)
        self.backbone = backbone
        self.head = PlainHead(parts.layouts[-1], classes, input_size[1:])
        self._parts = (parts,)  # in a tuple, or its tensors would be listed twice

    @property
    def parts(self) -> Parts:
        """Those of the network; the head among them is not used."""
        return self._parts[0]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K, H, W)."""
        activation = self.parts.stem(images)
        for block in self.parts.blocks:
            activation = block(activation)
        logits: Tensor = self.head(activation)
        return logits


@dataclass(frozen=True, kw_only=True)
class SegmenterWeights:
    """A file of a :class:`Segmenter`'s weights.

    Attributes:
        origin: where they are from, for the records.
        state: the tensors.
        file: for sentences.
    """

    origin: dict[str, str]
    state: Mapping[str, Tensor]
    file: str


def segmenter_weights(spec: AnchorSpec) -> SegmenterWeights | None:
    """The weights of a segmenter that an anchor names: in a file, or in that of its tag.

    None where they are of the network alone, which then has no head.

    Raises:
        AnchorError: the file is not there or holds no tensors.
    """
    config = get_pretrained_cfg(spec.model)
    own = None if config is None else config.file
    if spec.weights is not None:
        file, origin = str(weights_file(spec.weights, spec.name)), {"file": spec.weights}
    elif own:
        file, origin = str(own), {"tag": spec.model}
    else:
        return None
    state, entry = read_checkpoint(weights_file(file, spec.name), spec.name)
    if CLASSIFIER not in state:
        return None
    return SegmenterWeights(
        origin=origin | ({"entry": entry} if entry else {}), state=state, file=file
    )


def load_segmenter(
    spec: AnchorSpec, weights: SegmenterWeights, input_size: tuple[int, int, int]
) -> Segmenter:
    """The network of a file, in eval mode.

    Raises:
        AnchorError: the weights do not fit, or the network can't be cut.
    """
    network = Segmenter(
        bare_network(spec, input_size),
        spec.name,
        classes=len(weights.state[CLASSIFIER]),
        input_size=input_size,
    )
    try:
        network.load_state_dict(dict(weights.state))
    except RuntimeError:
        raise AnchorError(_misfit(spec, weights, network, input_size)) from None
    return network.eval()


def bare_network(spec: AnchorSpec, input_size: tuple[int, int, int]) -> nn.Module:
    """A network of timm's for images of a size, without a classifier and with random weights."""
    config = get_pretrained_cfg(spec.model)
    fixed = config is not None and config.fixed_input_size
    arguments: dict[str, Any] = {"img_size": input_size[1:]} if fixed else {}
    network: nn.Module = timm.create_model(
        spec.model.partition(".")[0], pretrained=False, num_classes=0, **arguments
    )
    return network.eval()


def _misfit(
    spec: AnchorSpec,
    weights: SegmenterWeights,
    network: nn.Module,
    input_size: tuple[int, int, int],
) -> str:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    there = {name: tuple(tensor.shape) for name, tensor in weights.state.items()}
    if lacking := [name for name in wanted if name not in there]:
        why = f"they lack {listing(lacking)}"
    elif odd := [name for name in there if name not in wanted]:
        why = f"the network has no place for their {listing(odd)}"
    else:
        name = next(name for name, shape in wanted.items() if there[name] != shape)
        why = f"{name!r} is {there[name]} there and {wanted[name]} in the network"
    height, width = input_size[1:]
    return (
        f"{spec.name}: the weights of {weights.file} do not fit {spec.model} at "
        f"{pixels((height, width))}: {why}"
    )
