"""What a job is to do: a frozen type for each kind, and one for what only a newer klas knows."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from klas.recipe import TrainingSpec
from klas.results.documents.exports import FormatName
from klas.selection.space import PairNames, Place
from klas.study import Metric, Stage, Tier

"""The names of a pair's source and target."""

Stitch = tuple[str, str, int, int]
"""Source and target by name, i and j."""


class _Kind(BaseModel):
    # Most pages of the app meet no job: what checks one is built when the first one is met.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class DeviceJob(_Kind):
    """A job that waits until it has a device to itself."""


class RunJob(DeviceJob):
    """Compute every stage of a study up to one of them."""

    kind: Literal["run"] = "run"
    until: Stage


class FinetuneJob(DeviceJob):
    """Train jointly what methods choose of a pair.

    For the study's own score that is what its selection chooses; another score takes as many in
    every bucket.
    """

    kind: Literal["finetune"] = "finetune"
    pair: PairNames
    metrics: tuple[Metric, ...]


class CompareJob(DeviceJob):
    """Train jointly what every method chooses of some pairs, at every budget."""

    kind: Literal["compare"] = "compare"
    pairs: tuple[PairNames, ...]


class FullValJob(DeviceJob):
    """Measure what the study's selection chooses of some pairs on every validation image."""

    kind: Literal["full_val"] = "full_val"
    pairs: tuple[PairNames, ...]
    tier: Tier


class PicturesJob(DeviceJob):
    """Show what a stitch and its anchors predict for a few validation images.

    Attributes:
        place: the stitch's i and j.
        trained, racing: of ``finetuned``, the stitches that were trained together and the bucket
            in which each raced, if they did.
    """

    kind: Literal["pictures"] = "pictures"
    pair: PairNames
    place: Place
    tier: Tier
    trained: tuple[Place, ...] = ()
    racing: tuple[int, ...] = ()


class LatencyJob(DeviceJob):
    """Time every stitched network of some pairs."""

    kind: Literal["latency"] = "latency"
    pairs: tuple[PairNames, ...]


class TrainJob(DeviceJob):
    """Train some stitches and their anchors jointly, into one elastic network in the cache folder.

    Attributes:
        stitches: of any pairs of the study.
        recipe: how; it is the job's own, for a study's results don't depend on it.
    """

    kind: Literal["train"] = "train"
    stitches: Annotated[tuple[Stitch, ...], Field(min_length=1)]
    recipe: TrainingSpec

    @field_validator("recipe", mode="before")
    @classmethod
    def _of_plain_values(cls, value: Any) -> Any:
        # In JSON mode: a recipe is strict, and plain values have lists where it has tuples.
        if isinstance(value, TrainingSpec):
            return value
        return TrainingSpec.model_validate_json(json.dumps(value))


class ExportJob(_Kind):
    """Write one network of a study as a file that needs nothing else; the answer is in the status.

    It runs on the CPU, and somebody waits for it, so it starts at once, beside other jobs.

    Attributes:
        member: ``SOURCE:i-TARGET:j``, or an anchor's name.
        tier: whose layers a stitch gets; None for an anchor.
        pair: of a stitch.
        trained, racing: of ``finetuned``, the stitches that were trained together and the bucket
            in which each raced, if they did: another training gives other weights.
        to: the format.
        fused: whether parallel branches and normalisation are folded first.
    """

    kind: Literal["export"] = "export"
    member: str
    pair: PairNames | None
    tier: Tier | None
    trained: tuple[Place, ...] = ()
    racing: tuple[int, ...] = ()
    to: FormatName
    fused: bool = False


class EstimateJob(_Kind):
    """Say what another job would take; the answer is in the status.

    It is short, and wanted before one decides to wait, so it starts at once, beside other jobs.
    """

    kind: Literal["estimate"] = "estimate"
    of: Annotated[
        RunJob | FinetuneJob | CompareJob | FullValJob | TrainJob, Field(discriminator="kind")
    ]


class CatalogueJob(_Kind):
    """Build the catalogue of pretrained networks. It is about no study and needs no device."""

    kind: Literal["catalogue"] = "catalogue"


JobSpec = (
    RunJob
    | FinetuneJob
    | CompareJob
    | FullValJob
    | PicturesJob
    | LatencyJob
    | TrainJob
    | ExportJob
    | EstimateJob
    | CatalogueJob
)
"""What a job is to do, told apart by ``kind``."""

_SPEC: TypeAdapter[JobSpec] = TypeAdapter(
    Annotated[JobSpec, Field(discriminator="kind")], config=ConfigDict(defer_build=True)
)


class UnknownJob(BaseModel):
    """A job of a kind, or with settings, that this klas doesn't know.

    It can be listed and removed, not started.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    problem: str


def read_spec(task: Mapping[str, Any]) -> JobSpec | UnknownJob:
    """What ``job.json`` says under ``task``, as a type."""
    try:
        return _SPEC.validate_python(task)
    except ValidationError as error:
        kind = str(task.get("kind"))[:40]
        if error.errors()[0]["loc"]:
            problem = (
                f"this job ({kind}) has settings that are unknown here; a newer klas may know them"
            )
        else:
            problem = f"the kind of this job ({kind}) is unknown here; a newer klas may know it"
        return UnknownJob(kind=kind, problem=problem)
