"""Engine ``ray``: workers on all nodes of a cluster, one for each GPU, or for each CPU."""

from collections.abc import Mapping, Sequence

from klas.errors import KlasError
from klas.pipeline.context import Context
from klas.pipeline.engines.crew import carry_out
from klas.pipeline.engines.engine import Errors
from klas.pipeline.engines.processes import usable_cores
from klas.pipeline.engines.ray_connection import check_installed, connected, running_address
from klas.pipeline.engines.ray_crew import RayCrew
from klas.pipeline.engines.ray_room import nodes, places, uses_gpus
from klas.pipeline.speed import Speed, speed_of
from klas.results.result import Result


class RayCluster:
    """Workers on a Ray cluster.

    Attributes:
        address: of the cluster, as :func:`klas.pipeline.engines.ray_connection.connected` takes it.
        at_most: so many workers.
        memory_each: that a worker takes, about.
    """

    def __init__(
        self, *, address: str | None, at_most: int | None = None, memory_each: int = 0
    ) -> None:
        self.address = address
        self.at_most = at_most
        self.memory_each = memory_each
        self._crew: RayCrew | None = None
        self._memory = 0

    @property
    def workers(self) -> int:
        """How many workers there are now; some may still begin."""
        return self._crew.size if self._crew else 0

    @property
    def memory_bytes(self) -> int:
        """The most memory that the workers took together, as far as they told."""
        return max(self._memory, self._crew.memory_bytes if self._crew else 0)

    def carry_out(
        self,
        results: Sequence[Result],
        context: Context,
        *,
        labels: Mapping[Result, str] | None = None,
        tolerated: Errors = (),
    ) -> dict[Result, KlasError]:
        """As :meth:`klas.pipeline.engines.engine.Engine.carry_out`."""
        speed = speed_on_ray(context)
        if self._crew is None:
            self._crew = RayCrew(
                context,
                address=self.address,
                at_most=self.at_most,
                memory_each=self.memory_each,
            )
        try:
            return carry_out(
                results, context, self._crew, speed, labels=labels, tolerated=tolerated
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, and leave the cluster."""
        if self._crew is not None:
            self._memory = self.memory_bytes
            self._crew.dismiss()
            self._crew = None


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
