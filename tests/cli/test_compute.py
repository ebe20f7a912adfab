"""``klas run``, ``anchors`` and ``scores``."""

import json

from klas.results.formats import read
from tests.conftest import SMALL


def test_run_is_the_scores_document_twice_the_same(klas, study, computed):
    first, second = (klas("run", study, "--json") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout == second.stdout
    assert json.loads(first.stdout) == json.loads(json.dumps(computed[1]))


def test_run_ends_with_tables_that_a_person_can_read(klas, study):
    done = klas("run", study)
    assert done.returncode == 0
    assert "Anchors" in done.stdout
    assert "digits_vit_tiny → digits_vit_base" in done.stdout
    assert "cached" in done.stderr
    assert "Traceback" not in done.stderr


def test_scores_and_anchors(klas, study, tmp_path):
    assert klas("scores", study, "--out", "s.json").returncode == 0
    assert read(tmp_path / "s.json", "klas-scores")["pairs"][0]["theta"] is not None
    ranked = json.loads(klas("anchors", study, "--json").stdout)
    assert [a["name"] for a in ranked["anchors"]] == [a.name for a in SMALL.anchors]
