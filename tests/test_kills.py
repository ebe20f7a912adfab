"""Whatever is killed whenever: the cache is whole, and the next run comes to the same bytes."""

import os
import shutil

import pytest
import torch

from tests.kill_cases import WORKS, begin, check, prepare
from tests.storage.kills import steps_of

pytestmark = [
    pytest.mark.forks,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA does not survive a fork"),
]
NAMES = [case.name.replace(" ", "-").replace("'", "") for case in WORKS]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "template"
    prepare(folder)
    return folder


@pytest.mark.parametrize("case", WORKS, ids=NAMES)
def test_a_kill_costs_nothing(case, template, tmp_path):
    begin(case, template, tmp_path / "counted")
    steps = steps_of(lambda: case.work(tmp_path / "counted"))
    came, expected = check(case, template, -1, tmp_path / "whole")
    assert not came
    for step in (steps // 3, steps - 3):
        came, kept = check(case, template, step, tmp_path / "killed")
        assert came
        assert kept == expected, step


@pytest.mark.soak
@pytest.mark.parametrize("case", WORKS, ids=NAMES)
def test_a_kill_at_any_step_costs_nothing(case, template, tmp_path):
    _, expected = check(case, template, -1, tmp_path / "whole")
    kills, came = 0, True
    while came:
        came, kept = check(case, template, kills, tmp_path / "killed")
        assert kept == expected, kills
        kills += came
    shutil.rmtree(tmp_path / "killed")
    assert kills > 20
    print(f"{case.name}: {kills} kills, nothing lost")
