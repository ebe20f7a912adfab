"""What a map can show, against the document read cell by cell."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest

from dashboard.text.quantities import (
    HELD_BEST,
    QUANTITIES,
    SHOWN,
    description,
    field,
    quantity,
    stitch_values,
)
from klas.results.pair import pairs_of
from klas.study import METRICS, SETS, STAGES, TIERS


@pytest.fixture
def pair(computed):
    """A pair of one's own."""
    return pairs_of(copy.deepcopy(computed[1]))[1]


def read(candidate, name):
    """A quantity of one candidate, as the document has it."""
    match name:
        case "macs":
            return candidate["macs"] / 1e6
        case "params":
            return candidate["params"] / 1e6
        case "zero_shot" | "tuned":
            return 100 * candidate["accuracy"][name]
        case _:
            return candidate["scores"][name]


@pytest.mark.parametrize(
    "name", ["kl", "theta", "theta_ce", "cka", "mse", "ce", "dm", "macs", "params"]
)
def test_every_cell_has_its_stitchs_value(pair, name):
    shown = field(pair, name)
    space = [c for c in pair.raw["candidates"] if c["in_space"]]
    assert np.isfinite(shown.values).sum() == len(space)
    for c in space:
        row, column = shown.rows.index(c["source_block"]), shown.columns.index(c["target_block"])
        assert shown.values[row, column] == pytest.approx(read(c, name))


@pytest.mark.parametrize("tier", ["zero_shot", "tuned"])
def test_accuracies_are_percent_and_a_missing_one_is_a_gap(pair, tier):
    first = pair.raw["candidates"][0]
    first["accuracy"][tier] = None
    values = stitch_values(pair, tier)
    assert np.isnan(values[0])
    assert values[1:] == pytest.approx([read(c, tier) for c in pair.raw["candidates"][1:]])
    shown = field(pair, tier)
    assert np.isnan(shown.values[0, 0])
    assert "1 cells without a finite value" in description(pair, tier, shown)


def test_theta_is_over_every_cut_and_sigma_over_every_block_of_the_target(pair):
    n, m = pair.source["blocks"], pair.target["blocks"]
    cuts = field(pair, "cuts")
    assert (cuts.rows, cuts.columns) == (tuple(range(n + 1)), tuple(range(m + 1)))
    assert cuts.values.tolist() == pair.raw["theta"]
    sigma = field(pair, "sigma")
    assert (sigma.rows, sigma.columns) == ((), tuple(range(m)))
    assert sigma.values[0].tolist() == [pair.raw["theta_target"][j][j + 1] for j in range(m)]
    gamma = cuts.values[1, 1] / sigma.values[0, 1]
    assert field(pair, "kl").values[0, 0] == pytest.approx(gamma, rel=1e-3)


@pytest.mark.parametrize("name", [*SHOWN[1:]])
def test_what_is_not_computed_is_none(pair, name):
    pair.raw.update({"theta": None, "theta_target": None})
    for candidate in pair.raw["candidates"]:
        candidate["scores"] = dict.fromkeys(candidate["scores"])
        candidate["accuracy"] = dict.fromkeys(candidate["accuracy"])
    assert (field(pair, name) is None) == (name not in ("macs", "params", "random"))


def test_a_pair_without_stitches_still_has_its_cuts(pair):
    pair.raw["candidates"].clear()
    have = [name for name in SHOWN[1:] if field(pair, name) is not None]
    assert have == ["cuts", "sigma"]


def test_the_words_name_the_ends_and_their_places(pair):
    shown = field(pair, "kl")
    space = [c for c in pair.raw["candidates"] if c["in_space"]]
    best = min(space, key=lambda c: c["scores"]["kl"])
    said = description(pair, "kl", shown)
    place = f"{best['source_block']} → {best['target_block']}"
    assert f"lowest {best['scores']['kl']:.3g} at {place}" in said
    assert said.startswith(f"Γ over {len(shown.rows)} × {len(shown.columns)} cells")
    said = description(pair, "sigma", field(pair, "sigma"))
    assert re.search(r"highest [\d.]+ at target cut \d", said)
    shown.values[:] = np.inf
    assert description(pair, "kl", shown) == "Γ: no value is finite."


def test_what_is_said_of_the_best_score_is_what_the_readme_says():
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
    told = readme.split("**Which score when.**")[1].split("\n\n")[0]
    ours, gammas = (
        re.findall(r"\d\.\d", part)
        for part in re.search(r"(√\(Ω·CE\).*)(Γ's.*)", HELD_BEST).groups()
    )
    theirs = re.search(r"√\(Ω·CE\)(.*?)Γ's(.*?), Ω's", told, re.DOTALL).groups()
    assert [ours, gammas] == [re.findall(r"\d\.\d", part) for part in theirs]
    assert (len(ours), len(gammas)) == (3, 3)
    assert all(zoo in HELD_BEST for zoo in ("digits", "CIFAR-10", "ImageNet"))


def test_every_score_has_words_and_costs_have_the_pairs_unit(pair):
    assert set(METRICS) - {*SETS} <= set(QUANTITIES)
    for name in SHOWN[1:]:
        what = quantity(name, pair)
        assert (what.stage in STAGES) == (name != "finetuned")
        assert len(what.explanation) > 40
        higher = name in ("sigma", *TIERS)
        assert what.reading.startswith("higher" if higher else "lower")
        assert what.brightest == ("highest" if higher else "lowest")
    assert quantity("macs", pair).label == "MMACs (the papers' MFLOPs)"
