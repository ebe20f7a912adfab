import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from klas.measures.continuations import ROUGE, rouge_scores

MADE = ["a cat sat on the mat", "", "Networks that were stitched.", "one two three four"]
WANTED = ["the cat is on the mat", "nothing", "Stitched networks", "four three two one"]


def test_scores_are_those_of_the_package():
    scorer = RougeScorer(list(ROUGE), use_stemmer=False)
    for scores, made, wanted in zip(rouge_scores(MADE, WANTED), MADE, WANTED):
        reference = scorer.score(wanted, made)
        assert scores.tolist() == [reference[name].fmeasure for name in ROUGE]


def test_equal_texts_have_one_and_empty_ones_nothing():
    np.testing.assert_array_equal(rouge_scores(WANTED[:1], WANTED[:1]), [[1, 1, 1]])
    np.testing.assert_array_equal(rouge_scores([""], ["words"]), [[0, 0, 0]])
    assert rouge_scores([], []).shape == (0, 3)


def test_every_continuation_needs_a_reference():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        rouge_scores(["one"], [])
