"""docs/scaling.md shows the plan that benchmarks/plan.py computes, and the plan is right."""

import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import plan
from benchmarks.plan import Figures, per_anchor, per_pair, plan_table, total, wall

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
PLAIN = Figures()


def test_the_page_shows_the_plan():
    assert plan.parts_table(PLAIN) in TEXT
    assert plan_table(PLAIN) in TEXT


def test_the_examples_run():
    assert doctest.testmod(plan).failed == 0


def part(parts, name):
    return next(one for one in parts if name in one.name)


def test_sizes_on_the_disk_follow_from_shapes():
    features = part(per_anchor(PLAIN), "training").disk
    assert features == 1_281_167 * 13 * 384 * 4
    kept = part(per_anchor(PLAIN), "validation").disk
    assert kept == 50_000 * (13 * 384 * 4 + 1_000 * 4) + 50_000 / 64 * 13 * 2_016 * 4
    assert part(per_pair(PLAIN), "least").disk == 132 * 384 * 384 * 4


def test_the_stitches_of_a_pair_run_half_of_the_target_each():
    rests = [(12 - j) / 12 for _ in range(12) for j in range(1, 12)]
    assert len(rests) == plan.CANDIDATES
    assert sum(rests) == pytest.approx(plan.REST)


def test_an_anchor_costs_the_same_among_many_and_pairs_grow_as_k_squared():
    few, many = (total(per_pair(PLAIN), k * (k - 1) / 2).gpu for k in (10, 100))
    assert many / few == pytest.approx(4_950 / 45)
    assert total(per_anchor(PLAIN), 100).gpu == pytest.approx(100 * total(per_anchor(PLAIN), 1).gpu)


def test_the_slower_of_gpus_and_cores_decides():
    sweep = part(per_anchor(PLAIN), "training")
    assert wall(sweep, 8, PLAIN) == sweep.cores / PLAIN.cores / 8 > sweep.gpu / 8
    roomy = replace(PLAIN, cores=1_000)
    assert wall(sweep, 8, roomy) == sweep.gpu / 8


def test_figures_can_be_replaced(capsys):
    plan.main(["--gpu-images", "1", "--val", "10"])
    out = capsys.readouterr().out
    assert "| anchor | sweep of the validation images | 10 |" in out
    assert plan_table(Figures(gpu_images=1.0, val=10)) in out
