"""The two floors: what may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIGHT = ["study", "studies", "catalogue", "store", "exports", "jobs", "results", "keys"]
LIGHT += ["errors", "choice", "comparison", "evidence", "sums", "usage", "costs"]
LIGHT += ["compared", "words"]
HEAVY = {"torch", "timm", "torchvision"}


def imported(path):
    """Every module that a file names in an import, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def test_the_library_never_imports_the_screen():
    for path in (ROOT / "klas").rglob("*.py"):
        heads = {name.split(".")[0] for name in imported(path)}
        assert not heads & {"streamlit", "plotly", "dashboard"}, path


def test_the_dashboard_never_imports_torch_nor_what_does():
    light = {f"klas.{name}" for name in LIGHT}
    for path in (ROOT / "dashboard").rglob("*.py"):
        names = imported(path)
        assert not {n.split(".")[0] for n in names} & HEAVY, path
        for name in names:
            if name.startswith("klas."):
                assert any(name == ok or name.startswith(ok + ".") for ok in light), (path, name)


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ("networks", ["measures", "pipeline", "cli", "exports", "jobs", "results"]),
        ("measures", ["bench", "stages", "pipeline", "cli", "exports", "jobs", "results", "data"]),
        ("choice", ["networks", "measures", "pipeline", "results", "exports", "study", "store"]),
        ("digits/scenes.py", ["networks", "measures", "pipeline", "study", "store"]),
        ("store.py", ["study", "networks", "measures", "pipeline", "results"]),
        ("study.py", ["store", "networks", "measures", "pipeline", "results"]),
        ("jobs.py", ["pipeline", "worker", "networks", "measures"]),
    ],
)
def test_imports_run_downwards(below, above):
    path = ROOT / "klas" / below
    files = [path] if path.is_file() else path.rglob("*.py")
    for file in files:
        for name in imported(file):
            assert not any(name == f"klas.{a}" or name.startswith(f"klas.{a}.") for a in above), (
                file,
                name,
            )


def test_the_light_floor_and_the_dashboard_load_without_torch():
    modules = ["klas.cli", "klas.jobs", "klas.exports", "klas.results", "klas.choice.buckets"]
    modules += ["klas.catalogue", "klas.studies"]
    modules += ["dashboard.state", "dashboard.figures", "dashboard.progress", "dashboard.draft"]
    modules += ["klas.comparison", "klas.usage", "klas.packing"]
    modules += ["dashboard.comparison_figures", "dashboard.held", "dashboard.choices"]
    modules += ["klas.costs", "klas.turns", "dashboard.tradeoff_figures", "dashboard.html_report"]
    modules += ["dashboard.heatmap", "dashboard.stitch_card", "dashboard.job_list"]
    script = (
        f"import sys, {', '.join(modules)}; print('torch' in sys.modules or 'timm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
