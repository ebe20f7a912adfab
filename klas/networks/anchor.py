"""An anchor: a pretrained network cut into a stem, blocks 1..n and a head."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Self

import torch
from torch import Tensor, nn

from klas.errors import AnchorError
from klas.networks.accepted import refuse_wrapped
from klas.networks.device import place
from klas.networks.layout import Layout
from klas.networks.segmenter import Segmenter
from klas.networks.splitting.split import split


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How an anchor takes an image: its own size, mean and std, and the study's geometry.

    Attributes:
        input_size: channels, height, width.
        mean, std: of each channel, subtracted and divided by after pixels are scaled to [0, 1].
        crop: the share of the resized image's side that is kept, in the middle.
        interpolation: how images are resized, ``"bicubic"`` for example.
        whole: whether they are resized whole, to the network's aspect ratio, before the middle is
            taken; otherwise to its shorter side. Label maps always are.
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    interpolation: str
    whole: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values for keys and files; what came later is there where it is set."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return plain if self.whole else {k: v for k, v in plain.items() if k != "whole"}

    def example(self) -> Tensor:
        """(1, C, H, W) an image without content."""
        return torch.empty(1, *self.input_size, device="meta")

    @property
    def positions(self) -> int:
        """Among how many positions a sample's cost is divided: an image's is told as a whole."""
        return 1


@dataclass(frozen=True, kw_only=True)
class TextInput:
    """How a decoder takes a text.

    Attributes:
        tokenizer: SHA-256 of what makes tokens of texts; decoders of one study share it.
        length: tokens of a sample.
    """

    tokenizer: str
    length: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for keys and files."""
        return {"tokenizer": self.tokenizer, "length": self.length}

    def example(self) -> Tensor:
        """(1, L) one sample without content."""
        return torch.empty(1, self.length, dtype=torch.long, device="meta")

    @property
    def positions(self) -> int:
        """Among how many positions a sample's cost is divided: a decoder's is told per token."""
        return self.length


@dataclass(frozen=True, kw_only=True)
class AnchorInfo:
    """What is known about an anchor without running it.

    Attributes:
        name: its name in the study.
        model: the timm model.
        weights: ``{"tag": …}`` or ``{"file": …}``, and ``"sha256"`` of the loaded tensors; the
            ``"config"`` that says how they take images, if one lies beside them.
        cuts: for cut 0..n the path of the module that ends there.
        layouts: for cut 0..n the activation's form.
        classes: width of the logits; 0 for a network without a head.
        transform: how it takes an image, or a text.
        columns: which of the head's outputs the logits are, class by class; None: all, in order.
        image_size: (height, width) that the study asks for; None: the network's own.
        fused: whether it is in timm's fused form; its tensors' digest is that of the other form.
        plain_head: how many classes the plain head of a segmenter has; None for any other head.
    """

    name: str
    model: str
    weights: dict[str, str]
    cuts: tuple[str, ...]
    layouts: tuple[Layout, ...]
    classes: int
    transform: Transform | TextInput
    columns: tuple[int, ...] | None = None
    image_size: tuple[int, int] | None = None
    fused: bool = False
    plain_head: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over the loaded tensors' names, shapes, types and bytes."""
        return self.weights["sha256"]

    @property
    def images(self) -> Transform:
        """How it takes an image.

        Raises:
            AnchorError: it takes texts.
        """
        if isinstance(self.transform, TextInput):
            raise AnchorError(f"{self.name}: takes texts, and this is for networks of images alone")
        return self.transform

    @property
    def depth(self) -> int:
        """n, the number of blocks."""
        return len(self.cuts) - 1

    @property
    def stages(self) -> tuple[int, ...]:
        """How many blocks in a row have one grid: a plain network is one stage."""
        return tuple(len(list(run)) for _, run in groupby(lay.grid for lay in self.layouts[1:]))


class _Columns(nn.Module):
    """Some of the head's outputs."""

    columns: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        return outputs[:, self.columns]


