"""What another system has not, or has otherwise: encodings, POSIX. Windows itself is not here."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SMALL

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for top in ("klas", "dashboard", "docs") for path in (ROOT / top).rglob("*.py")]
MODE = re.compile(r"[rwax]t?\+?t?")  # of a text file


def in_the_systems_encoding(call):
    """Whether a call opens, reads or writes text without saying in which encoding."""
    named = {k.arg: k.value for k in call.keywords}
    if "encoding" in named:
        return False
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    place = 0 if isinstance(function, ast.Attribute) and name == "open" else 1
    modes = [a.value for a in call.args[place : place + 1] if isinstance(a, ast.Constant)]
    if isinstance(named.get("mode"), ast.Constant):
        modes.append(named["mode"].value)
    if name in ("read_text", "write_text"):
        return True
    if name in ("open", "fdopen", "NamedTemporaryFile"):
        builtin = isinstance(function, ast.Name) and len(call.args) == 1
        return builtin or any(MODE.fullmatch(str(mode)) for mode in modes)
    if name in ("run", "Popen", "check_output"):
        return "text" in named or "universal_newlines" in named
    return False


def test_no_text_is_in_the_systems_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and in_the_systems_encoding(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("p.open('a')", True),
        ("p.read_text(errors='replace')", True),
        ("subprocess.run(c, text=True)", True),
        ("open(p, 'rb')", False),
        ("p.open('w', encoding='utf-8')", False),
        ("Image.open(p)", False),
    ],
)
def test_text_in_the_systems_encoding_is_found(text, wanted):
    assert in_the_systems_encoding(ast.parse(text).body[0].value) == wanted


WITHOUT_POSIX = """
import mmap, os, sys
# What is not ours has its own ways where there is no POSIX; it is loaded before that goes.
import multiprocessing, signal, socket, subprocess, tempfile, importlib.metadata
import diskcache, filelock, huggingface_hub, jinja2, numpy, pandas, plotly.graph_objects, pydantic
import rich.console, rich.progress, rich.table, streamlit, tomli_w
for name in sys.argv[1].split():
    __import__(name)
ours = [name for name in sys.modules if name.split(".")[0] in ("klas", "dashboard")]
assert not ours, ours
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice",
             "posix_fallocate", "pread", "pwrite", "pwritev", "sched_getaffinity", "setsid",
             "sysconf", "uname"):
    delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1"):
    delattr(signal, name)
del mmap.MADV_DONTNEED
"""

IMPORT_ALL = """
import importlib, pathlib
from klas.cli.main import main
for package in ("klas", "dashboard"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        parts = path.with_suffix("").parts
        # A page, and a script, does its work when it is imported.
        if parts[-1] in ("__main__", "app") or "views" in parts:
            continue
        importlib.import_module(".".join(part for part in parts if part != "__init__"))
main(["--help"])
"""


def without_posix(script, *arguments, preloaded="", **settings):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX + script, preloaded, *map(str, arguments)],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, **settings,
    )  # fmt: skip


@pytest.mark.slow
def test_every_module_loads_without_posix():
    done = without_posix(IMPORT_ALL, preloaded="torch timm timm.data sklearn.datasets PIL.Image")
    assert done.returncode == 0, done.stderr
    assert "Find the networks between" in done.stdout


STORE = """
import numpy
from klas.jobs.listing import all_jobs, is_alive
from klas.memory import peak_memory_bytes
from klas.storage.key import Key
from klas.storage.store import Store
with Store(sys.argv[2]) as store:
    key = Key(stage="x", version=1, inputs={})
    large = numpy.arange(3 * 2**20, dtype=numpy.float64)
    store.put(key, {"large": large, "small": numpy.ones(3, numpy.float32)})
    again = store.get(key)
    assert (again["large"] == large).all() and (again["small"] == 1).all()
    from klas.storage.arrays import chunks
    assert sum(part.sum() for part in chunks(again["large"], rows=2**20)) == large.sum()
    assert not is_alive(store.root / "jobs") and all_jobs(store) == []
assert peak_memory_bytes() >= 0
print("stored")
"""


def test_results_are_stored_and_read_without_posix(tmp_path):
    done = without_posix(STORE, tmp_path / "cache")
    assert done.stdout.strip() == "stored", done.stderr


RUN = """
from klas.cli.main import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_the_command_computes_without_posix(tmp_path):
    study = SMALL.model_copy(update={"anchors": SMALL.anchors[:2]})
    (tmp_path / "two.toml").write_text(study.to_toml(), encoding="utf-8")
    arguments = ["run", tmp_path / "two.toml", "--cache-dir", tmp_path / "cache"]
    preloaded = "torch timm timm.data sklearn.datasets PIL.Image torch.fx torch.utils.flop_counter"
    done = without_posix(RUN, *arguments, "--device", "cpu", preloaded=preloaded)
    assert done.returncode == 0, done.stderr
    assert "digits_vit_tiny → digits_vit_small" in done.stdout
