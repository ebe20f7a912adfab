"""How near a decoder's continuations come to the references: ROUGE-1, ROUGE-2 and ROUGE-L."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.errors import KlasError

ROUGE = ("rouge1", "rouge2", "rougeL")


def rouge_scores(made: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """(N, 3) F1 of one word, of two, and of the longest common subsequence, by ``rouge-score``.

    Words are lower-cased and not stemmed, the package's own way.

    Args:
        made: N continuations.
        references: what each is compared with.

    Raises:
        KlasError: the package is not installed.

    Examples:
        >>> rouge_scores(["the cat sat"], ["The cat ran"]).round(2)
        array([[0.67, 0.5 , 0.67]])
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer  # an extra: only texts need it
    except ImportError:
        raise KlasError(
            'ROUGE needs rouge-score; install it with `pip install -e ".[language]"`'
        ) from None
    scorer: Any = RougeScorer(list(ROUGE))
    pairs = zip(references, made, strict=True)
    scores = [[row[name].fmeasure for name in ROUGE] for row in (scorer.score(*p) for p in pairs)]
    return np.array(scores, dtype=np.float64).reshape(-1, len(ROUGE))