class Anchor(nn.Module):
    """A network as a chain of parts that share its parameters.

    Chained, the parts equal the whole exactly. They are modules, so they train, move and save
    like any other.

    Attributes:
        info: what is known about it without running it.
        stem: images (N, C, H, W) to the activation at cut 0.
        blocks: block k is ``blocks[k - 1]``, from cut k − 1 to cut k.
        head: the activation at cut n to logits (N, classes).
    """

    def __init__(
        self,
        info: AnchorInfo,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        head: nn.Module,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.info = info
        # In a tuple, or it would be a part, and its tensors would be listed twice.
        self._network = (self if network is None else network,)
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        name: str,
        *,
        transform: Transform,
        model: str | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> Self:
        """Cut any ``nn.Module`` that maps images to logits; the anchor shares its parameters.

        Args:
            module: the network.
            name: what files and errors call it.
            transform: how it takes an image.
            model: what it is; by default its class.
            origin: where its weights are from, for the records.

        Raises:
            AnchorError: it cannot be cut, or is parallel, compiled or not in single precision; the
                sentence says why and what to pass instead.

        Examples:
            >>> def block():
            ...     return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
            >>> network = nn.Sequential(
            ...     nn.Conv2d(3, 4, 2, stride=2),
            ...     nn.Sequential(block(), block()),
            ...     nn.AdaptiveAvgPool2d(1),
            ...     nn.Flatten(),
            ...     nn.Linear(4, 10),
            ... )
            >>> transform = Transform(
            ...     input_size=(3, 8, 8),
            ...     mean=(0.5, 0.5, 0.5),
            ...     std=(0.5, 0.5, 0.5),
            ...     crop=1.0,
            ...     interpolation="bilinear",
            ... )
            >>> anchor = Anchor.from_module(network, "mine", transform=transform)
            >>> anchor.info.depth, anchor.info.cuts
            (2, ('0', '1.0', '1.1'))
            >>> images = torch.zeros(1, 3, 8, 8)
            >>> torch.equal(anchor(images), network(images))
            True
        """
        refuse_wrapped(module, name)
        plain_head = None
        if isinstance(module, Segmenter):
            plain_head = module.head.classes.out_features
            parts = replace(module.parts, head=module.head, classes=plain_head)
        else:
            parts = split(module, name, transform.input_size)
        info = AnchorInfo(
            name=name,
            model=model or type(module).__qualname__,
            weights={**(origin or {}), "sha256": tensors_digest(module)},
            cuts=parts.cuts,
            layouts=parts.layouts,
            classes=0 if getattr(module, "num_classes", None) == 0 else parts.classes,
            transform=transform,
            plain_head=plain_head,
        )
        return cls(info, parts.stem, parts.blocks, parts.head, module)

    @property
    def network(self) -> nn.Module:
        """The network that was cut, as a whole."""
        return self._network[0]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, classes)."""
        return self.resume(self.stem(images), 0)

    def select(self, columns: tuple[int, ...] | None) -> None:
        """From now on give only these outputs of the head, in this order; None changes nothing."""
        if columns is not None:
            self.head = nn.Sequential(self.head, _Columns(columns))
            self.info = replace(self.info, columns=columns, classes=len(columns))

    def forget_tables(self) -> None:
        """After new weights: drop the tables that some networks compute from them in eval mode."""
        self.train()
        self.eval()

    def walk(self, images: Tensor, upto: int | None = None) -> Iterator[Tensor]:
        """A_0 … A_upto of images (N, C, H, W) one after another; by default all n + 1 of them."""
        activation = self.stem(images)
        yield activation
        for block in self.blocks[:upto]:
            activation = block(activation)
            yield activation

    def cut_activations(self, images: Tensor, upto: int | None = None) -> list[Tensor]:
        """The activations of :meth:`walk` as a list."""
        return list(self.walk(images, upto))

    def resume(self, activation: Tensor, cut: int) -> Tensor:
        """Logits (N, classes) from an activation at ``cut``: blocks cut + 1 … n, then the head."""
        logits: Tensor = self.head(self.run_blocks(activation, cut))
        return logits

    def run_blocks(self, activation: Tensor, cut: int) -> Tensor:
        """The last activation, A_n, from an activation at ``cut``: blocks cut + 1 … n."""
        for block in self.blocks[cut:]:
            activation = block(activation)
        return activation


def freeze(anchor: Anchor, device: torch.device) -> Anchor:
    """The anchor on ``device``, in eval mode, without gradients for its parameters."""
    place(anchor, device)
    anchor.eval()
    for parameter in anchor.parameters():
        parameter.requires_grad_(False)
    return anchor


def tensors_digest(model: nn.Module) -> str:
    """SHA-256 over a network's state: names, shapes, types and bytes, in sorted order."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().cpu().contiguous()
        total.update(f"{name} {tuple(flat.shape)} {flat.dtype}\n".encode())
        total.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
