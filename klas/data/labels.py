"""Which column of an anchor's output stands for which class of the images.

Probes are trained on the user's own classes, but accuracies and the ranking of the anchors need
an anchor's head, whose columns have an order of their own. A wrong order gives no error, only
wrong numbers, so whatever is not certain is refused.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from timm.data import ImageNetInfo, infer_imagenet_subset

from klas.data.files import listed
from klas.errors import AnchorError, DataError
from klas.foreign import read_at_most, reading

Columns = tuple[int, ...] | None
"""The column of every class, in the order of the classes; None for all columns in their order."""

# Stanford Dogs has folders like n02085620-Chihuahua.
_WORDNET_ID = re.compile(r"(n\d{8})(?:[-_ ].*)?")
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}")
_MOST_BYTES = 2**24  # of a class map; one of ImageNet-21k takes a tenth
_ALIKE = 0.9  # the share of names that must match ImageNet's; the hub changes a few


class Output(NamedTuple):
    """An anchor's head.

    Attributes:
        classes: how many it distinguishes; 0 without a head.
        tagged: whether its weights are timm's own, so that a head of ImageNet's width is
            ImageNet's.
    """

    classes: int
    tagged: bool


def columns_by_anchor(
    outputs: Mapping[str, Output],
    class_names: Sequence[str],
    *,
    class_map: Mapping[str, int] | None = None,
    where: str,
) -> dict[str, Columns]:
    """The columns of every anchor that has a head; those without are left out.

    Args:
        outputs: the anchors' heads, by name.
        class_names: the images' classes, in the order of their labels.
        class_map: class → column, as the study's ``[data] class_map`` gives it.
        where: the images' reference, for the sentence.

    Raises:
        AnchorError: the anchors are trained on different label sets, and it is not known which
            column of each is which class.
        DataError: as :func:`class_columns`.
    """
    heads = {name: output for name, output in outputs.items() if output.classes}
    if len({output.classes for output in heads.values()}) > 1:
        sets = ", ".join(f"{name}: {_label_set(o.classes)}" for name, o in heads.items())
        if class_map is not None:
            raise AnchorError(
                f"the anchors are trained on different label sets ({sets}), which one class_map "
                "cannot serve; name the folders by WordNet ids or take anchors of one label set"
            )
        if not all(_WORDNET_ID.fullmatch(name) for name in class_names):
            raise AnchorError(
                f"the anchors are trained on different label sets ({sets}); only folders named "
                f"by WordNet ids can serve them all, and those of {where} are not"
            )
    return {
        name: class_columns(
            class_names,
            classes=output.classes,
            tagged=output.tagged,
            class_map=class_map,
            where=f"{where}, {name}",
        )
        for name, output in heads.items()
    }


def class_columns(
    class_names: Sequence[str],
    *,
    classes: int,
    tagged: bool,
    class_map: Mapping[str, int] | None = None,
    where: str,
) -> Columns:
    """The column of an anchor's output that stands for each class.

    ``class_map`` decides if it is given. Otherwise WordNet ids (``n01440764``, or
    ``n02085620-Chihuahua``) are looked up in the ImageNet label set that has as many classes as
    the anchor; any subset of it will do. Otherwise there must be as many classes as columns, and
    the anchor must have been trained with timm's order of the names (sorted, with numbers inside
    a name as numbers).

    Args:
        class_names: the images' classes, in the order of their labels.
        classes: how many columns the output has.
        tagged: whether the weights are timm's own.
        class_map: class → column, from 0. Names that are not a class here are ignored.
        where: the beginning of an error's sentence.

    Raises:
        DataError: the columns are not known for certain, or two classes would share one.
    """
    if class_map is not None:
        missing = [name for name in class_names if name not in class_map]
        if missing:
            raise DataError(f"{where}: the class_map lacks the classes {listed(missing)}")
        columns = tuple(class_map[name] for name in class_names)
    else:
        columns = _by_name(class_names, classes, tagged, where)
    return _checked(class_names, columns, classes, where)


def read_class_map(class_map: str | Path | Mapping[str, int] | None) -> dict[str, int] | None:
    """The study's ``class_map``, which is a table or a file of one.

    Files: ``.txt``, a class per line, the first being column 0 (timm's form); ``.csv`` of
    ``class,column`` lines; ``.json`` of one object. timm also takes pickles; they are refused.

    Raises:
        DataError: the file can't be read or doesn't give a column, 0 or more, to each class.
    """
    if class_map is None:
        return None
    if isinstance(class_map, Mapping):
        return _table(class_map.items(), "class_map")
    path = Path(class_map)
    kind = path.suffix.lower()
    if kind not in (".txt", ".csv", ".json"):
        raise DataError(
            f"{path}: a class map is a .txt file with a class per line, or .csv or .json of "
            "class and column; pickles are not opened"
        )
    try:
        text = read_at_most(path, _MOST_BYTES, DataError).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    with reading(DataError, f"{path}: is not a class map", "mend it"):
        return _table_of(text, kind, path)


def _table_of(text: str, kind: str, path: Path) -> dict[str, int]:
    if kind == ".txt":
        lines = [line.strip() for line in text.rstrip().splitlines()]
        return _table([(line, k) for k, line in enumerate(lines) if line], str(path))
    if kind == ".csv":
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if rows and len(rows[0]) == 2 and not _NUMBER.fullmatch(rows[0][1].strip()):
            rows = rows[1:]  # the columns' own names
        if any(len(row) != 2 for row in rows):
            raise DataError(f"{path}: a line of a class map is class,column")
        pairs = [(name, _number(column)) for name, column in rows]
        return _table(pairs, str(path))
    try:
        raw = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from None
    if not isinstance(raw, list) or not all(isinstance(pair, tuple) for pair in raw):
        raise DataError(f"{path}: is not a JSON object of class and column")
    return _table(raw, str(path))


def _by_name(names: Sequence[str], classes: int, tagged: bool, where: str) -> tuple[int, ...]:
    label_set = _imagenet(classes)
    ids = [match.group(1) if (match := _WORDNET_ID.fullmatch(n)) else None for n in names]
    same_count = len(names) == classes
    if label_set and all(ids):
        columns = _columns_of_ids(label_set)
        unknown = [name for name, key in zip(names, ids) if key not in columns]
        if not unknown:
            return tuple(columns[key] for key in ids if key)
        # The user's own weights may have been trained on exactly these folders.
        if tagged or not same_count:
            raise DataError(
                f"{where}: {label_set}, the anchor's label set, has no class "
                f"{listed(unknown)}; leave out those folders or give [data] class_map"
            )
    elif label_set and not (same_count and _in_imagenets_order(names, label_set)):
        odd = [name for name, key in zip(names, ids) if not key]
        raise DataError(
            f"{where}: the anchor distinguishes the {classes} classes of {label_set}, but "
            f"{listed(odd)} are not WordNet ids (like n01440764), so the order of its outputs is "
            "unknown; rename the folders or give [data] class_map (class → index)"
        )
    elif not same_count:
        raise DataError(
            f"{where}: the images have {len(names)} classes ({listed(names)}), but the anchor "
            f"distinguishes {classes}; give [data] class_map (class → index), or an anchor that is "
            "trained on these classes"
        )
    return tuple(range(classes))


def _checked(names: Sequence[str], columns: tuple[int, ...], classes: int, where: str) -> Columns:
    beyond = [f"{name} → {c}" for name, c in zip(names, columns) if not 0 <= c < classes]
    if beyond:
        raise DataError(
            f"{where}: the anchor has the outputs 0 to {classes - 1}, but the class_map says "
            f"{listed(beyond)}"
        )
    owners: dict[int, str] = {}
    for name, column in zip(names, columns):
        if column in owners:
            raise DataError(
                f"{where}: the classes {owners[column]} and {name} are both output {column} of "
                "the anchor; merge the folders or correct their names or the class_map"
            )
        owners[column] = name
    return None if columns == tuple(range(classes)) else columns


def _imagenet(classes: int) -> str | None:
    """The ImageNet label set with so many classes, by timm's name."""
    name: str | None = infer_imagenet_subset({"num_classes": classes})
    return name


def _label_set(classes: int) -> str:
    return _imagenet(classes) or f"{classes} classes"


@cache
def _columns_of_ids(label_set: str) -> dict[str, int]:
    return {key: column for column, key in enumerate(ImageNetInfo(label_set).label_names())}


def _in_imagenets_order(names: Sequence[str], label_set: str) -> bool:
    """Whether the names are ImageNet's own descriptions ("tench, Tinca tinca"), in its order.

    The hub's imagenet-1k has them, apart from a few that two classes would share.
    """
    own: list[str] = ImageNetInfo(label_set).label_descriptions()
    alike = sum(1 for given, known in zip(names, own) if given == known)
    return alike >= int(_ALIKE * len(own))


def _table(pairs: Any, where: str) -> dict[str, int]:
    table: dict[str, int] = {}
    for name, column in pairs:
        if not isinstance(column, int) or isinstance(column, bool) or column < 0:
            raise DataError(f"{where}: {name!r} needs a column number, 0 or more")
        if name in table:
            raise DataError(f"{where}: {name!r} occurs twice")
        table[name] = column
    if not table:
        raise DataError(f"{where}: holds no class")
    return table


def _number(text: str) -> int | str:
    return int(text) if _NUMBER.fullmatch(text.strip()) else text
