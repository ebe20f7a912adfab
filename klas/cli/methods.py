"""``klas finetune`` and ``klas compare``: train what is chosen, compare KLAS with its rivals."""

import argparse
import sys
from typing import TYPE_CHECKING

from klas.cli.steps import open_pipeline, open_store, output, wanted_pairs, with_selection
from klas.cli.tables.comparison import comparison_tables
from klas.cli.tables.networks import finetuned_tables
from klas.errors import KlasError, SelectionError
from klas.results import comparison, formats
from klas.results.formatting import duration
from klas.results.pair import Pair, of_pairs, pairs_of
from klas.results.refs import stored_scores
from klas.results.selections import choose, racing_in, reasons_for_nothing
from klas.study import load_study

if TYPE_CHECKING:
    from klas.pipeline.run import Pipeline


def finetune(options: argparse.Namespace) -> None:
    """Train each pair's selection jointly, or what every method of the comparison chooses."""
    if options.compare and options.metric is not None:
        raise SelectionError(
            "--metric: `finetune --compare` trains what every method chooses; leave it out"
        )
    study = with_selection(load_study(options.study), options)
    with open_pipeline(options, study) as pipeline:
        pairs = wanted_pairs(pairs_of(pipeline.run("scores")), options.pair)
        if options.compare:
            _finetune_methods(options, pipeline, pairs)
        else:
            _finetune_selections(options, pipeline, pairs)


def _finetune_selections(
    options: argparse.Namespace, pipeline: "Pipeline", pairs: list[Pair]
) -> None:
    results, spec = [], pipeline.study.selection
    for pair in pairs:
        selection = choose(pair, spec)
        if selection.chosen.any():
            racing = racing_in(selection, spec.metric)
            results.append((pair, pipeline.finetune(pair, selection.chosen, racing)))
    if not results:
        reasons = "; ".join(reasons_for_nothing(pairs, spec))
        raise SelectionError(f"nothing is chosen, so there is nothing to train: {reasons}")
    plain = [
        {"source": pair.names[0], "target": pair.names[1], **result} for pair, result in results
    ]
    output(options, {"finetuned": plain}, lambda: finetuned_tables(results))


def _finetune_methods(options: argparse.Namespace, pipeline: "Pipeline", pairs: list[Pair]) -> None:
    from klas.pipeline.estimate import comparison_seconds

    for pair in pairs:
        count, seconds = comparison_seconds(pipeline, pair)
        if count:
            print(
                f"{pair.name}: {count} trainings, about {duration(seconds)} "
                f"(seed {pipeline.study.finetuning.seed})",
                file=sys.stderr,
            )
    diverged = pipeline.finetune_methods(pairs)
    document = comparison.compare(pipeline.run("scores"), pipeline.study, pipeline.store)
    output(options, document, lambda: comparison_tables(document))
    if diverged:
        raise KlasError("; ".join(diverged))


def compare(options: argparse.Namespace) -> None:
    """Compare KLAS with its rivals, from what is computed."""
    study = with_selection(load_study(options.study), options)
    with open_store(options) as store:
        computed = stored_scores(store, study)
        if computed is None:
            raise SelectionError(f"study {study.name}: nothing is computed yet; run `klas run`")
        pairs = wanted_pairs(pairs_of(computed), options.pair)
        document = comparison.compare(of_pairs(computed, pairs), study, store)
    wrote = []
    if options.out is not None:
        formats.write(document, options.out)
        wrote = [f"wrote {options.out}"]
    output(options, document, lambda: [*comparison_tables(document), *wrote])
