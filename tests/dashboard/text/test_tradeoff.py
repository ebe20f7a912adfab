"""The trade-off's sentences and the digits of its tables."""

import copy

import numpy as np
import pytest

from dashboard.model.tradeoff import Curve, Sheet
from dashboard.text import tradeoff as tradeoff_tables
from dashboard.text.tradeoff import above, verdict
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.selection.curves import Difference
from tests.conftest import SMALL


@pytest.fixture
def sheet(computed):
    return Sheet(pair=pairs_of(copy.deepcopy(computed[1]))[1])


@pytest.fixture
def picked(sheet):
    return choose(sheet.pair, SMALL.selection)


@pytest.mark.parametrize(
    ("won", "spared", "said"),
    [
        ((0.012, 0.03), (1.5, 2.0), ["is on average **+1.20 points**", "**1.50× fewer MACs**"]),
        (
            (-0.012, -0.004),
            (0.8, 1.2),
            ["**-1.20 points**", "takes on average **0.80×** the MACs of KLAS"],
        ),
        (
            (0.00002, 0.01),
            (1.001, 1.3),
            [
                "reach the **same** accuracy on average; at best KLAS (Γ) is 1.00 points above.",
                "both need the **same** MACs on average; at best KLAS (Γ) needs 1.30× fewer MACs.",
            ],
        ),
        (
            (-0.00004, 0.00001),
            (0.999, 1.0),
            ["reach the **same** accuracy on average.", "the **same** MACs on average."],
        ),
    ],
)
def test_what_rounds_to_nothing_is_called_the_same(sheet, picked, monkeypatch, won, spared, said):
    def told(numbers):
        return lambda *_: Difference(mean=numbers[0], greatest=numbers[1])

    monkeypatch.setattr(tradeoff_tables, "gain", told(won))
    monkeypatch.setattr(tradeoff_tables, "saving", told(spared))
    accuracy = sheet.accuracy["tuned"]
    ours, theirs = (Curve(m, picked.chosen, accuracy) for m in ("kl", "cka"))
    sentences = verdict(sheet.pair, sheet.costs["macs"], ours, theirs)
    assert len(sentences) == len(said)
    for sentence, words in zip(sentences, said):
        assert words in sentence
        assert "0.00" not in sentence
        assert "1.00×" not in sentence


def test_the_sentence_says_why_no_stitch_counts_and_only_then(sheet, picked):
    pair, chosen = sheet.pair, picked.chosen
    cheap, costly = pair.cheap_and_costly
    cheap["accuracy"], costly["accuracy"] = 0.6, 0.9

    def said(level, cost="macs"):
        accuracy = np.where(chosen, level, np.nan)
        return above(pair, sheet.costs[cost], Curve("kl", chosen, accuracy))

    why = "None is above the cheap anchor's 60.0 %, so the envelope is that of the anchors alone"
    count = chosen.sum()
    assert said(0.5).startswith(
        f"**0 of {count}** chosen stitches are more accurate than every anchor "
    )
    assert why in said(0.5)
    assert why in said(0.6)
    assert said(0.95).startswith(f"**{count} of {count}**")
    assert "None is above" not in said(0.95)
    assert "that has no more parameters." in said(0.95, "params")
    costly["accuracy"] = 0.6  # no areas, so none of them is 0
    assert "None is above" not in said(0.5)
    costly["accuracy"] = None
    assert "None is above" not in said(0.5)
