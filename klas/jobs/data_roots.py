"""Which folders of this machine jobs of the app may read: whoever reaches the app can start them.

The command reads whatever its user may read.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from klas.errors import StudyError
from klas.storage.store import Store
from klas.study import Study, built_in_named, load_study

VARIABLE = "KLAS_DATA_ROOTS"

_OF_THE_HUB = re.compile(r"hfds/([^:]*)")


def data_roots(store: Store) -> tuple[str, ...]:
    """The folders under which the app may read, without links in their paths.

    Those that ``KLAS_DATA_ROOTS`` names, parted as in ``PATH``. By default the home folder, the
    folders of the saved studies and of the file that ``KLAS_STUDY`` names, and what that file
    names: it is the choice of whoever started the app.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return tuple(os.path.realpath(root) for root in named.split(os.pathsep) if root)
    roots = [os.path.expanduser("~"), str(store.root / "studies")]
    file = os.environ.get("KLAS_STUDY")
    if file is not None and built_in_named(file) is None:
        roots.append(str(Path(file).resolve().parent))
        with contextlib.suppress(StudyError):  # its page says so
            roots += [path for _, path in _paths(load_study(file).model_dump(mode="json"))]
    real = map(os.path.realpath, roots)
    return tuple(dict.fromkeys(root for root in real if os.path.dirname(root) != root))


def refuse_elsewhere(study: Study | Mapping[str, Any], store: Store) -> None:
    """Refuse a study that names images, classes, a class map or weights outside :func:`data_roots`.

    Nothing is looked up there, so that nobody learns what there is.

    Args:
        study: a study, or the plain values of one that is being made.

    Raises:
        StudyError: it does.
    """
    plain = study.model_dump(mode="json") if isinstance(study, Study) else study
    roots = data_roots(store)
    for what, path in _paths(plain):
        try:
            real = os.path.realpath(os.path.expanduser(path))
        except (OSError, ValueError):
            continue  # it can't be a path; whoever opens it says so
        if not any(_is_under(real, root) for root in roots):
            raise StudyError(
                f"{what}: {path} lies in no folder that the app may read; whoever starts the app "
                f"can name it in the variable {VARIABLE} (now {os.pathsep.join(roots) or 'empty'})"
            )


def _paths(plain: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Everything in a study that is, or may be, a path; and what it is called there."""
    data = plain.get("data", {})
    for key in ("train", "val", "test", "classes", "class_map"):
        named = data.get(key)
        if isinstance(named, str) and (path := _local(named)) is not None:
            yield f"data.{key}", path
    for anchor in plain.get("anchors", ()):
        if anchor.get("weights"):
            yield f"weights of {anchor['name']}", anchor["weights"]


def _local(ref: str) -> str | None:
    """The path that a reference means; None for a collection, or a data set of the hub.

    A relative one counts as a path where something of that name lies here.
    """
    if (hub := _OF_THE_HUB.match(ref)) is not None:
        ref = hub[1]  # the hub's own library takes a folder's name too
    parts = ref.replace(os.sep, "/").split("/")
    if os.path.isabs(ref) or ref.startswith("~") or ".." in parts:
        return ref
    try:
        return ref if ref and os.path.lexists(ref) else None
    except ValueError:
        return None


def _is_under(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
