"""What a share is made from, on its way to a worker on another host."""

from collections import OrderedDict

from klas.errors import StoreError, WorkerError, one_line
from klas.pipeline.context import Context
from klas.pipeline.engines.ray_worker import Need, pieces_of
from klas.results.result import Result
from klas.storage.index import Entry

KEPT_BYTES = 2**30  # of needs that stay in Ray's store for the next worker that needs them


class Needs:
    """Stored results as what travels: their files in Ray's object store.

    Those that were asked for last stay there, so that a file is put there once for all hosts.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: OrderedDict[str, Need] = OrderedDict()

    def entry(self, result: Result) -> Entry:
        """What the store knows of a result.

        Raises:
            StoreError: it is not there, though it was made before.
        """
        context, key = self._context, self._context.keys.of(result)
        entry = context.store.entry(key.digest) if context.has(result) else None
        if entry is None:
            raise StoreError(
                f"{context.store.root}: {key.label} was deleted while it was needed; run it again"
            )
        return entry

    def opened(self) -> list[Entry]:
        """What was found out when the study was opened: damaged images, costs of the anchors.

        Workers get it, or each of them would look at every image again.
        """
        context = self._context
        _ = context.costs, context.data
        entries = (context.store.entry(digest) for digest in sorted(context.used))
        return [e for e in entries if e and e.kind == "json" and e.stage in ("data", "anchors")]

    def of(self, entry: Entry) -> Need:
        """A stored result, in Ray's store.

        Raises:
            WorkerError: there is no room for it.
        """
        import ray

        need = self._kept.pop(entry.digest, None)
        if need is None:
            try:
                pieces = [ray.put(p) for p in pieces_of(self._context.store.path_of(entry))]
            except (OSError, ray.exceptions.RayError) as error:
                raise WorkerError(
                    f"{entry.label}: Ray's object store could not take it ({one_line(error)})"
                ) from None
            need = Need(entry=entry, pieces=pieces)
        self._kept[entry.digest] = need
        while sum(kept.entry.bytes for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return need

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
