"""A network of a study that was computed, with the layers that the store holds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from klas.deploy.export.choice import anchor_members, anchor_network
from klas.deploy.listed import Listed, listed_anchor
from klas.deploy.load import listed_network
from klas.deploy.member import stitch_name
from klas.deploy.network import Network
from klas.deploy.weights_file import ListWeights, weights_of
from klas.errors import SelectionError, listing
from klas.networks.family import layer_states
from klas.results.accuracies import by_row
from klas.results.documents.stitches import StitchList
from klas.results.keys import Keys
from klas.results.pair import Document, Pair, pairs_of
from klas.results.refs import stored_scores
from klas.results.result import FinetunedWeights, Fit, Layers, Tuned, ZeroShot, finetuned
from klas.results.selections import choose, racing_in
from klas.results.stitch_list import stitch_list
from klas.results.trainings import joint_training
from klas.selection.space import Place
from klas.storage.arrays import Arrays
from klas.storage.store import Store
from klas.study import TIERS, Study, Tier


def stored_network(
    store: Store,
    study: Study,
    name: str,
    tier: Tier | None = None,
    training: FinetunedWeights | None = None,
    *,
    allow_code: bool = False,
) -> Network:
    """A stitch with the layers that were measured, or an anchor, in eval mode on the CPU.

    Args:
        name: of the stitch, ``SOURCE:i-TARGET:j``, or of the anchor, which is the pretrained one.
        tier: whose layers a stitch gets; by default those of the best tier that is stored.
        training: whose weights those of tier ``finetuned`` are; by default of what the study's own
            selection chooses.
        allow_code: whether to run the Python functions that make its anchors, if any do.

    Raises:
        SelectionError: the study was not computed, has no such network, or not at that tier.
        FormatError: an anchor is not as it was when the study was computed.
        AnchorError: an anchor can't be loaded.
    """
    document, where = stored_scores(store, study), Path(f"study {study.name}")
    if document is None:
        raise SelectionError(f"{where}: there are no scores yet; run `klas run` first")
    found = _place_of(document, name)
    if found is None:
        return _anchor(document, study, name, where, allow_code)
    pair, row = found
    kept, layers = _stored_layers(store, study, pair, row, tier, training)
    trained = _trained(store, study, pair, layers) if isinstance(layers, FinetunedWeights) else None
    listed = _list_of(document, study, pair, row, trained)
    weights = ListWeights(
        path=where,
        tier=_TIER_OF[type(layers)],
        tensors=weights_of(pair.names, kept, [pair.everywhere[row]]),
    )
    anchors = {name: listed_anchor(listed, name, where, allow_code) for name in pair.names}
    return listed_network(
        Listed(path=where, document=listed, anchors=anchors, weights=weights), index=0
    )


_TIER_OF: dict[type[Layers], Tier] = {
    ZeroShot: "zero_shot",
    Tuned: "tuned",
    FinetunedWeights: "finetuned",
}


def _place_of(document: Document, name: str) -> tuple[Pair, int] | None:
    """Where a stitch of this name is among the candidates."""
    for pair in pairs_of(document):
        (source, target), places = pair.names, pair.everywhere
        names = [stitch_name(source, i, target, j) for i, j in places]
        if name in names:
            return pair, names.index(name)
    return None


def _anchor(document: Document, study: Study, name: str, where: Path, allow_code: bool) -> Network:
    listed = _list_of(document, study, None, 0, None)
    members = anchor_members(listed)
    member = next((member for member in members if member.name == name), None)
    if member is None:
        known = listing(member.name for member in members)
        raise SelectionError(
            f"{where}: has no network {name!r}; a stitch is called SOURCE:i-TARGET:j, and its "
            f"anchors with a head are {known}"
        )
    return anchor_network(where, listed, member, allow_code)


def _list_of(
    document: Document,
    study: Study,
    pair: Pair | None,
    row: int,
    trained: NDArray[np.float64] | None,
) -> StitchList:
    """The one stitch as a list; without a pair, a list of no stitch with every anchor."""
    every = pairs_of(document) if pair is None else [pair]
    return stitch_list(
        document,
        study.selection.model_copy(update={"metric": "snnet"}),  # which needs no scores
        pairs=every,
        by_hand=[(np.arange(len(p.macs)) == row) & (p is pair) for p in every],
        finetuned=lambda pair, chosen: trained,
    )


def _stored_layers(
    store: Store,
    study: Study,
    pair: Pair,
    row: int,
    tier: Tier | None,
    training: FinetunedWeights | None,
) -> tuple[Arrays, Layers]:
    """What the store holds of a pair at the tier that is wanted, and of which result it is.

    Raises:
        SelectionError: it holds nothing of that stitch at that tier.
    """
    keys = Keys.of_document(pair.document, study)
    (source, target), place = pair.names, pair.everywhere[row]
    for wanted in TIERS[::-1] if tier is None else (tier,):
        layers: Layers
        if wanted == "finetuned":
            layers = training or _own_training(pair, study)
        else:
            layers = (Tuned if wanted == "tuned" else ZeroShot)(source=source, target=target)
        arrays = store.get(keys.of(layers))
        if arrays is not None and isinstance(layers, ZeroShot):
            fitted = store.get(keys.of(Fit(source=source, target=target)))
            arrays = None if fitted is None else fitted | arrays
        if arrays is not None and place in layer_states(arrays):
            return arrays, layers
    raise SelectionError(_not_stored(pair, place, tier))


def _not_stored(pair: Pair, place: Place, tier: Tier | None) -> str:
    stitch = f"{pair.name}, {place[0]} → {place[1]}"
    if tier is None:
        return f"{stitch}: the store holds no layers of it; run `klas run` again"
    if tier == "tuned" and place in map(tuple, pair.raw.get("diverged", [])):
        return f"{stitch}: its tuning diverged, so it has no layer of tier tuned; take zero_shot"
    command = {
        "zero_shot": "run `klas run --until zero_shot`",
        "tuned": "run `klas run`",
        "finetuned": "run `klas finetune` with a selection that has it",
    }
    return f"{stitch}: the store holds no layers of tier {tier} of it; {command[tier]}"


def _own_training(pair: Pair, study: Study) -> FinetunedWeights:
    """The joint training of what the study's own selection chooses."""
    selection = choose(pair, study.selection)
    racing = racing_in(selection, study.selection.metric)
    return joint_training(pair, selection.chosen, study.finetuning, racing).weights


def _trained(
    store: Store, study: Study, pair: Pair, weights: FinetunedWeights
) -> NDArray[np.float64] | None:
    """(N,) accuracies of a joint training; None if they are not stored."""
    result = store.get(Keys.of_document(pair.document, study).of(finetuned(weights)))
    return None if result is None else by_row(pair, result["accuracy"])
