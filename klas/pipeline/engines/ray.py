"""Engine ``ray``: workers on all nodes of a cluster, one for each GPU, or for each CPU."""

from klas.pipeline.context import Context
from klas.pipeline.engines.crew_engine import CrewEngine
from klas.pipeline.engines.processes import usable_cores
from klas.pipeline.engines.ray_connection import check_installed, connected, running_address
from klas.pipeline.engines.ray_crew import RayCrew
from klas.pipeline.engines.ray_room import nodes, places, uses_gpus
from klas.pipeline.speed import Speed, speed_of


class RayCluster(CrewEngine[RayCrew]):
    """Workers on a Ray cluster.

    Attributes:
        address: of the cluster, as :func:`klas.pipeline.engines.ray_connection.connected` takes it.
        at_most: so many workers.
        memory_each: that a worker takes, about.
    """

    def __init__(
        self, *, address: str | None, at_most: int | None = None, memory_each: int = 0
    ) -> None:
        super().__init__()
        self.address = address
        self.at_most = at_most
        self.memory_each = memory_each

    @property
    def workers(self) -> int:
        """How many workers there are now; some may still begin."""
        return self.crew.size if self.crew else 0

    def begin(self, context: Context) -> RayCrew:
        """Connect to the cluster, and ask for workers there."""
        return RayCrew(
            context, address=self.address, at_most=self.at_most, memory_each=self.memory_each
        )

    def speed(self, context: Context) -> Speed:
        """As fast as this machine."""
        return speed_on_ray(context)


def room_for(context: Context, address: str | None, memory_each: int) -> int:
    """How many workers there would be room for on a cluster that is otherwise empty.

    Args:
        memory_each: that a worker takes.

    Raises:
        WorkerError: Ray is not installed; there is no such cluster; it is of another version.
    """
    check_installed()
    if running_address(address) is None:  # one would be started here, which takes a while
        return usable_cores()
    with connected(address):
        every = nodes()
        return max(1, places(every, memory_each, gpus=uses_gpus(every, context.wish)))


def speed_on_ray(context: Context) -> Speed:
    """How fast a worker is, if it is as fast as this machine: a CPU's has one thread."""
    return speed_of(context, 1 if context.device.type == "cpu" else None)
