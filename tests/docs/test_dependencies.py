"""docs/dependencies.md gives a reason for every dependency, and for nothing else."""

import re
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def names(requirements):
    return {re.match(r"[\w.-]+", requirement)[0].replace("_", "-") for requirement in requirements}


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    *_, always, extras, tests = re.split(r"^## ", text, flags=re.MULTILINE)

    def listed(part):
        rows = re.findall(r"^\| (`.*?) \|", part, flags=re.MULTILINE)
        return {name.replace("_", "-") for row in rows for name in re.findall(r"`([^`]+)`", row)}

    assert listed(always) == names(project["dependencies"])
    assert listed(extras) == names(
        chain(*(optional[extra] for extra in optional.keys() - {"test"}))
    )
    assert listed(tests) == names(optional["test"]) - listed(always) - listed(extras)
