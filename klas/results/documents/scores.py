"""The ``klas-scores`` form: every candidate of a study."""

from typing import Annotated, Any, Literal, NotRequired, get_args

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from klas.results.documents.numbers import (
    Anchors,
    Array,
    AtLeastOne,
    Blocks,
    Cost,
    Count,
    Nats,
    Operators,
    Score,
    Share,
    Version,
)
from klas.results.documents.sources import AnchorEntry, Data, Deployed, Fit, MadeWith
from klas.study import TaskName
from klas.tasks.metric import MetricName

ClassNames = Annotated[Array[str], Field(min_length=2, max_length=255)]
"""As many as label maps of bytes can have, beside what counts nowhere."""


class Scores(TypedDict):
    """A candidate's scores, lower is better.

    null: not computed yet; "inf": infinite.
    """

    kl: Score | None
    theta: Score | None
    theta_ce: NotRequired[Score | None]  # older documents have none
    cka: Score | None
    mse: Score | None
    ce: Score | None
    dm: Score | None


CandidateTier = Literal["zero_shot", "tuned"]
CANDIDATE_TIERS: tuple[CandidateTier, ...] = get_args(CandidateTier)
"""The tiers at which every candidate is measured, chosen or not."""


class CandidateAccuracy(TypedDict):
    """A candidate's accuracies before any joint training.

    null: not measured yet.
    """

    zero_shot: Share | None
    tuned: Share | None


class Candidate(TypedDict):
    """A stitch: the source's blocks 1 to source_block, then the target's from target_block + 1.

    in_space: whether a score may choose it; snnet: whether it is one of SN-Net's set; macs: of one
    forward pass, a lower bound where uncounted names operators for which there is no formula;
    deployed: with both parts fused, where one of the anchors has a fused form that is cut alike.
    """

    source_block: AtLeastOne
    target_block: Count
    in_space: bool
    snnet: bool
    macs: Cost
    params: Cost
    uncounted: NotRequired[Operators]
    deployed: NotRequired[Deployed]
    scores: Scores
    accuracy: CandidateAccuracy


class ScoredPair(TypedDict):
    """A pair's divergences, in nats, and its candidates.

    theta_output: between the outputs of source and target; theta: between their cuts, a row for
    each of the source's; theta_target: among the cuts of the target. null: not computed yet.
    diverged: (i, j) of the candidates whose tuning diverged; they have no accuracy at tuned.
    """

    source: str
    target: str
    theta_output: Nats | None
    theta: Array[Array[Nats]] | None
    theta_target: Array[Array[Nats]] | None
    candidates: Array[Candidate]
    diverged: NotRequired[Array[Blocks]]


@with_config(ConfigDict(title="KLAS scores", extra="forbid", strict=True))
class ScoresDocument(TypedDict):
    """Every candidate stitch of a study with its costs, scores and accuracies.

    class_names: of segmentation, in the order of their numbers. null: not computed yet; "inf":
    infinite.
    """

    format: Literal["klas-scores"]
    version: Version
    study: dict[str, Any]
    made_with: MadeWith
    task: TaskName
    accuracy_metric: MetricName
    class_names: NotRequired[ClassNames]
    anchors: Anchors[AnchorEntry]
    data: Data
    fit: Fit
    precision: str
    pairs: Array[ScoredPair]
