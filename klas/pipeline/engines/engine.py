"""What an engine is, and which results it has to make."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from klas.errors import KlasError
from klas.pipeline.context import Context
from klas.pipeline.recipes.registry import recipe_of
from klas.results.result import Result

Errors = tuple[type[KlasError], ...]


class Engine(Protocol):
    """Makes results: in this process, in other ones, or on other hosts."""

    @property
    def workers(self) -> int:
        """How many results, or shares of them, are made side by side."""
        ...

    @property
    def memory_bytes(self) -> int:
        """The most memory that its workers took together, as far as they told."""
        ...

    def carry_out(
        self,
        results: Sequence[Result],
        context: Context,
        *,
        labels: Mapping[Result, str] | None = None,
        tolerated: Errors = (),
    ) -> dict[Result, KlasError]:
        """Make results, and first what they need, and put them into the context's store.

        What is at work and the units done are reported as progress. Each result is noted as the
        study's before it is made, whatever becomes of the rest.

        Args:
            results: what is wanted; whatever it needs that is missing is made too.
            labels: what progress shows for some results, instead of their keys' labels.
            tolerated: errors that end a result, and those that need it, but not the others.

        Returns:
            The results that ended so, with their errors.

        Raises:
            KlasError: a result cannot be made, and the error is not tolerated; those that were
                finished are kept.
        """
        ...

    def close(self) -> None:
        """Let go of the processes that it has; it can be used again."""
        ...


def missing(results: Sequence[Result], context: Context) -> Iterator[Result]:
    """The results that have to be made for some results: each comes after what it needs.

    What a stored result was made from is not asked for. A result is looked up only when it is
    next, so that one that was made meanwhile is not made again.
    """
    seen: set[Result] = set()

    def closure(result: Result) -> Iterator[Result]:
        if result in seen:
            return
        seen.add(result)
        if not context.has(result):
            for need in result.needs:
                yield from closure(need)
            yield result

    for result in results:
        yield from closure(result)


def units(results: Sequence[Result], context: Context) -> int:
    """How much work is missing, in the unit of the step."""
    return units_of(missing(results, context), context)


def units_of(absent: Iterable[Result], context: Context) -> int:
    """How much work some missing results are, in the unit of the step."""
    return sum(recipe_of(result).units(result, context) for result in absent)
