"""Many at once on one cache and one server: each result once, no error, nobody else's state."""

import os
import shutil
import sys

import pytest
import torch

from klas.results.health import examine
from klas.storage.store import Store
from tests.dashboard.server import Server
from tests.dashboard.sessions import memory_bytes, visits
from tests.kill_cases import CACHE, STUDY, prepare, run
from tests.storage.kills import all_at_once
from tests.storage.test_kills import contents
from tests.storage.test_kills import run as run_tiny

pytestmark = [
    pytest.mark.forks,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA does not survive a fork"),
]
ASKED = [
    (page, query)
    for page in ("scores", "stitches", "compare", "anchors")
    for query in ("tau=0.01", "tau=0.3&buckets=3", "metric=mse")
]
MOST_GROWTH = 600_000_000
"""Bytes that a server may take more for 24 visitors than for one of each page."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together") / "template"
    prepare(folder)
    return folder


def whole(root):
    with Store(root) as store:
        assert examine(store).problem == ""
    return contents(root)


def test_eight_processes_that_want_the_same_make_it_once(tmp_path):
    run_tiny(tmp_path / "alone")
    all_at_once([lambda: run_tiny(tmp_path / "cache")] * 8)
    assert whole(tmp_path / "cache") == whole(tmp_path / "alone")


@pytest.mark.soak
def test_eight_processes_compute_one_study(template, tmp_path):
    all_at_once([lambda: run(tmp_path)] * 8)
    assert whole(tmp_path / CACHE) == whole(template / CACHE)


@pytest.mark.soak
def test_two_studies_at_once_are_what_they_are_alone(template, tmp_path):
    other = STUDY.model_copy(update={"name": "other", "seed": 7})
    for folder in ("both", "other"):
        (tmp_path / folder).mkdir()
    all_at_once([lambda: run(tmp_path / "both"), lambda: run(tmp_path / "both", other)])
    all_at_once([lambda: run(tmp_path / "other", other)])
    expected = whole(template / CACHE) | whole(tmp_path / "other" / CACHE)
    found = whole(tmp_path / "both" / CACHE)
    del expected["index"], found["index"]
    assert found == expected


def visited(folder, template, visitors):
    """Each page alone, then so many visitors at once; returns the server's memory before, after."""
    shutil.copytree(template / CACHE, folder / "cache")
    server = Server(folder, STUDY)
    try:
        alone = {asked: visits(server.url, [asked])[0] for asked in ASKED[:visitors]}
        before = memory_bytes(server.process.pid)
        asked = [ASKED[k % len(ASKED)] for k in range(visitors)]
        for (page, query), shown in zip(asked, visits(server.url, asked)):
            assert shown == alone[page, query], (page, query)
        after = memory_bytes(server.process.pid)
    finally:
        server.stop()
    for (page, query), (texts, wrong) in alone.items():
        assert texts, (page, query)
        assert not wrong, (page, query)
    return before, after


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("visitors", [3, pytest.param(24, marks=pytest.mark.soak)])
def test_visitors_at_once_see_what_they_see_alone(template, tmp_path, visitors):
    before, after = visited(tmp_path, template, visitors)
    print(f"{visitors} visitors: {before / 1e6:,.0f} MB before, {after / 1e6:,.0f} MB after")
    assert after - before < MOST_GROWTH
