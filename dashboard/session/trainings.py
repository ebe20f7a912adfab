"""The recipe as this session edits it, and the trainings in the cache folder."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from dashboard.model.trainings import Curves, Edits, Training, curves_of, edited
from dashboard.session.resources import store, study
from dashboard.session.state import session
from klas.deploy.training.log import LOG, NOTE, read_log
from klas.errors import FormatError
from klas.recipe import TrainingSpec
from klas.results.documents.networks import ElasticDocument
from klas.results.documents.stitches import StitchList
from klas.results.formats import read
from klas.results.pair import Document
from klas.storage.records import parsed
from klas.storage.trained import LIST, stored_trainings


def recipe_at_hand() -> TrainingSpec:
    """The study's recipe with what was edited in this session.

    Raises:
        StudyError: an edit makes no sense.
    """
    return edited(study(), session().recipe)


def edit(name: str, value: Any) -> None:
    """Set one of the recipe's settings."""
    cast(dict[str, Any], session().recipe)[name] = value


def forget_edits() -> None:
    """Go back to the study's own recipe."""
    session().recipe = Edits()


def trainings(document: Document) -> list[Training]:
    """Those of this study's anchors that were begun, the one that was asked for last first."""
    found = []
    for one in stored_trainings(store()):
        listed, recipe = _list(one.folder / LIST), _recipe(one.folder / NOTE)
        if listed is not None and recipe is not None:
            training = Training(
                name=one.name,
                folder=one.folder,
                finished=one.finished,
                listed=listed,
                recipe=recipe,
            )
            if training.is_of(document):
                found.append(training)
    return found


def curves(training: Training) -> Curves:
    """Its log as it is now."""
    return curves_of(read_log(training.folder / LOG))


def trained_network(training: Training) -> ElasticDocument:
    """What its finished network says of itself.

    Raises:
        FormatError: it is damaged.
    """
    return read(training.folder / "config.json", "klas-elastic")


def _list(path: Path) -> StitchList | None:
    try:
        return _read_list(path, path.stat().st_mtime_ns)
    except (OSError, FormatError):
        return None


@lru_cache(maxsize=64)  # every run of a page asks for all of them
def _read_list(path: Path, stamp: int) -> StitchList:
    return read(path, "klas-stitches")


def _recipe(path: Path) -> TrainingSpec | None:
    """How a training was begun; None where it was not, or by a klas that knows more."""
    try:
        noted = parsed(path.read_bytes())["recipe"]
        return TrainingSpec.model_validate_json(json.dumps(noted))
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
