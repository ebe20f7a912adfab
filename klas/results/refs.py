"""What the store keeps for a study beside its results: refs, named by the study's results key.

They are its scores document, the note of which results are its own, the study itself, and the note
of the machines that its pairs were timed on. No torch here.
"""

from collections.abc import Iterable

from klas.results.documents.scores import ScoresDocument
from klas.storage.store import Store
from klas.study import Study


def scores_ref(key: str) -> str:
    """The name of the scores document of the studies with this results key."""
    return f"scores-{key}"


def used_ref(key: str) -> str:
    """The name of the note of what their runs read or wrote."""
    return f"used-{key}"


def study_ref(key: str) -> str:
    """The name of the study itself, as its first run noted it; its own file may be elsewhere."""
    return f"study-{key}"


def timings_ref(key: str) -> str:
    """The name of the note of the machines that their pairs were timed on."""
    return f"latency-{key}"


def stored_scores(store: Store, study: Study) -> ScoresDocument | None:
    """A study's scores document; None before its first run."""
    document: ScoresDocument | None = store.get_ref(scores_ref(study.results_key()))
    return document


def used_digests(store: Store, key: str) -> set[str]:
    """The digests that runs of the studies with this results key noted as their results."""
    noted = store.get_ref(used_ref(key))
    return {d for d in noted if isinstance(d, str)} if isinstance(noted, list) else set()


def note_used(store: Store, study: Study, digests: Iterable[str]) -> None:
    """Note results as a study's, beside the ones noted before; they need not be there yet.

    In a read-only store nothing is noted, for nothing lands there.
    """
    if store.read_only:
        return
    key, new = study.results_key(), set(digests)
    if store.get_ref(study_ref(key)) is None:
        store.set_ref(study_ref(key), study.model_dump(mode="json"))
    name = used_ref(key)
    with store.lock(name):
        known = used_digests(store, key)
        if not new <= known:
            store.set_ref(name, sorted(known | new))
