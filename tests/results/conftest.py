import pytest

from klas.results.archive import pack
from klas.storage.store import Store
from tests.conftest import SMALL
from tests.results.packs import minimal


@pytest.fixture
def one(computed, tmp_path):
    """A pack with one result."""
    source = Store(tmp_path / "source")
    digest = minimal(source, document=computed[1])
    path = tmp_path / "one.klas"
    assert pack(source, SMALL, path) == 1
    source.close()
    return path, digest
