"""The anchors and stitches of a list as one module that shares their blocks.

It is SN-Net's network for any number of anchors: one member runs at a time, chosen by name or by
budget. Each member has batch normalisation statistics of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from klas.data.loading import prepared
from klas.deploy.architecture import describe, rebuild_all, saved
from klas.deploy.card import model_card
from klas.deploy.member import CostName, Member, stitch_name, within
from klas.deploy.network import Network, place_of
from klas.deploy.tensors import distinct, fill, read_tensors
from klas.deploy.writing import write_folder
from klas.errors import FormatError, SelectionError
from klas.measures.normalisation import calibrate_places, recalibrate
from klas.networks.anchor import Anchor, Transform
from klas.networks.cost import anchor_cost, stitch_cost
from klas.networks.device import Precision
from klas.networks.family import Family, layer_states
from klas.networks.stitch import State, StitchLayer
from klas.pipeline.recipes.latency import device_name, time_runs
from klas.results.documents.networks import ElasticDocument, Latency
from klas.selection.space import PairNames, Place
from klas.storage.arrays import under
from klas.study import TaskName

States = Mapping[PairNames, Mapping[Place, State]]
"""Of each (source, target) by name: the values of each stitch layer by its (i, j)."""


class Elastic(nn.Module):
    """Any number of anchors and stitches between them, of which one runs at a time.

    Its weights are the given anchors' own, and the layers'. It is in eval mode at first.

    Attributes:
        anchors: by name.
        families: the anchors and stitches of each pair; they share the anchors' parameters.
        class_names: of the outputs; None where nobody knows them.
        tier: how the weights were made; accuracies of this tier are those that the members have.
        task: what it is for.

    Examples:
        >>> import klas
        >>> elastic = klas.load("trained")
        >>> small = elastic.use(macs=3_000_000)  # the most accurate that costs no more
        >>> small(torch.zeros(2, 1, 16, 16)).shape, small.member.macs <= 3_000_000
        (torch.Size([2, 10]), True)
    """

    def __init__(
        self,
        anchors: Mapping[str, Anchor],
        states: States,
        *,
        class_names: Sequence[str] | None = None,
        tier: str = "zero_shot",
        task: TaskName = "classification",
        accuracy: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Join anchors.

        Args:
            states: the stitches, by pair.
            accuracy: of members, by name and tier.
        """
        super().__init__()
        self._names = tuple(anchors)
        self._anchors = nn.ModuleList(anchors.values())
        # In a dictionary, not as parts: they hold the anchors' parameters once more.
        self.families = {
            (f, g): Family(anchors[f], anchors[g], layers) for (f, g), layers in states.items()
        }
        self._layers = nn.ModuleList(family.layers for family in self.families.values())
        self.class_names = None if class_names is None else tuple(class_names)
        self.tier = tier
        self.task: TaskName = task
        self._members = {m.name: m for m in _members(anchors, states, accuracy or {})}
        self._places = {
            stitch_name(f, i, g, j): ((f, g), (i, j))
            for (f, g), layers in states.items()
            for i, j in layers
        }
        self._used = next(iter(self._members))
        self.eval()

    @property
    def anchors(self) -> dict[str, Anchor]:
        """The anchors by name."""
        parts: Iterable[Any] = self._anchors
        return dict(zip(self._names, parts))

    @property
    def members(self) -> tuple[Member, ...]:
        """All networks that it holds, the cheapest first."""
        return tuple(self._members.values())

    @property
    def member(self) -> Member:
        """The network that :meth:`forward` runs."""
        return self._members[self._used]

    @property
    def transform(self) -> Transform:
        """How the member in use takes an image: as its source does."""
        return self.anchors[self.viewer(self._used)].info.images

    def viewer(self, name: str) -> str:
        """The anchor as which a member sees images: a stitch's source."""
        return self._named(name).source

    def use(
        self,
        name: str | None = None,
        *,
        macs: float | None = None,
        params: float | None = None,
        ms: float | None = None,
    ) -> Self:
        """Run this member from now on: one by name, or the most accurate within one budget.

        Args:
            name: a member's.
            macs, params, ms: the most that it may cost for one image.

        Raises:
            SelectionError: there is none, or not exactly one of the four is given.
        """
        budgets: dict[CostName, float | None] = {"macs": macs, "params": params, "ms": ms}
        given = [(of, most) for of, most in budgets.items() if most is not None]
        if len(given) + (name is not None) != 1:
            raise SelectionError("give a member's name, or one of macs, params and ms")
        if name is None:
            ((of, most),) = given
            name = within(self.members, of, most, self.tier).name
        self._used = self._named(name).name
        if name in self._places:
            pair, place = self._places[name]
            self.families[pair].use(place)
        return self

    def sample(self, generator: np.random.Generator) -> Self:
        """Use a member at random, each as likely as the others."""
        names = list(self._members)
        return self.use(names[int(generator.integers(len(names)))])

    def forward(self, images: Tensor) -> Tensor:
        """Images as the member's source takes them, (N, C, H, W), to logits (N, classes)."""
        if self._used not in self._places:
            logits: Tensor = self.anchors[self._used](images)
            return logits
        pair, _ = self._places[self._used]
        outputs: Tensor = self.families[pair](images)
        return outputs

    def prepare(self, picture: Image) -> Tensor:
        """A picture of any size as the member in use takes it, (C, H, W), on the CPU."""
        return prepared(picture, self.transform)

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The anchors' parameters and the stitch layers', each once."""
        return list(self._anchors.parameters()), list(self._layers.parameters())

    def extract(self, name: str) -> Network:
        """A member as a network of its own: a copy, equal to it to the last bit.

        Raises:
            SelectionError: there is no such member.
            AnchorError: an anchor can't be described in a file.
        """
        member = self._named(name)
        anchors = self.anchors
        if name in self._places:
            pair, place = self._places[name]
            family = self.families[pair]
            before = family.member
            parts = family.use(place).stitch(place)
            network = self._network(parts, member, [anchors[n] for n in dict.fromkeys(pair)])
            family.use(before)
            return network
        return self._network(anchors[name], member, [anchors[name]])

    def calibrate(
        self,
        batches: Callable[[str], Iterable[tuple[Tensor, ...]]],
        *,
        precision: Precision = "float32",
    ) -> None:
        """After training: give every member normalisation statistics of its own.

        Args:
            batches: begins a pass over the same images as an anchor sees them, by its name.
        """
        for family in self.families.values():
            calibrate_places(family, batches, precision=precision)
        for name, anchor in self.anchors.items():
            if anchor.info.classes:
                recalibrate(anchor, batches(name), precision=precision)

    def note_accuracy(self, tier: str, accuracy: Mapping[str, float]) -> None:
        """State measured accuracies, by member, of a tier, which is the weights' from now on."""
        self.tier = tier
        for name, value in accuracy.items():
            member = self._named(name)
            known = {**member.accuracy, tier: value}
            self._members[name] = replace(member, accuracy=known)

    def measure_latency(self, tick: Callable[[int], None] = lambda n: None) -> None:
        """Time every member on one image, on the device that it is on, and state it in the table.

        Args:
            tick: called once for every network in every round.
        """
        device = next(self.parameters()).device
        used = self._used
        images = {
            name: torch.zeros(1, *anchor.info.images.input_size, device=device)
            for name, anchor in self.anchors.items()
        }

        def run(name: str) -> Callable[[], None]:
            image = images[self.viewer(name)]

            def once() -> None:
                self.use(name)
                self(image)
                if image.is_cuda:
                    torch.cuda.synchronize(image.device)

            return once

        with torch.inference_mode():
            seconds = time_runs({name: run(name) for name in self._members}, tick)
        self.use(used)
        machine = device_name(device)
        for name, times in seconds.items():
            latency: Latency = {"ms": 1e3 * float(np.median(times)), "machine": machine}
            self._members[name] = replace(self._members[name], latency=latency)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of every member."""
        super().train(mode)
        for family in self.families.values():
            family.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # As torch moves a module, so the families' own buffers and statistics move.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for family in self.families.values():
            family._apply(fn, recurse)
        return self

    def save(self, folder: str | Path) -> None:
        """Write weights (shared tensors once), ``config.json`` and a model card with a picture.

        :func:`klas.load` reads them.

        Raises:
            StoreError: the folder holds another network, or cannot be written.
            AnchorError: an anchor can't be described in a file.
        """
        document = self.document()
        write_folder(Path(folder), document, distinct(self._tensors()), model_card(document))

    def document(self) -> ElasticDocument:
        """All but the weights, as plain values; ``weights`` and ``digest`` are filled by saving."""
        anchors = map(describe, self.anchors.values())
        return {
            "format": "klas-elastic",
            "version": 1,
            **saved(anchors, task=self.task, class_names=self.class_names),
            "tier": self.tier,
            "members": [member.to_json() for member in self.members],
            "digest": "",
        }

    @classmethod
    def from_document(
        cls, document: ElasticDocument, folder: Path, *, allow_code: bool = False
    ) -> Self:
        """What :meth:`save` wrote, in eval mode on the CPU.

        Raises:
            FormatError: the folder is damaged, or says what can't be.
            AnchorError: timm has no such model here, or it is code that is not allowed.
        """
        where = str(folder / "config.json")
        tensors = read_tensors(folder, document["weights"])
        anchors = rebuild_all(document["anchors"], where, allow_code=allow_code)
        for name, anchor in anchors.items():
            fill(anchor, under(tensors, f"anchors/{name}/"), f"{folder}: anchor {name}")
            anchor.forget_tables()
        depths = {name: anchor.info.depth for name, anchor in anchors.items()}
        states: dict[PairNames, dict[Place, State]] = {}
        members = [Member.from_json(entry) for entry in document["members"]]
        for member in members:
            place = place_of(member, depths, where)
            if place is not None and member.target is not None:
                states.setdefault((member.source, member.target), {})[place] = {}
        stored = {pair: under(tensors, _prefix(pair)) for pair in states}
        for pair, places in states.items():
            known = layer_states(stored[pair])
            for place in places:
                places[place] = _checked(known.get(place), anchors, pair, place, where)
        elastic = cls(
            anchors,
            states,
            class_names=document["class_names"],
            tier=document["tier"],
            task=document["task"],
        )
        for pair, family in elastic.families.items():
            family.take_statistics(stored[pair])
            if (place := family.misfit()) is not None:
                named = stitch_name(pair[0], place[0], pair[1], place[1])
                raise FormatError(f"{where}: member {named}: its statistics are not its layers'")
        elastic._state(members, where)
        return elastic

    def _state(self, members: Sequence[Member], where: str) -> None:
        """Take the table of a file, whose costs must be those of the networks."""
        stated = {member.name: member for member in members}
        if stated.keys() != self._members.keys():
            odd = sorted(stated.keys() ^ self._members.keys())
            raise FormatError(f"{where}: its members are not those of its anchors: {odd[0]}")
        for name, own in self._members.items():
            member = stated[name]
            if (member.macs, member.params) != (own.macs, own.params):
                raise FormatError(
                    f"{where}: member {name} is stated with {member.macs} MACs and "
                    f"{member.params} parameters, but has {own.macs} and {own.params}"
                )
            self._members[name] = member

    def _network(self, parts: Any, member: Member, anchors: Sequence[Anchor]) -> Network:
        return Network(
            parts,
            member=member,
            anchors=[describe(anchor) for anchor in anchors],
            class_names=self.class_names,
            tier=self.tier,
            task=self.task,
        )

    def _named(self, name: str) -> Member:
        try:
            return self._members[name]
        except KeyError:
            known = ", ".join(list(self._members)[:5])
            raise SelectionError(
                f"there is no member {name!r}; of {len(self._members)} the first are {known}"
            ) from None

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {
            f"anchors/{name}/{entry}": value
            for name, anchor in self.anchors.items()
            for entry, value in anchor.state_dict().items()
        }
        for pair, family in self.families.items():
            tensors |= {_prefix(pair) + name: value for name, value in family.tensors().items()}
        return tensors


def _prefix(pair: PairNames) -> str:
    """What begins the names of a pair's tensors, as in the weights file of a stitch list."""
    return "{}|{}/".format(*pair)


