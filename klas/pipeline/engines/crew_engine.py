"""What engines with a crew share: it is there from the first results to the engine's end."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from klas.errors import KlasError
from klas.pipeline.context import Context
from klas.pipeline.engines.crew import Crew, carry_out
from klas.pipeline.engines.engine import Errors
from klas.pipeline.speed import Speed
from klas.results.result import Result

C = TypeVar("C", bound=Crew)


class CrewEngine(ABC, Generic[C]):
    """An engine whose work a crew does."""

    def __init__(self) -> None:
        self.crew: C | None = None
        self._memory_bytes = 0

    @abstractmethod
    def begin(self, context: Context) -> C:
        """A crew for a study."""

    @abstractmethod
    def speed(self, context: Context) -> Speed:
        """How fast each of its workers is."""

    @property
    def memory_bytes(self) -> int:
        """The most memory that the workers took together, as far as they told."""
        return max(self._memory_bytes, self.crew.memory_bytes if self.crew else 0)

    def carry_out(
        self,
        results: Sequence[Result],
        context: Context,
        *,
        labels: Mapping[Result, str] | None = None,
        tolerated: Errors = (),
    ) -> dict[Result, KlasError]:
        """As :meth:`klas.pipeline.engines.engine.Engine.carry_out`."""
        speed = self.speed(context)
        if self.crew is None:
            self.crew = self.begin(context)
        try:
            return carry_out(results, context, self.crew, speed, labels=labels, tolerated=tolerated)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers."""
        if self.crew is not None:
            self._memory_bytes = self.memory_bytes
            self.crew.dismiss()
            self.crew = None
