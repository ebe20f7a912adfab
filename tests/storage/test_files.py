"""What other libraries write is there whole or not at all."""

import pytest

from klas.errors import StoreError
from klas.storage.files import made_beside


def test_a_file_replaces_the_one_before_it(tmp_path):
    path = tmp_path / "new" / "model.bin"
    for content in ("first", "second"):
        with made_beside(path) as fresh:
            fresh.write_text(content)
            fresh.with_name("model.bin.data").write_text(f"{content} data")
        assert path.read_text() == content
        assert path.with_name("model.bin.data").read_text() == f"{content} data"
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.bin", "model.bin.data"]


def test_a_folder_takes_the_place_of_an_empty_one_alone(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    with made_beside(path) as fresh:
        fresh.mkdir()
        (fresh / "config.json").write_text("{}")
    assert [p.name for p in path.iterdir()] == ["config.json"]
    with pytest.raises(StoreError, match="is a folder that holds something"), made_beside(path):
        pytest.fail("nothing may be begun")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("folder", [False, True])
def test_what_fails_leaves_all_as_it_was(tmp_path, folder):
    path = tmp_path / "model"
    if not folder:
        path.write_text("before")
    with pytest.raises(RuntimeError, match="half way"), made_beside(path) as fresh:
        write_half(fresh, folder)
    left = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert left == ({} if folder else {"model": "before"})


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="cannot be written"),
        made_beside(tmp_path / "file" / "model"),
    ):
        pytest.fail("nothing may be begun")


def write_half(path, folder):
    if folder:
        path.mkdir()
        path = path / "part"
    path.write_text("half")
    raise RuntimeError("half way")