def _members(
    anchors: Mapping[str, Anchor], states: States, accuracy: Mapping[str, Mapping[str, float]]
) -> list[Member]:
    """The table, by cost."""
    costs = {name: anchor_cost(anchor) for name, anchor in anchors.items()}
    members = [
        Member(
            name=name,
            source=name,
            macs=costs[name].total_macs,
            params=costs[name].total_params,
            accuracy=accuracy.get(name, {}),
        )
        for name, anchor in anchors.items()
        if anchor.info.classes
    ]
    for (f, g), places in states.items():
        for i, j in places:
            cost = stitch_cost(anchors[f].info, costs[f], i, anchors[g].info, costs[g], j)
            name = stitch_name(f, i, g, j)
            members.append(
                Member(
                    name=name,
                    source=f,
                    source_block=i,
                    target=g,
                    target_block=j,
                    macs=cost.macs,
                    params=cost.params,
                    accuracy=accuracy.get(name, {}),
                )
            )
    return sorted(members, key=lambda member: (member.macs, member.name))


def _checked(
    state: State | None, anchors: Mapping[str, Anchor], pair: PairNames, place: Place, where: str
) -> State:
    """T's values, as they must be between these cuts."""
    (f, g), (i, j) = pair, place
    wanted = StitchLayer(anchors[f].info.layouts[i], anchors[g].info.layouts[j]).state_dict()
    have = {} if state is None else {name: value.shape for name, value in state.items()}
    if have != {name: value.shape for name, value in wanted.items()}:
        raise FormatError(
            f"{where}: member {stitch_name(f, i, g, j)}: its layer's tensors are not those of its T"
        )
    assert state is not None
    return state
