"""The page that docs/results.py writes: its tables say what the computed study says."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from klas.errors import DivergedError
from klas.results.comparison import compare
from klas.results.comparison_view import entry_of
from klas.results.pair import of_pairs, pairs_of
from klas.results.resampling import REPLICATES, ResampledStudy, Trained
from klas.results.selections import choose
from klas.results.trainings import method_trainings
from klas.study import METRICS, change
from tests.conftest import SMALL
from tests.expected_text import METHODS

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "results.py"


@pytest.fixture(scope="module")
def results():
    """The script as a module, about the small study."""
    spec = importlib.util.spec_from_file_location("results_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.DIGITS = SMALL
    module.REDRAWS = 3
    module.finetuned_with = lambda seed: change(SMALL, "finetuning", seed=seed)
    yield module
    del sys.modules[spec.name]


def tables(text):
    """Every table of a section: a dictionary per row, by column."""
    actual = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.M):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()
        ]
        actual.append([dict(zip(head, row, strict=True)) for row in rows])
    return actual


def first_number(cell):
    return float(re.match(r"-?[0-9.]+", cell)[0])


def test_hits_are_those_of_the_comparison(results, comparison):
    every, by_pair = tables(results.overlap_section([comparison, comparison, comparison]))
    buckets = sum(pair["buckets"] for pair in comparison["pairs"])
    assert [row["method"] for row in every] == [METHODS[m] for m in METRICS]
    for row, metric in zip(every, METRICS):
        figures = comparison["all_pairs"]["methods"][metric]
        if figures["overlap"] is not None:
            hits = 100 * figures["overlap"]["value"] / buckets
            assert first_number(row["hits (%)"]) == pytest.approx(hits, abs=0.06)
            assert row["seeds 1, 2"].count(",") == 1
            assert int(row["candidates"]) == figures["spearman_within"]["candidates"] > 0
        if metric == "race":
            assert row["holds the best (%)"] == ""
            continue
        held = 100 * figures["containment"]["value"] / buckets
        assert first_number(row["holds the best (%)"]) == pytest.approx(held, abs=0.06)
    for row, pair in zip(by_pair, comparison["pairs"]):
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


def test_ablations_and_calibration(results, computed, comparison):
    store, document = computed
    (rows,) = tables(results.ablation_section(document, store))
    assert [row["τ"] for row in rows] == ["1 %", "3 %", "5 %", "10 %", "5 %", "5 %"]
    chosen = [int(row["chosen"]) for row in rows[:4]]
    assert chosen == sorted(chosen)
    (calibrated,) = tables(results.temperature_section(document, document, store))
    for row, metric in zip(calibrated, ("kl", "theta", "theta_ce", "mse", "ce"), strict=True):
        assert row["hits (%)"] == row["fitted: hits (%)"]
        # The same as the comparison's: weighted by the candidates, whose number it says.
        within = comparison["all_pairs"]["methods"][metric]["spearman_within"]
        said = f"{within['value']:.2f} ({within['candidates']})"
        assert row["ρ within buckets"] == row["fitted: ρ within buckets"] == said


def test_the_ablation_is_of_every_pair_that_klas_chooses_from(results, computed):
    store, document = computed
    (rows,) = tables(results.ablation_section(document, store))
    some = []
    for pair in pairs_of(document):
        chosen = choose(pair, change(SMALL, "selection", tau=0.05, buckets=20).selection)
        some.append(100 * pair.accuracy("tuned")[chosen.chosen].mean())
    assert not all(pair.snnet.any() for pair in pairs_of(document))  # which has no say here
    assert first_number(rows[2]["mean top-1 (%)"]) == pytest.approx(np.mean(some), abs=0.06)


def test_other_scores_of_the_matrix_weigh_pairs_by_their_candidates(
    results, computed, comparison, monkeypatch
):
    store, document = computed
    alone = results.pair_named(document, results.ALONE_PAIR)
    strong = alone.accuracy("tuned")[alone.in_space]
    monkeypatch.setattr(results, "alone_accuracies", lambda *_: strong)
    text = results.matrix_section(store, document, document)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:3] == "| Γ"]
    within = comparison["all_pairs"]["methods"]["kl"]["spearman_within"]
    every = f"{within['value']:.2f} ({within['candidates']})"
    entry = entry_of(comparison, results.ALONE_PAIR)
    own = entry["methods"]["kl"]["spearman_within"]
    assert rows[0][2::2] == [every, every, f"{own['value']:.2f} ({own['candidates']})"]
    _, stronger = tables(results.oracle_section(store, lambda study: document))
    assert int(stronger[0]["candidates"]) == own["candidates"]


def test_before_joint_training_every_figure_stands_over_the_pairs_of_all(results, comparison):
    text = results.tuned_section([comparison, comparison, comparison])
    (rows,) = tables(text)
    assert "a mean over 5 of 6 pairs" in text
    columns = {"mean top-1 (%)": ("mean_top1", 100), "auc_stitches": ("auc_stitches", 1)}
    columns |= {"auc": ("auc", 1), "area_top1 (%)": ("area_top1", 100)}
    columns |= {"KLAS's gain (points)": ("gain", 100), "KLAS's saving (×)": ("saving", 1)}
    for row, metric in zip(rows, METRICS, strict=True):
        curve = comparison["all_pairs"]["methods"][metric]["tuned"] or dict.fromkeys(
            name
            for name, _ in columns.values()  # a race has none before joint training
        )
        for column, (name, scale) in columns.items():
            if curve[name] is None:
                assert row[column] == ""
            else:
                wanted = pytest.approx(scale * curve[name]["value"], abs=0.051)
                assert first_number(row[column]) == wanted


def test_joint_training_over_all_pairs_with_both_seeds_and_the_posters(
    results, computed, monkeypatch
):
    store, document = computed

    def accuracy(self, pair, chosen, steps, racing):
        if self.study.finetuning.seed and pair.names == results.FINETUNED_PAIRS[2]:
            return None  # not trained with that seed yet
        rng = np.random.default_rng([steps, self.study.finetuning.seed, len(pair.name)])
        return Trained(chosen, rng.uniform(0.2, 0.9, (REPLICATES + 1, int(chosen.sum()))))

    monkeypatch.setattr(ResampledStudy, "trained_accuracy", accuracy)
    pairs = [results.pair_named(document, names) for names in results.FINETUNED_PAIRS]
    trained = of_pairs(document, pairs)
    actual = [compare(trained, results.finetuned_with(s), store) for s in (0, 1)]
    text = results.joint_section(actual)
    assert "Mean over 3 of 3 pairs (seed 1: 2)" in text
    together, *by_pair = tables(text)
    assert len(by_pair) == 3
    for row, metric in zip(together, METRICS, strict=True):
        each = [[p["methods"][metric]["finetuned"] for p in f["pairs"]] for f in actual]
        means = [100 * np.mean([c["mean_top1"]["value"] for c in some if c]) for some in each]
        assert first_number(row["mean top-1 (%)"]) == pytest.approx(means[0], abs=0.06)
        line = next(li for li in text.splitlines() if li.startswith(f"| {METHODS[metric]} |"))
        assert float(line.split(" | ")[2]) == pytest.approx(means[1], abs=0.06)
    posters = [row["poster: AUC, ImageNet"] for row in together]
    assert dict(zip(METRICS, posters)) == dict.fromkeys(METRICS, "") | {
        "kl": "0.8950",
        "snnet": "0.8345",
    }
    for row, metric in zip(by_pair[2], METRICS):  # one seed's figures stand without the other's
        curve = actual[0]["pairs"][2]["methods"][metric]["finetuned"]
        mean = 100 * curve["mean_top1"]["value"]
        assert first_number(row["mean top-1 (%)"]) == pytest.approx(mean, abs=0.06)
        assert "[" in row["mean top-1 (%)"]
    every, *_ = tables(results.budget_section(actual[0]))
    for row, metric in zip(every, METRICS, strict=True):
        for steps, got in actual[0]["all_pairs"]["methods"][metric]["budgets"].items():
            mean = 100 * got["mean_top1"]["value"]
            assert float(row[f"{int(steps):,} steps"]) == pytest.approx(mean, abs=0.06)


def test_what_diverges_ends_nothing_else(results, computed, monkeypatch, capsys):
    store, document = computed
    names = results.FINETUNED_PAIRS[0]
    plans = method_trainings(results.pair_named(document, names), SMALL)
    asked = []

    def train(pipeline, training):
        asked.append(training)
        if len(asked) == 2:
            raise DivergedError("fine-tuning diverged at step 7")

    monkeypatch.setattr("klas.pipeline.run.Pipeline.train", train)
    results.PARTS[f"joint training, {' → '.join(names)}, seed 0"](store)
    assert asked == [plan.result for plan in plans]
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    assert said.endswith(f"{plans[1].metric}, seed 0: fine-tuning diverged at step 7")


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


def test_what_is_not_trained_is_left_empty(results, comparison):
    actual = tables(results.joint_section([comparison, comparison]))
    assert actual
    for rows in actual:
        assert [row["method"] for row in rows] == [METHODS[m] for m in METRICS]
        assert {row["mean top-1 (%)"] for row in rows} == {""}
    actual = tables(results.budget_section(comparison))
    assert actual
    for rows in actual:
        assert [row.pop("method") for row in rows] == [METHODS[m] for m in METRICS]
        assert {cell for row in rows for cell in row.values()} == {""}
