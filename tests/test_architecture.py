"""The rooms of the house, and which way imports run. Both are read off the folders."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("klas", "dashboard")
ENTRANCES = {"__init__", "__main__", "app"}  # of a package: they hold the door to every room
HEAVY = ("torch", "timm", "torchvision")


def modules(package):
    """Every module of a package that is in a room, by its dotted name."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if len(parts) > 2 or parts[1] not in ENTRANCES:
            yield ".".join(p for p in parts if p != "__init__"), path


def room(module):
    """The folder of a module, or the module itself where it stands beside the folders."""
    return ".".join(module.split(".")[:2])


def imported(path):
    """Every module that a file names in an import, at any depth."""
    actual = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            actual |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            actual |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return actual


def rooms(package):
    """For every room of a package those that it imports from."""
    graph = {}
    known = {room(module) for module, _ in modules(package)}
    for module, path in modules(package):
        others = {room(name) for name in imported(path)} & known - {room(module)}
        graph.setdefault(room(module), set()).update(others)
    return graph


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_rooms_run_one_way(package):
    graph = rooms(package)
    assert len(graph) > 5
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_are_no_circle_either(package):
    known = {module for module, _ in modules(package)}
    graph = {module: imported(path) & known - {module} for module, path in modules(package)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' → '.join(error.args[1])}")


def test_tests_follow_the_tree():
    """A folder of tests is named like the one that it tests; ``browser`` is no part of the app."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        room = path.parent.relative_to(ROOT / "tests")
        if room.parts[:1] == ("docs",) or room.parts[-1:] == ("browser",):
            continue
        tested = ROOT / room if room.parts[:1] == ("dashboard",) else ROOT / "klas" / room
        assert tested.is_dir(), path


def test_every_folder_says_what_it_is_for():
    for package in PACKAGES:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            words = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
            assert words, folder


def test_the_library_never_imports_the_screen():
    for _, path in modules("klas"):
        heads = {name.split(".")[0] for name in imported(path)}
        assert not heads & {"streamlit", "plotly", "dashboard"}, path


def test_the_dashboard_never_names_what_is_heavy():
    for _, path in modules("dashboard"):
        assert not {name.split(".")[0] for name in imported(path)} & set(HEAVY), path


def without_torch():
    """What loads without torch: the app, and each room that says so of itself."""
    for package in PACKAGES:
        for folder in sorted({path.parent for _, path in modules(package)}):
            words = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
            if package == "dashboard" or words.endswith("No torch."):
                # A page does its work when it is imported, so what it imports stands for it.
                names = [
                    name
                    for module, path in modules(package)
                    if path.parent == folder
                    for name in (sorted(imported(path)) if folder.name == "views" else [module])
                    if name.split(".")[0] in PACKAGES
                ]
                yield pytest.param(names, id=str(folder.relative_to(ROOT)))


@pytest.mark.parametrize("names", list(without_torch()))
def test_the_light_floor_loads_without_torch(names):
    script = f"""
import importlib, sys
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:  # something inside a module
        pass
print(*{HEAVY!r} & sys.modules.keys())
""".replace(f"*{HEAVY!r}", f"*set({HEAVY!r})")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
