"""The map in CONTRIBUTING.md is that of the house."""

import re

import pytest

from tests.test_architecture import PACKAGES, ROOT, rooms

TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def mapped(package):
    """The rooms of a package in the order of its table."""
    table = TEXT.split(f"| in `{package}/` |")[1].split("\n\n")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [f"{package}.{name}" for cell in first_cells for name in re.findall(r"`(\w+)/?`", cell)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_on_the_map_below_those_that_it_imports_from(package):
    graph, order = rooms(package), mapped(package)
    assert sorted(order) == sorted(graph)
    for room, others in graph.items():
        for other in others:
            assert order.index(other) < order.index(room), f"{room} imports {other}"


def test_every_path_that_it_names_is_there():
    paths = re.findall(r"`((?:klas|dashboard|tests)/[\w/.]*)`", TEXT)
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []
