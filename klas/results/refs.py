"""What the store keeps for a study beside its results: refs, named by the study's results key.

They are its scores document, the note of which results are its own, the study itself, and the note
of the machines that its pairs were timed on. No torch here.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from klas.errors import StudyError
from klas.results.documents.schemas import adapter
from klas.results.documents.scores import ScoresDocument
from klas.results.result import Machine
from klas.storage.index import Digest
from klas.storage.records import is_unprotected
from klas.storage.store import Store
from klas.study import Study, parse_study

Timed = tuple[str, str, Machine]
"""The pair that was timed, and the machine."""

_USED, _TIMED = TypeAdapter(list[Digest]), TypeAdapter(list[Timed])


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
    """A study's scores document; None before its first run, or where it is damaged."""
    return stored_document(store, study.results_key())


def stored_document(store: Store, key: str) -> ScoresDocument | None:
    """The scores document of the studies with this results key, as :func:`stored_scores`."""
    document = store.get_ref(scores_ref(key))
    return document if _fits(adapter("klas-scores"), document) else None


def used_digests(store: Store, key: str) -> set[str]:
    """The digests that runs of the studies with this results key noted as their results."""
    noted = store.get_ref(used_ref(key))
    return set(noted) if _fits(_USED, noted) else set()


def timed(store: Store, key: str) -> list[Timed]:
    """The pairs that were timed, with the machines, in the order in which that was done."""
    noted = store.get_ref(timings_ref(key))
    return _TIMED.validate_python(noted) if _fits(_TIMED, noted) else []


def note_used(store: Store, study: Study, digests: Iterable[str]) -> None:
    """Note results as a study's, beside the ones noted before; they need not be there yet.

    In a read-only store nothing is noted, for nothing lands there.
    """
    if store.read_only:
        return
    key, new = study.results_key(), set(digests)
    if not _is_read(store, store.ref_path(study_ref(key))):
        store.set_ref(study_ref(key), study.model_dump(mode="json"))
    name = used_ref(key)
    with store.lock(name):
        known = used_digests(store, key)
        if not new <= known:
            store.set_ref(name, sorted(known | new))


def damaged_refs(store: Store) -> list[str]:
    """The names of the files of refs that are not what was written, sorted."""
    return [path.name for path in _files(store) if store.get_ref(path.stem) is None]


def refs_of_others(store: Store) -> list[str]:
    """The names of those that are whole, but of another form than this klas reads, sorted."""
    whole = (path for path in _files(store) if store.get_ref(path.stem) is not None)
    return [path.name for path in whole if not _is_read(store, path)]


def unprotected_refs(store: Store) -> int:
    """How many refs an older klas wrote, without a checksum."""
    return sum(is_unprotected(path) for path in _files(store))


def remove_damaged_refs(store: Store) -> list[str]:
    """Delete the refs that are damaged; returns their names."""
    names = damaged_refs(store)
    for name in names:
        (store.root / "refs" / name).unlink(missing_ok=True)
    return names


def _is_read(store: Store, path: Path) -> bool:
    """Whether a ref holds what its name promises."""
    content, kind = store.get_ref(path.stem), path.stem.partition("-")[0]
    match kind:
        case "scores":
            return _fits(adapter("klas-scores"), content)
        case "used":
            return _fits(_USED, content)
        case "latency":
            return _fits(_TIMED, content)
        case "study" if isinstance(content, dict):
            with suppress(StudyError):
                parse_study(content, path.name)
                return True
    return False


def _fits(form: TypeAdapter[Any], content: Any) -> bool:
    try:
        form.validate_python(content)
    except ValidationError:
        return False
    return True


def _files(store: Store) -> list[Path]:
    return sorted((store.root / "refs").glob("*.json"))
