"""Which engine carries some work out: the one that the study names, or the one that suits it."""

from collections.abc import Sequence

from klas.memory import available_memory_bytes, peak_memory_bytes
from klas.pipeline.context import Context
from klas.pipeline.engines.crew import work_of
from klas.pipeline.engines.engine import Engine
from klas.pipeline.engines.here import Here
from klas.pipeline.engines.processes import Place, Processes, usable_cores
from klas.pipeline.engines.ray import RayCluster, room_for, speed_on_ray
from klas.pipeline.engines.schedule import makespan
from klas.pipeline.recipes.registry import recipe_of
from klas.pipeline.speed import Speed, speed_of
from klas.results.result import Result
from klas.study import EngineSpec

BEGIN_SECONDS = 8.0  # until a new process has imported torch and opened the networks
MEMORY_SHARE = 0.8  # of what is available, for all workers together


def engine_for(spec: EngineSpec, context: Context, absent: Sequence[Result]) -> Engine:
    """The engine for some missing results."""
    if spec.name == "ray":
        each = _memory_each(context, absent)
        return RayCluster(address=spec.address, at_most=spec.workers, memory_each=each)
    where = _places(spec, context, absent)
    return Processes(where) if where else Here()


def workers_for(
    engine: EngineSpec | Engine, context: Context, absent: Sequence[Result]
) -> tuple[int, Speed]:
    """How many workers an engine would have for some missing results, and how fast each is.

    On a cluster that is as fast as this machine.

    Raises:
        WorkerError: there is no such cluster.
    """
    if isinstance(engine, EngineSpec) and engine.name == "ray":
        room = room_for(context, engine.address, _memory_each(context, absent))
        return min(room, engine.workers or room), speed_on_ray(context)
    where = _places(engine, context, absent) if isinstance(engine, EngineSpec) else []
    if not where:
        return 1, speed_of(context)
    return len(where), speed_of(context, where[0].threads)


def _places(spec: EngineSpec, context: Context, absent: Sequence[Result]) -> list[Place]:
    """Where processes would compute; nowhere if this one does it all."""
    if spec.name == "here":
        return []
    where = _possible(context, absent)[: spec.workers]
    if spec.name == "processes":
        return where
    return where if len(where) > 1 and _pays(where, context, absent) else []


def _possible(context: Context, absent: Sequence[Result]) -> list[Place]:
    """Every GPU that may be taken; on a CPU the cores.

    There are as many processes on a CPU as memory lets; each needs networks and activations of
    its own.
    """
    cores = usable_cores()
    if context.device.type == "cpu":
        return [Place(device="cpu", threads=1)] * _fitting(cores, context, absent)
    threads = max(1, cores // len(context.devices))
    return [Place(device=device, threads=threads) for device in context.devices]


def _fitting(cores: int, context: Context, absent: Sequence[Result]) -> int:
    """How many workers there is memory for, and cores."""
    free = available_memory_bytes()
    if free is None or cores == 1:
        return cores
    return int(max(1, min(cores, MEMORY_SHARE * free // _memory_each(context, absent))))


def _memory_each(context: Context, absent: Sequence[Result]) -> int:
    """What a worker takes at its peak, about."""
    speed = speed_of(context, 1)
    costs = [recipe_of(result).cost(result, context, speed) for result in absent]
    return peak_memory_bytes() + max((cost.memory_bytes for cost in costs), default=0)


def _pays(where: Sequence[Place], context: Context, absent: Sequence[Result]) -> bool:
    """Whether processes are done before this one alone would be, their start included."""
    beside, alone = (
        work_of(absent, context, speed)
        for speed in (speed_of(context, where[0].threads), speed_of(context))
    )
    return makespan(beside, len(where)) + BEGIN_SECONDS < makespan(alone, 1)
