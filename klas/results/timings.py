"""Forward times that were measured, in the store. No torch here.

Times depend on the machine, so they are kept apart from the scores document, each with the machine
that it was measured on. A note in the store says which machines a study's pairs were timed on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from klas.results.costs import Timings
from klas.results.keys import Keys
from klas.results.pair import Pair
from klas.results.refs import timed, timings_ref
from klas.results.result import Latency, Machine
from klas.selection.space import name_of
from klas.storage.store import Store
from klas.study import Study


def note_timings(store: Store, study: Study, pair: Pair, machine: Machine) -> None:
    """Note that a pair was timed on a machine, so that :func:`timings_of` finds it.

    In a read-only store nothing is noted, for nothing lands there.
    """
    if store.read_only:
        return
    name = timings_ref(study.results_key())
    source, target = pair.names
    new = (source, target, machine)
    with store.lock(name):
        every = [*(e for e in timed(store, study.results_key()) if e != new), new]
        store.set_ref(name, [[*names, on.to_json()] for *names, on in every])


def timings_of(store: Store, study: Study, pair: Pair) -> list[Timings]:
    """A pair's forward times on every machine where they were measured, the latest first."""
    keys, (source, target) = Keys.of_document(pair.document, study), pair.names
    noted = timed(store, study.results_key())
    machines = [machine for *names, machine in noted if tuple(names) == pair.names]
    wanted = [Latency(source=source, target=target, machine=m) for m in reversed(machines)]
    times = (store.get(keys.of(result)) for result in wanted)
    return [_timings(pair, result) for result in times if result is not None]


def _timings(pair: Pair, result: Mapping[str, Any]) -> Timings:
    of = [result["stitches"][name_of(place)] for place in pair.everywhere]
    median, low, high = (
        np.array([network[part] for network in of], dtype=np.float64)
        for part in ("median_ms", "low_ms", "high_ms")
    )
    return Timings(
        machine=result["machine"],
        median=median,
        low=low,
        high=high,
        anchors={name: network["median_ms"] for name, network in result["anchors"].items()},
        passes=np.array([network["passes"] for network in of], dtype=np.int64),
    )
