"""The page that docs/results.py writes: its tables say what the computed study says."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from klas.comparison import compare
from klas.report import METHODS
from klas.results import choose, pairs_of
from klas.study import METRICS
from tests.conftest import SMALL

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "results.py"


@pytest.fixture(scope="module")
def results():
    """The script as a module, about the small study."""
    spec = importlib.util.spec_from_file_location("results_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.DIGITS = SMALL
    module.REDRAWS = 3
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def compared(computed):
    store, document = computed
    return compare(document, SMALL, store)


def tables(text):
    """Every table of a section: a dictionary per row, by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.M):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()
        ]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def first_number(cell):
    return float(re.match(r"-?[0-9.]+", cell)[0])


def test_hits_are_those_of_the_comparison(results, compared):
    every, by_pair = tables(results.overlap_section([compared, compared, compared]))
    buckets = sum(pair["buckets"] for pair in compared["pairs"])
    assert [row["method"] for row in every] == [METHODS[m] for m in METRICS]
    for row, metric in zip(every, METRICS):
        figures = compared["all_pairs"]["methods"][metric]
        if figures["overlap"] is not None:
            hits = 100 * figures["overlap"]["value"] / buckets
            assert first_number(row["hits (%)"]) == pytest.approx(hits, abs=0.06)
            assert row["seeds 1, 2"].count(",") == 1
        held = 100 * figures["containment"]["value"] / buckets
        assert first_number(row["holds the best (%)"]) == pytest.approx(held, abs=0.06)
    for row, pair in zip(by_pair, compared["pairs"]):
        assert row["pair"] == f"{pair['source']} → {pair['target']}"
        assert int(row["buckets"]) == pair["buckets"]


def test_far_stitches_are_counted(results, computed):
    _, document = computed
    (rows,) = tables(results.far_section(document))
    for row, pair in zip(rows, pairs_of(document), strict=True):
        n_f, n_g = pair.source["blocks"], pair.target["blocks"]
        far = [abs(i / n_f - j / n_g) > 1 / min(n_f, n_g) for i, j in pair.places(pair.in_space)]
        assert row["far candidates"] == f"{sum(far)} of {len(far)}"
        top1 = pair.accuracy("tuned")[pair.in_space][np.array(far, dtype=bool)]
        if top1.size:
            assert first_number(row["mean `tuned` of far (%)"]) == pytest.approx(
                100 * top1.mean(), abs=0.06
            )
        chosen = choose(pair, SMALL.selection).chosen
        assert row["far among KLAS's choice"].endswith(f"of {chosen.sum()}")


def test_all_samples_give_the_choice_itself(results, computed, monkeypatch):
    store, document = computed
    monkeypatch.setattr(results, "SHARES", (20, 100))
    (rows,) = tables(results.samples_section(document, store))
    some, every = rows
    assert [row["samples"] for row in rows] == ["60", "300"]
    assert (every["Jaccard index"], every["ρ of Γ"]) == ("1.000", "1.0000")
    assert 0 < float(some["ρ of Γ"]) < 1


def test_ablations_and_calibration(results, computed):
    store, document = computed
    (rows,) = tables(results.ablation_section(document, store))
    assert [row["τ"] for row in rows] == ["1 %", "3 %", "5 %", "10 %", "5 %", "5 %"]
    chosen = [int(row["chosen"]) for row in rows[:4]]
    assert chosen == sorted(chosen)
    (calibrated,) = tables(results.temperature_section(document, document, store))
    for row in calibrated:
        assert row["hits (%)"] == row["fitted: hits (%)"]


def test_what_selecting_costs_is_added_up(results, computed):
    store, document = computed
    seconds = {"anchors": 1.0, "probes": 2.0, "scores": 4.0, "zero_shot": 8.0}
    seconds |= {"tuned": 16.0, "finetuned": 32.0}
    store.compute(results.cost_key(), lambda: seconds)
    (rows,) = tables(results.cost_section(store, document))
    by_stage = {row["stage"].strip("*"): row["seconds"].strip("*") for row in rows}
    assert by_stage["selecting, together"] == "7.0"
    pair = results.pair_named(document, results.FINETUNED_PAIRS[1])
    (every,) = [value for stage, value in by_stage.items() if "one by one" in stage]
    assert float(every) == 32 * pair.in_space.sum()


def test_what_is_not_trained_is_left_empty(results, compared):
    for rows in tables(results.joint_section([compared, compared])):
        assert [row["method"] for row in rows] == [METHODS[m] for m in METRICS]
        assert {row["mean top-1 (%)"] for row in rows} == {""}
    for rows in tables(results.budget_section(compared)):
        assert len(rows) == len(METRICS)
