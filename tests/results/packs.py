"""A pack with one result, and what a store holds."""

from klas.storage.key import Key
from tests.conftest import SMALL


def contents(store):
    """Everything in a store that a pack could change."""
    return {
        str(p.relative_to(store.root)): p.read_bytes()
        for folder in ("objects", "refs", "studies", "tmp")
        for p in (store.root / folder).rglob("*")
        if p.is_file()
    }


def minimal(store, study=SMALL, document=None, size=3):
    """A store with one result of a study; returns its digest."""
    key = Key(stage="features", version=1, inputs={"size": size}, label="one")
    store.put(key, "x" * size)
    store.set_ref(f"used-{study.results_key()}", [key.digest])
    if document is not None:
        store.set_ref(f"scores-{study.results_key()}", document)
    return key.digest
