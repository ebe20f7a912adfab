"""Forward times as a latency job leaves them, without running one."""

from klas.results.result import Machine
from klas.results.timings import note_timings
from tests.conftest import SMALL
from tests.stored import latency_key

MACHINE = {"device": "this processor", "threads": 1, "torch": "2.0"}


def time_pairs(store, pairs, machine=MACHINE):
    """Put times into the store: (10 i + j) ms of a stitch, 5 ms of an anchor."""

    def spread(ms):
        return {"median_ms": ms, "low_ms": ms - 1, "high_ms": ms + 2, "passes": 7}

    for pair in pairs:
        stitches = {f"{i}-{j}": spread(10.0 * i + j) for i, j in pair.stitches}
        anchors = {name: spread(5.0) for name in pair.names}
        result = {"machine": machine, "batch": 1, "stitches": stitches, "anchors": anchors}
        store.put(latency_key(pair, SMALL, machine), result)
        note_timings(store, SMALL, pair, Machine(**machine))
