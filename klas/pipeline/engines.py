"""Engines carry results out. The results are the same bytes whichever engine it was."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

from klas.pipeline.context import Context
from klas.pipeline.recipes.registry import recipe_of
from klas.results.result import Result


class Engine(Protocol):
    """Makes results: in this process, in other ones, or on other hosts."""

    def carry_out(
        self, results: Sequence[Result], context: Context, *, label: str | None = None
    ) -> None:
        """Make results, and first what they need, and put them into the context's store.

        Every result's label and units are reported as progress. Each result is noted as the
        study's as soon as it is stored, whatever becomes of the rest.

        Args:
            results: what is wanted; whatever it needs that is missing is made too.
            label: what progress shows for all of it, instead of each result's own label.

        Raises:
            KlasError: a result cannot be made; those before it are kept.
        """
        ...


class Here:
    """One result after another, in this process."""

    def carry_out(
        self, results: Sequence[Result], context: Context, *, label: str | None = None
    ) -> None:
        """As :meth:`Engine.carry_out`."""
        for result in missing(results, context):
            key, make = context.keys.of(result), partial(recipe_of(result).make, result, context)
            context.progress.label(label or key.label)
            context.compute(key, partial(context.batch.retrying, make, context.progress.advance))


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
