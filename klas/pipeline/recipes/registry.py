"""Which recipe makes which kind of result."""

from typing import Any

from klas.pipeline.recipes.continuations import CONTINUATIONS
from klas.pipeline.recipes.finetuned import FINETUNED, FINETUNED_OUTCOMES, FINETUNED_WEIGHTS
from klas.pipeline.recipes.full_validation import FULL_VALIDATION
from klas.pipeline.recipes.latency import LATENCY
from klas.pipeline.recipes.passes import FEATURES, TEST_OUTCOMES, THETA_OUTPUT, VALIDATION
from klas.pipeline.recipes.pictures import PICTURES
from klas.pipeline.recipes.probes import PROBE_ACCURACY, PROBES
from klas.pipeline.recipes.recipe import Recipe
from klas.pipeline.recipes.scores import CKA, FIT, THETA
from klas.pipeline.recipes.tuned import TUNED
from klas.pipeline.recipes.zero_shot import ZERO_SHOT
from klas.results import result as kinds
from klas.results.result import Result

_RECIPES: dict[type, Recipe[Any]] = {
    kinds.Validation: VALIDATION,
    kinds.TestOutcomes: TEST_OUTCOMES,
    kinds.Features: FEATURES,
    kinds.Probes: PROBES,
    kinds.ProbeAccuracy: PROBE_ACCURACY,
    kinds.ThetaOutput: THETA_OUTPUT,
    kinds.Theta: THETA,
    kinds.Cka: CKA,
    kinds.Fit: FIT,
    kinds.ZeroShot: ZERO_SHOT,
    kinds.Tuned: TUNED,
    kinds.FinetunedWeights: FINETUNED_WEIGHTS,
    kinds.FinetunedOutcomes: FINETUNED_OUTCOMES,
    kinds.Finetuned: FINETUNED,
    kinds.FullValidation: FULL_VALIDATION,
    kinds.Pictures: PICTURES,
    kinds.Continuations: CONTINUATIONS,
    kinds.Latency: LATENCY,
}


def recipe_of(result: Result) -> Recipe[Any]:
    """How a result is made."""
    return _RECIPES[type(result)]
