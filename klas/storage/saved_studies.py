"""The studies that were saved from the app: TOML files in the store's folder, one a study."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from klas.errors import StoreError, StudyError
from klas.storage.store import Store
from klas.study import Study, built_in_studies, load_study, parse_study

_WANTED = {
    "classification": "a folder with one folder of images per class",
    "segmentation": "a folder with the folders images and labels",
    "language": "a .txt or .jsonl file, or a folder of such",
}
"""What data of a task are."""


def saved_studies(store: Store) -> list[str]:
    """The names of the saved studies, sorted."""
    return sorted(path.stem for path in _folder(store).glob("*.toml"))


def study_path(store: Store, name: str) -> Path:
    """The file of a saved study.

    Raises:
        StudyError: there is none of that name.
    """
    # Names also come from web addresses: nothing is opened that the folder does not list.
    if name not in saved_studies(store):
        known = ", ".join(saved_studies(store)) or "none"
        raise StudyError(f"there is no saved study {name[:80]!r}; there are: {known}")
    return _folder(store) / f"{name}.toml"


def open_study(store: Store, name: str) -> Study:
    """Read a saved study.

    Raises:
        StudyError: there is none of that name, or its file is not a valid study.
    """
    return load_study(study_path(store, name))


def save_study(store: Store, study: Study, *, replace: bool = False) -> Path:
    """Save a study under its name; returns its file.

    Raises:
        StudyError: another study has that name already and ``replace`` is false, or the name
            is that of a built-in study.
        StoreError: the file cannot be written.
    """
    if study.name in built_in_studies():
        raise StudyError(f"{study.name!r} is a built-in study; choose another name")
    path = _folder(store) / f"{study.name}.toml"
    text = study.to_toml().encode()
    with store.lock("studies"):
        if os.path.exists(path) and not replace and path.read_bytes() != text:
            raise StudyError(
                f"there is a study {study.name!r} already; choose another name, or replace it"
            )
        store.write_file(path, text)
    return path


def duplicate_study(store: Store, study: Study, name: str) -> Study:
    """Save the same study under another name; returns the copy.

    Raises:
        StudyError: the name is taken, or it is not a valid name.
    """
    copy = parse_study(study.model_dump(mode="json") | {"name": name}, "study")
    if name in saved_studies(store):
        raise StudyError(f"there is a study {name!r} already; choose another name")
    save_study(store, copy)
    return copy


def rename_study(store: Store, name: str, new: str) -> Study:
    """Give a saved study another name; returns it. Its results stay: no key contains the name.

    Raises:
        StudyError: there is none of the old name, or the new one is taken or not a valid name.
        StoreError: the folder cannot be written.
    """
    with store.lock("studies"):
        plain = open_study(store, name).model_dump(mode="json")
        renamed = parse_study(plain | {"name": new}, "study")
        if new == name:
            return renamed
        if new in saved_studies(store):
            raise StudyError(f"there is a study {new!r} already; choose another name")
        # In this order a process that is killed in between leaves two copies instead of none.
        save_study(store, renamed)
        _unlink(study_path(store, name))
    return renamed


def remove_study(store: Store, name: str, seen: Study | None) -> None:
    """Delete a saved study's file; its results stay (:func:`klas.results.freeing.delete_study`).

    Args:
        seen: the study as the user saw it; None if its file was not a valid study.

    Raises:
        StudyError: there is none of that name, or it was changed meanwhile.
        StoreError: the folder cannot be written.
    """
    with store.lock("studies"):
        path = study_path(store, name)
        try:
            current = open_study(store, name)
        except StudyError:
            current = None
        if current != seen:
            raise StudyError(f"study {name!r} was changed meanwhile; look at it again")
        _unlink(path)


def find_study(store: Store, wanted: str) -> Study:
    """A study by the name of a saved one or of a built-in one, else by its file.

    Raises:
        StudyError: there is neither, or its file is not a valid study.
    """
    if (built_in := built_in_studies().get(wanted)) is not None:
        return built_in
    if wanted in saved_studies(store):
        return open_study(store, wanted)
    if _existing(wanted) is None:
        known = ", ".join([*built_in_studies(), *saved_studies(store)])
        raise StudyError(
            f"{wanted[:80]!r} is neither a study file nor a saved study; there are: {known}"
        )
    return load_study(wanted)


def make_study(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Study:
    """A study from plain values: ``base`` with some values, or values of its sections, changed.

    Data, classes, class map and weights that name a file or folder of this machine become absolute
    paths, so that the study means the same wherever it is saved.

    Raises:
        StudyError: a value is not valid, or a folder or file does not exist.
    """
    raw = dict(base)
    for name, value in changes.items():
        section = isinstance(value, Mapping)
        raw[name] = {**raw.get(name, {}), **value} if section else value
    plain = parse_study(raw, "study").model_dump(mode="json")
    for split in ("train", "val", "test"):
        if plain["data"][split] is not None:
            plain["data"][split] = _absolute(plain["data"][split], split, plain.get("task"))
    if (classes := plain["data"].get("classes")) is not None:
        plain["data"]["classes"] = _absolute_file(classes, "data.classes: the file")
    if isinstance(class_map := plain["data"]["class_map"], str):
        plain["data"]["class_map"] = _absolute_file(class_map, "data.class_map: the file")
    for anchor in plain["anchors"]:
        if anchor["weights"] is not None:
            path = _existing(anchor["weights"])
            if path is None:
                raise StudyError(
                    f"{anchor['name']}: the weights file {anchor['weights']} does not exist"
                )
            anchor["weights"] = str(path)
    return parse_study(plain, "study")


def _absolute(text: str, split: str, task: str | None) -> str:
    """The path of a folder or file here; a collection, such as ``hfds/…``, stays as it is."""
    where = f"data.{split}"
    path = _existing(text)
    if path is not None:
        return str(path)
    if not text.strip():
        raise StudyError(f"{where}: name {_WANTED[task or 'classification']}")
    if text.startswith(("/", "~", ".")):
        raise StudyError(f"{where}: there is no folder {text}")
    return text


def _absolute_file(text: str, named: str) -> str:
    path = _existing(text)
    if path is None or not path.is_file():
        raise StudyError(f"{named} {text} does not exist")
    return str(path)


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path.resolve() if text.strip() and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # it cannot be a file's name
        return None


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be deleted ({error.strerror})") from None


def _folder(store: Store) -> Path:
    return store.root / "studies"
