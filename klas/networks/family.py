"""Two anchors and the stitch layers between them as one module, of which one member runs at a time.

Members share blocks, and with them batch normalisation layers, whose statistics belong to the
member. All that trains, measures, times, checks or saves stitches acts on a family.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from klas.networks.anchor import Anchor
from klas.networks.stitch import VALUES, State, Stitch, StitchLayer, stitch_layer
from klas.selection.space import Place, name_of
from klas.storage.arrays import under

Role = Literal["source", "target"]
_ROLES: tuple[Role, ...] = get_args(Role)
Member = Place | Role
"""A stitch by its (i, j), or one of the two anchors."""

Arrays = Mapping[str, Any]
"""Numpy arrays, as the store has them, or tensors, as a weights file has them."""


class Family(nn.Module):
    """The anchors f and g and some stitches (f, i, g, j). Its weights are the anchors' own.

    Where an anchor has normalisation statistics, the family runs a copy of it that shares every
    parameter and has buffers of its own: so no stitch's statistics ever reach the given anchor.

    Attributes:
        source, target: f and g.
        layers: T of each stitch, by its name (:func:`klas.selection.space.name_of`).
        member: which network :meth:`forward` runs.
        statistics: for stitches that have their own: place → the normalisation layers' statistics,
            by their names in the stitched network.
    """

    def __init__(self, source: Anchor, target: Anchor, states: Mapping[Place, State]) -> None:
        """Join two anchors.

        Args:
            states: T's values for each (i, j). The layers go to the anchors' device.
        """
        super().__init__()
        self.source = _with_own_buffers(source)
        self.target = _with_own_buffers(target)
        device = next(source.parameters()).device
        have, want = source.info.layouts, target.info.layouts
        layers = {
            name_of((i, j)): stitch_layer(have[i], want[j], state).to(device)
            for (i, j), state in states.items()
        }
        self.layers = nn.ModuleDict(layers)
        self.places: tuple[Place, ...] = tuple(states)
        self.statistics: dict[Place, dict[str, Tensor]] = {}
        self._of_anchors: dict[Role, dict[str, Tensor]] = {}  # before a stitch's took their place
        self._slots: dict[Member, tuple[dict[str, Tensor], list[_Slot]]] = {}
        self.member: Member = self.places[0] if self.places else "target"
        self.train(source.training)

    @classmethod
    def from_arrays(
        cls, source: Anchor, target: Anchor, arrays: Arrays, places: Iterable[Place]
    ) -> Self:
        """Some stitches of a stored tier, with the anchors and statistics that it has.

        Anchors that were trained jointly are copies; pretrained ones stay the given ones.

        Args:
            arrays: of :meth:`to_arrays`.
        """
        states = layer_states(arrays)
        family = cls(
            _trained(source, _tensors(arrays, "source/")),
            _trained(target, _tensors(arrays, "target/")),
            {place: states[place] for place in places},
        )
        family.take_statistics(arrays)
        return family

    @classmethod
    def blank(cls, source: Anchor, target: Anchor, places: Iterable[Place]) -> Self:
        """Some stitches whose layers have no values yet: they are zero."""
        have, want = source.info.layouts, target.info.layouts
        blank = {(i, j): StitchLayer(have[i], want[j]).state_dict() for i, j in places}
        return cls(source, target, blank)

    def take_statistics(self, arrays: Arrays) -> None:
        """Give every stitch the normalisation statistics of its own that are stored, if any."""
        device = next(self.source.parameters()).device
        for place in self.places:
            if own := _tensors(arrays, f"statistics/{name_of(place)}/"):
                self.statistics[place] = {name: value.to(device) for name, value in own.items()}

    def misfit(self) -> Place | None:
        """A stitch whose statistics are not those of its layers, if there is one."""
        for place, statistics in self.statistics.items():
            known = statistics_of(self.network(place))
            if any(n not in known or known[n].shape != v.shape for n, v in statistics.items()):
                return place
        return None

    @property
    def names(self) -> tuple[str, str]:
        """The anchors'."""
        return self.source.info.name, self.target.info.name

    @property
    def anchors(self) -> tuple[Role, ...]:
        """Which of the two are members: a headless one is not."""
        return tuple(role for role in _ROLES if self._anchor(role).info.classes)

    def layer(self, place: Place) -> StitchLayer:
        """T of a stitch."""
        layer = self.layers[name_of(place)]
        assert isinstance(layer, StitchLayer)
        return layer

    def stitch(self, place: Place) -> Stitch:
        """A stitch as a network of its own; see :meth:`network`."""
        network = self._joined(place)
        network.train(self.training)
        return network

    def copy_of(self, places: Iterable[Place]) -> Self:
        """Some of the stitches and the anchors, with weights of their own and no statistics."""
        states = {place: self.layer(place).state_dict() for place in places}
        return type(self)(deepcopy(self.source), deepcopy(self.target), states)

    def title(self, member: Member) -> str:
        """A member by its name in results: ``i-j``, or the anchor's."""
        return name_of(member) if isinstance(member, tuple) else self._anchor(member).info.name

    def network(self, member: Member) -> nn.Module:
        """A member as a network of its own, which shares all parts with the family.

        It is in the family's mode. Its normalisation statistics are those in the shared layers
        now; :meth:`use` puts the member's own there.
        """
        return self.stitch(member) if isinstance(member, tuple) else self._anchor(member)

    def use(self, member: Member) -> Self:
        """Run this member from now on, with normalisation statistics of its own if it has any."""
        self.member = member
        if not self.statistics:
            return self
        if not self._of_anchors:
            self._of_anchors = {role: statistics_of(self._anchor(role)) for role in _ROLES}
        if isinstance(member, tuple):
            own = self.statistics.get(member, {})
        else:
            own = self._of_anchors[member]
        known, slots = self._slots.get(member, (None, []))
        if known is not own:  # members change at every step, so their layers are looked up once
            # Not in a mode of its own: it may run in the middle of a step.
            one = self._joined(member) if isinstance(member, tuple) else self._anchor(member)
            slots = _slots(one, own)
            self._slots[member] = own, slots
        _fill(slots)
        return self

    @property
    def shares_source(self) -> bool:
        """Whether every stitch runs the source's blocks as the source does.

        After a joint training the statistics there are each stitch's own too.
        """
        return not any(
            name.startswith(("stem.", "front.")) for own in self.statistics.values() for name in own
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images as the member sees them (:meth:`view`) to its outputs, (N, classes)."""
        if not isinstance(self.member, tuple):
            outputs: Tensor = self._anchor(self.member)(images)
            return outputs
        i, j = self.member
        *_, activation = self.source.walk(images, upto=i)
        return self.target.resume(self.layer(self.member)(activation), j)

    def view(self, member: Member, source_view: Tensor, target_view: Tensor) -> Tensor:
        """Which of two views of the same images a member sees: a stitch sees its source's."""
        return target_view if member == "target" else source_view

    def viewer(self, member: Member) -> str:
        """The anchor whose view of an image a member sees."""
        return self.names[member == "target"]

    def tensors(self) -> dict[str, Tensor]:
        """The layers and statistics by their names in :meth:`to_arrays`; nothing is copied."""
        layers = {
            f"{name}.{entry}": value
            for name, layer in self.layers.items()
            for entry, value in layer.state_dict().items()
        }
        return layers | self._statistics_tensors()

    def to_arrays(self, *, anchors: bool) -> dict[str, NDArray[Any]]:
        """The family as it is stored.

        ``i-j.weight``, …, ``statistics/i-j/…`` and, with the anchors, ``source/…``, ``target/…``.
        """
        arrays = {name: value.cpu().numpy() for name, value in self.tensors().items()}
        if anchors:
            for role in ("source", "target"):
                for entry, value in self._anchor(role).state_dict().items():
                    arrays[f"{role}/{entry}"] = value.cpu().contiguous().numpy()
        return arrays

    def statistics_arrays(self) -> dict[str, NDArray[Any]]:
        """``statistics/i-j/…`` of every stitch that has its own."""
        return {name: value.cpu().numpy() for name, value in self._statistics_tensors().items()}

    def _statistics_tensors(self) -> dict[str, Tensor]:
        return {
            f"statistics/{name_of(place)}/{entry}": value
            for place, statistics in self.statistics.items()
            for entry, value in statistics.items()
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Statistics are no buffers of the module, and move with it all the same.
        for role, own in self._of_anchors.items():
            put_statistics(self._anchor(role), own)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.statistics = {
            place: {name: fn(value) for name, value in own.items()}
            for place, own in self.statistics.items()
        }
        self._of_anchors.clear()
        self._slots.clear()
        return self.use(self.member)

    def _joined(self, place: Place) -> Stitch:
        """A stitch as a network, whose parts stay in the modes that they are in."""
        i, j = place
        return Stitch(self.source, i, self.target, j, self.layer(place))

    def _anchor(self, role: str) -> Anchor:
        return self.source if role == "source" else self.target


def layer_states(arrays: Arrays) -> dict[Place, State]:
    """The values of every stitch layer of a stored tier."""
    states: dict[Place, State] = {}
    for name, values in arrays.items():
        place, _, entry = name.partition(".")
        if entry in VALUES and "/" not in name:  # a tier holds more than the layers
            i, j = place.split("-")
            states.setdefault((int(i), int(j)), {})[entry] = _tensor(values)
    return states


def normalisations(network: nn.Module) -> dict[str, nn.Module]:
    """The layers that take running statistics, by name: batch normalisation, and what is like it.

    Frozen ones have no momentum: their statistics are constants.
    """
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(getattr(module, "running_var", None), Tensor) and hasattr(module, "momentum")
    }


def statistics_of(network: nn.Module) -> dict[str, Tensor]:
    """The statistics themselves, no copies, by their names in the network's state."""
    return {
        entry: value
        for name, module in normalisations(network).items()
        for entry, value in module.named_buffers(prefix=name, recurse=False)
    }


def put_statistics(network: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Let a network's layers use these very tensors from now on; nothing is copied."""
    _fill(_slots(network, statistics))


_Slot = tuple[nn.Module, str, Tensor]
"""A layer, the name of one of its statistics, and what to put there."""


def _slots(network: nn.Module, statistics: Mapping[str, Tensor]) -> list[_Slot]:
    paths = ((name.rpartition("."), value) for name, value in statistics.items())
    return [(network.get_submodule(layer), entry, value) for (layer, _, entry), value in paths]


def _fill(slots: Iterable[_Slot]) -> None:
    for layer, entry, value in slots:
        # Past the module's own checks, which would be felt where a member runs for milliseconds.
        layer._buffers[entry] = value


def _with_own_buffers(anchor: Anchor) -> Anchor:
    if not normalisations(anchor):
        return anchor
    return deepcopy(anchor, {id(parameter): parameter for parameter in anchor.parameters()})


def _trained(anchor: Anchor, state: dict[str, Tensor]) -> Anchor:
    if not state:
        return anchor
    trained = deepcopy(anchor)
    trained.load_state_dict(state)
    trained.forget_tables()
    return trained


def _tensors(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name: _tensor(value) for name, value in under(arrays, prefix).items()}


def _tensor(values: NDArray[Any] | Tensor) -> Tensor:
    # Stored arrays are read-only views, which tensors cannot be.
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
