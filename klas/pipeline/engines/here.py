"""Engine ``here``: one result after another, in this process."""

from collections.abc import Mapping, Sequence
from functools import partial

from klas.errors import KlasError
from klas.pipeline.context import Context
from klas.pipeline.engines.engine import Errors, missing
from klas.pipeline.engines.shares import make_here
from klas.results.result import Result


class Here:
    """One result after another, in this process."""

    workers = 1
    memory_bytes = 0  # beside this process

    def carry_out(
        self,
        results: Sequence[Result],
        context: Context,
        *,
        labels: Mapping[Result, str] | None = None,
        tolerated: Errors = (),
    ) -> dict[Result, KlasError]:
        """As :meth:`klas.pipeline.engines.engine.Engine.carry_out`."""
        ended: dict[Result, KlasError] = {}
        for result in missing(results, context):
            if without := next((need for need in result.needs if need in ended), None):
                ended[result] = ended[without]
                continue
            key, make = context.keys.of(result), partial(make_here, result, context)
            context.progress.label((labels or {}).get(result, key.label))
            try:
                context.compute(
                    key, partial(context.batch.retrying, make, context.progress.advance)
                )
            except tolerated as error:
                ended[result] = error
        return ended

    def close(self) -> None:
        """There is nothing to let go of."""
