"""Titles for studies, which name settings where names are the same. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from klas.results.usage import StudyUsage
from klas.study import Study

MOST = 2
"""Settings that a title names."""


def titles(studies: Sequence[StudyUsage]) -> list[str]:
    """A title for each study: its name.

    Where a name comes again, what differs from the first study of that name follows it, and a
    piece of its digest where that is not enough.
    """
    firsts: dict[str, Study | None] = {}
    named = []
    for study_usage in studies:
        name, study = study_usage.known.name, study_usage.known.study
        first = firsts.setdefault(name, study)
        settings = [] if study is None or first is None else list(_differences(first, study))
        more = ["…"] if len(settings) > MOST else []
        named.append(f"{name} ({', '.join(settings[:MOST] + more)})" if settings else name)
    often = Counter(named)
    return [
        f"{title} {study_usage.known.study.results_key()[:6]}"
        if often[title] > 1 and study_usage.known.study is not None
        else title
        for title, study_usage in zip(named, studies)
    ]


def counted(names: Iterable[str]) -> str:
    """Names as a list in a sentence, a name that occurs again only once."""
    return ", ".join(n if k == 1 else f"{k} others named {n}" for n, k in Counter(names).items())


def _differences(first: Study, other: Study) -> Iterable[str]:
    """Each setting of the other that is not the first's, as it stands in a study's file."""
    old, new = (_flat(study.model_dump(mode="json")) for study in (first, other))
    for name, value in new.items():
        if name != "name" and old.get(name) != value:
            yield f"other {name}" if isinstance(value, list | dict) else f"{name} = {value}"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": v for inner, v in value.items()}
        else:
            flat[name] = value
    return flat
