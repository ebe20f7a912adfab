"""constraints.txt names one version of every dependency, such as pyproject.toml allows."""

import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def test_every_dependency_has_a_version_that_works():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in map(
        Requirement, chain(project["dependencies"], *project["optional-dependencies"].values())
    ):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
