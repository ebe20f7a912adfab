"""Data sets of the Hugging Face hub, through the ``datasets`` package if it is installed."""

import contextlib
import hashlib
import importlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
from huggingface_hub import constants
from numpy.typing import NDArray
from PIL import Image

from klas.data.files import DEEP, SAMPLED_BYTES, SAMPLED_FILES
from klas.data.pictures import UnreadableError, decoded, is_deep
from klas.errors import DataError

PREFIX = "hfds/"
CONNECT_SECONDS = 5.0


class HubImages:
    """``hfds/owner/name:split``: a split of a data set on the hub (or in its local cache).

    The two columns are known by their types: the one of images, and the one of class labels (or
    one called ``label``). Labels are read without touching an image.

    Raises:
        DataError: no split is named, the package is absent, the data set can't be fetched, or
            its rows don't have one image and one label each.
    """

    stored = True

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self.passed_over: Mapping[str, int] = {}
        datasets, rows = _opened(ref, as_in="ylecun/mnist:train")
        self._image, label = _columns(datasets, rows.features, ref)
        # Undecoded: the bytes as they were uploaded.
        self._rows = rows.cast_column(self._image, datasets.Image(decode=False))
        raw = np.asarray(rows.select_columns([label]).with_format("numpy")[:][label])
        names = getattr(rows.features[label], "names", None)
        if names is None:
            values, numbers = np.unique(raw, return_inverse=True)
            names, raw = [str(value) for value in values], numbers
        self.labels: NDArray[np.int64] = raw.astype(np.int64)
        self.class_names = tuple(str(name) for name in names)
        if not len(self.labels):
            raise DataError(f"{ref}: holds no images; name another split")
        if self.labels.min() < 0:
            raise DataError(f"{ref}: has rows without a label, as test splits do; name another")
        self.fingerprint = self._fingerprint()

    def image(self, index: int) -> Image.Image:
        """One picture, decoded.

        Raises:
            UnreadableError: the row holds no readable image.
        """
        where = f"{self._ref}: {self.where(index)}"
        try:
            content = self._content(index)
        except OSError as error:
            raise UnreadableError(where, error.strerror or str(error)) from None
        return decoded(io.BytesIO(content), where)

    def where(self, index: int) -> str:
        """The row's number."""
        return f"row {index}"

    def _content(self, index: int) -> bytes:
        cell = self._rows[index][self._image] or {}
        if cell.get("bytes"):
            return bytes(cell["bytes"])
        if cell.get("path"):
            with open(cell["path"], "rb") as file:
                return file.read()
        return b""

    def _fingerprint(self) -> str:
        """SHA-256 of the classes, all labels, and 256 images' sizes and first and last 4 KiB."""
        digest = hashlib.sha256(b"klas-hub-1")
        digest.update(json.dumps(self.class_names).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        count, deep = len(self.labels), False
        for index in np.linspace(0, count - 1, min(SAMPLED_FILES, count)).astype(int).tolist():
            try:
                content = self._content(index)
            except OSError:
                content = b""
            digest.update(f"{len(content)}\n".encode())
            digest.update(content[:SAMPLED_BYTES] + content[-SAMPLED_BYTES:])
            deep = deep or is_deep(content)
        if deep:
            digest.update(DEEP)
        return digest.hexdigest()


def hub_rows(ref: str) -> Iterator[dict[str, Any]]:
    """``hfds/owner/name:split``: the rows of a split as they are, column by column.

    Raises:
        DataError: no split is named, the package is absent, or the data set can't be fetched.
    """
    _, rows = _opened(ref, as_in="allenai/scitldr:train")
    yield from rows


def _opened(ref: str, *, as_in: str) -> tuple[Any, Any]:
    """The package, and a split of a data set."""
    name, _, split = ref.removeprefix(PREFIX).partition(":")
    if not name or not split:
        raise DataError(
            f"{ref}: names no split; write {PREFIX}owner/name:split, as in {PREFIX}{as_in}"
        )
    datasets = _package(ref)
    return datasets, _fetched(datasets, ref, name, split)


def _package(ref: str) -> Any:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise DataError(
            f"{ref}: needs the Hugging Face datasets package; `pip install datasets`"
        ) from None
    # Older versions run a script that comes with a data set; data must not bring code.
    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False
    return datasets


def _fetched(datasets: Any, ref: str, name: str, split: str) -> Any:
    try:
        with _cache_only_when_offline(datasets, name):
            return datasets.load_dataset(name, split=split)
    except ConnectionError:
        raise DataError(
            f"{ref}: is not in the local cache and the hub cannot be reached; connect once, or "
            "name a folder with a folder per class"
        ) from None
    except Exception as error:  # the package passes on whatever its readers raise
        raise DataError(f"{ref}: cannot be loaded ({_first_line(error)})") from None


@contextlib.contextmanager
def _cache_only_when_offline(datasets: Any, name: str) -> Iterator[None]:
    """Ask the hub once, briefly; the package itself would keep trying for half a minute.

    The request goes through the hub client's own session, so its proxies and HF_HUB_OFFLINE apply.
    """
    before = datasets.config.HF_HUB_OFFLINE
    if not Path(name).is_dir():
        try:
            address = constants.ENDPOINT
            huggingface_hub.get_session().head(address, timeout=CONNECT_SECONDS)
        except Exception:  # of whichever HTTP library the hub's client uses
            datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _columns(datasets: Any, features: Any, ref: str) -> tuple[str, str]:
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    for names, usual in ((pictures, "image"), (classes, "label")):
        if usual in names or (not names and usual == "label" and usual in features):
            names[:] = [usual]
    if len(pictures) != 1 or len(classes) != 1:
        raise DataError(
            f"{ref}: does not have just one column of images and one of labels (its columns are "
            f"{', '.join(features)}); save it as folders, one per class"
        )
    return pictures[0], classes[0]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
