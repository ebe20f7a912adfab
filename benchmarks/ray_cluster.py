"""A Ray cluster of several nodes on this machine, for benchmarks and tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def ray_cluster(folder: Path, nodes: int = 2) -> Iterator[Any]:
    """Start nodes of one core each; they end with the block.

    Give an engine the ``address`` of what is yielded, never none: other clusters may run here.

    Args:
        folder: where the nodes have cache folders of their own, apart from each other's.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for number in range(nodes):
            add_node(cluster, folder / f"node-{number}")
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any, cache: Path, **environment: str) -> Any:
    """Add a node of one core. Only the main thread can.

    Args:
        cache: the node's folder for what its workers keep.
        environment: of its processes, beside this process's.
    """
    head = {} if cluster.head_node else {"include_dashboard": False}
    variables = {"KLAS_CACHE_DIR": str(cache)} | environment
    return cluster.add_node(num_cpus=1, env_vars=variables, **head)
