"""The ``klas-comparison`` form: every method on the same candidates."""

from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from klas.results.documents.numbers import (
    Array,
    AtLeastOne,
    Cost,
    Count,
    Name,
    Number,
    Sha256,
    Share,
    Version,
)
from klas.results.documents.sources import Data, MadeWith
from klas.study import TaskName
from klas.tasks.metric import MetricName

T = TypeVar("T")


class Figure(TypedDict):
    """A value and the ends of its interval; null: undefined."""

    value: Number
    low: Number | None
    high: Number | None


class RankedFigure(Figure):
    """A rank correlation within buckets.

    candidates: how many it rests on, which is its weight beside other pairs.
    """

    candidates: AtLeastOne


class PairsFigure(Figure):
    """A figure over all pairs.

    pairs: how many it is of.
    """

    pairs: AtLeastOne


class PairsRankedFigure(RankedFigure):
    """A rank correlation within buckets over all pairs."""

    pairs: AtLeastOne


class AreaFigures(TypedDict):
    """The areas under a method's curves at one tier, and the mean accuracy of its stitches."""

    auc: Figure | None
    auc_stitches: Figure | None
    area_top1: Figure | None
    mean_top1: Figure | None


class CurveFigures(AreaFigures):
    """The areas, and what KLAS gains on the method at equal cost and saves at equal accuracy."""

    gain: Figure | None
    greatest_gain: Figure | None
    saving: Figure | None
    greatest_saving: Figure | None


class PairsAreaFigures(TypedDict):
    """The areas over all pairs.

    pairs: in how many of them there is anything to count.
    """

    auc: PairsFigure | None
    auc_stitches: PairsFigure | None
    area_top1: PairsFigure | None
    mean_top1: PairsFigure | None
    pairs: Count


class PairsCurveFigures(PairsAreaFigures):
    """The areas over all pairs, and what KLAS gains and saves there."""

    gain: PairsFigure | None
    greatest_gain: PairsFigure | None
    saving: PairsFigure | None
    greatest_saving: PairsFigure | None


Steps = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]*)$")]
_OfEachBudget = Field(min_length=1, json_schema_extra={"additionalProperties": False})


class MethodFigures(TypedDict):
    """A method on one pair.

    Its agreement with the oracle, its curves at every tier (null: not measured yet), and its areas
    by the steps of joint training.
    """

    overlap: Figure | None
    containment: Figure | None
    spearman: Figure | None
    spearman_within: RankedFigure | None
    zero_shot: CurveFigures | None
    tuned: CurveFigures | None
    finetuned: CurveFigures | None
    budgets: Annotated[dict[Steps, AreaFigures | None], _OfEachBudget]


class PairsMethodFigures(TypedDict):
    """A method over all pairs."""

    overlap: PairsFigure | None
    containment: PairsFigure | None
    spearman: PairsFigure | None
    spearman_within: PairsRankedFigure | None
    zero_shot: PairsCurveFigures | None
    tuned: PairsCurveFigures | None
    finetuned: PairsCurveFigures | None
    budgets: Annotated[dict[Steps, PairsAreaFigures | None], _OfEachBudget]


class ByMethod(TypedDict, Generic[T]):
    """One entry for each method."""

    kl: T
    theta: T
    theta_ce: NotRequired[T]  # older documents have none
    cka: T
    mse: T
    ce: T
    dm: T
    random: T
    snnet: T
    race: NotRequired[T]  # older documents have none


class ComparedAccuracy(TypedDict):
    """The accuracies of a stitch that was chosen.

    tuned: null where that diverged; finetuned: null where it is not measured yet.
    """

    zero_shot: Share
    tuned: Share | None
    finetuned: Share | None


class ComparedStitch(TypedDict):
    """A stitch that a method chose.

    score: null where the method has none.
    """

    source_block: Count
    target_block: Count
    macs: Cost
    bucket: Count | None
    score: float | None
    accuracy: ComparedAccuracy


class ComparedPair(TypedDict):
    """A pair, with what each method chose: of a race, who was kept, before it is run who starts.

    buckets: how many hold at least two candidates; chance: how many of them a random choice hits;
    anchors_alone: by steps and name, each anchor trained without stitches for as many steps as a
    method's whole selection; empty where that was not run.
    """

    source: Name
    target: Name
    buckets: Count
    chosen: ByMethod[list[ComparedStitch]]  # not Array: the name in the schema would be unreadable
    chance: Figure | None
    methods: ByMethod[MethodFigures]
    anchors_alone: NotRequired[dict[Steps, dict[Name, Figure | None]]]  # older documents lack it


class AllPairs(TypedDict):
    """The same figures over all pairs."""

    chance: Figure | None
    methods: ByMethod[PairsMethodFigures]


class ComparedAnchor(TypedDict):
    """An anchor with its accuracies on the validation and the test samples."""

    name: Name
    digest: Sha256
    macs: Cost
    params: Cost
    val: Figure | None
    test: Figure | None


class Bootstrap(TypedDict):
    """How the intervals were made: by resampling blocks of samples."""

    replicates: AtLeastOne
    level: Annotated[float, Field(gt=0, lt=1)]
    seed: Count


@with_config(ConfigDict(title="KLAS comparison", extra="forbid", strict=True))
class Comparison(TypedDict):
    """KLAS and its rivals on the same candidates.

    Agreement with the oracle, areas under the curves, budgets of fine-tuning, pair by pair and over
    all pairs. A figure is a value and the ends of its interval; null: undefined or not measured
    yet; "inf", "-inf": infinite. "candidates": how many a rank correlation within buckets rests on,
    which is its weight beside other pairs; "pairs": how many a figure over all pairs is of.
    """

    format: Literal["klas-comparison"]
    version: Version
    study: dict[str, Any]
    made_with: MadeWith
    task: TaskName
    accuracy_metric: MetricName
    anchors: Array[ComparedAnchor]
    data: Data
    precision: str
    oracle: Literal["tuned"]
    finetuned_on: Literal["val", "test"]
    bootstrap: Bootstrap
    pairs: Annotated[Array[ComparedPair], Field(min_length=1)]
    all_pairs: AllPairs
