"""Joint trainings and latency as the command shows them."""

import numpy as np
import pytest

from klas.cli.tables.networks import finetuned_tables, latency_tables
from klas.results.pair import pairs_of


@pytest.fixture
def pair(computed):
    return pairs_of(computed[1])[0]


def cells(table):
    """A table's rows below its heads."""
    columns = [list(column.cells) for column in table.columns]
    return [column.header for column in table.columns], list(zip(*columns, strict=True))


def test_trained_stitches_stand_beside_their_anchors(pair):
    chosen = np.zeros(len(pair.macs), dtype=bool)
    chosen[[0, 5]] = True
    result = {
        "accuracy": {f"{i}-{j}": 0.5 for i, j in pair.places(chosen)},
        "anchors": {pair.source["name"]: 0.25},
        "steps": 1200,
    }
    table, *lines = finetuned_tables([(pair, result)])
    head, rows = cells(table)
    assert table.title == f"{pair.name}: finetuned, 1,200 steps"
    assert head[2:] == ["top-1", "pretrained", "above both anchors"]
    assert len(rows) == 4
    assert {row[0]: row[2] for row in rows}[pair.source["name"]] == "25.0 %"
    assert {row[0]: row[2] for row in rows}[pair.target["name"]] == "–"
    assert [row[4] for row in rows].count("") == 2
    assert lines[0].endswith("of 2 stitches lie above the anchors' envelope")
    assert lines[1].endswith("mean top-1 50.0 %")


def test_of_a_race_every_rung_is_shown_and_who_was_kept(pair):
    first, second, third = (f"{i}-{j}" for i, j in pair.everywhere[:3])
    rungs = [
        {"step": 300, "accuracy": {first: 0.25, second: 0.5, third: 0.75}},
        {"step": 600, "accuracy": {second: 0.5, third: 0.625}},
    ]
    result = {"accuracy": {third: 0.875}, "anchors": {}, "steps": 1200, "rungs": rungs}
    parts = finetuned_tables([(pair, result)])
    (race,) = [part for part in parts if getattr(part, "title", "") == f"{pair.name}: the race"]
    head, rows = cells(race)
    assert head == ["stitch", pair.unit.name, "top-1 at step 300", "top-1 at step 600", "kept"]
    shown = {row[0].replace(" → ", "-"): row[2:] for row in rows}
    assert shown == {
        first: ("25.0 %", "–", ""),
        second: ("50.0 %", "50.0 %", ""),
        third: ("75.0 %", "62.5 %", "yes"),
    }
    costs = dict(zip((f"{i}-{j}" for i, j in pair.everywhere), pair.macs))
    assert [*shown] == sorted(shown, key=costs.__getitem__)
    assert not [part for part in parts if "two stitches to race" in str(part)]


def test_a_race_without_a_contest_says_so(pair):
    (alone,) = (f"{i}-{j}" for i, j in pair.everywhere[:1])
    rungs = [{"step": step, "accuracy": {alone: 0.5}} for step in (3, 6)]
    result = {"accuracy": {alone: 0.5}, "anchors": {}, "steps": 12, "rungs": rungs}
    said = [str(part) for part in finetuned_tables([(pair, result)])]
    assert f"{pair.name}: no bucket had two stitches to race, so all were kept" in said


def test_latency_stands_by_cost_and_says_where_it_was_measured(pair):
    times = {"median_ms": 1.5, "low_ms": 1.25, "high_ms": 2.0, "passes": 30}
    latency = {
        "batch": 1,
        "anchors": dict.fromkeys(pair.names, times),
        "stitches": {f"{i}-{j}": times for i, j in pair.everywhere},
        "machine": {"device": "cpu", "threads": 2, "torch": "2.9"},
    }
    table, line = latency_tables([(pair, latency)])
    _, rows = cells(table)
    assert rows[0][0] == pair.cheap_and_costly[0]["name"]
    costs = [float(row[1]) for row in rows]
    assert costs == sorted(costs)
    assert len(rows) == 2 + len(pair.macs)
    assert {row[2:] for row in rows} == {("1.5", "1.25 – 2", "30")}
    assert line == "on cpu, threads 2, torch 2.9"
