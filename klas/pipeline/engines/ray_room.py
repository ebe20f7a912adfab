"""How much room there is on a Ray cluster, and which part of it is a study's own."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

PREFIX = "klas-worker-"  # of the actors' names: what crews know each other by


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that is alive, and what it has of each resource."""

    name: str
    cpus: int
    gpus: int
    memory_bytes: int


def nodes() -> list[Node]:
    """The living nodes of the cluster that this process is connected to."""
    import ray

    return [
        Node(
            name=node["NodeID"],
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            memory_bytes=int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def uses_gpus(every: Sequence[Node], wish: str) -> bool:
    """Whether workers compute on GPUs: where there are any, unless the CPU is asked for.

    Args:
        wish: the device that was asked for.
    """
    return wish != "cpu" and any(node.gpus for node in every)


def resources(every: Sequence[Node], memory_each: int, *, gpus: bool) -> dict[str, int]:
    """What a worker asks Ray for: no more than the smallest node that it may be on has.

    Args:
        memory_each: that a worker takes.

    Examples:
        >>> node = Node(name="a", cpus=9, gpus=2, memory_bytes=10)
        >>> resources([node], 3, gpus=False)
        {'num_cpus': 1, 'memory': 3}
        >>> resources([node], 30, gpus=True)
        {'num_cpus': 4, 'num_gpus': 1, 'memory': 10}
    """
    mine = [node for node in every if (node.gpus if gpus else node.cpus)]
    asked = {"num_cpus": 1}
    if gpus:
        asked = {"num_cpus": min((n.cpus // n.gpus for n in mine), default=0), "num_gpus": 1}
    if memory_each and mine:
        asked["memory"] = min(memory_each, *(node.memory_bytes for node in mine))
    return asked


def places(every: Sequence[Node], memory_each: int, *, gpus: bool) -> int:
    """How many workers there is room for on some nodes: one for each GPU, or for each CPU.

    Args:
        memory_each: that a worker takes; a node that has less still takes one.

    Examples:
        >>> node = Node(name="a", cpus=8, gpus=2, memory_bytes=10)
        >>> places([node, node], 0, gpus=False), places([node], 0, gpus=True)
        (16, 2)
        >>> places([node], 3, gpus=False)
        3
    """
    total = 0
    for node in every:
        of_node = node.gpus if gpus else node.cpus
        fitting = node.memory_bytes // memory_each if memory_each else of_node
        total += min(of_node, max(1, fitting))
    return total


def own_part(every: int, others: Collection[int], wanted: int | None) -> int:
    """How many of all places a crew takes: an equal part, and what the others leave.

    Args:
        others: how many workers each other crew has, or waits for.
        wanted: at most so many.

    Examples:
        >>> own_part(8, [], None), own_part(8, [8], None), own_part(8, [1], None)
        (8, 4, 7)
        >>> own_part(8, [8], 2), own_part(1, [1, 1], None)
        (2, 1)
    """
    equal = -(-every // (len(others) + 1))
    part = max(1, equal, every - sum(others))
    return part if wanted is None else min(part, wanted)


def actor_name(crew: str, number: int) -> str:
    """The name of a crew's worker."""
    return f"{PREFIX}{crew}-{number}"


def workers_by_crew(names: Collection[str]) -> dict[str, int]:
    """How many workers each crew has, or waits for.

    Args:
        names: of all actors.

    Examples:
        >>> workers_by_crew([actor_name("a", 0), actor_name("a", 1), "other", actor_name("b", 7)])
        {'a': 2, 'b': 1}
    """
    crews = (name.removeprefix(PREFIX).rpartition("-")[0] for name in names if _is_ours(name))
    return dict(Counter(crews))


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX)
