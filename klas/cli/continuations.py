"""``klas rouge``: how near continuations by decoders and their stitches come to references."""

import argparse

from klas.cli.steps import open_pipeline, output, wanted_pairs, with_selection
from klas.cli.tables.continuations import rouge_tables
from klas.errors import SelectionError
from klas.results.pair import pairs_of
from klas.results.selections import choose, racing_in
from klas.study import load_study


def rouge(options: argparse.Namespace) -> None:
    """Let each pair's decoders and chosen stitches continue the validation prompts."""
    study = with_selection(load_study(options.study), options)
    if study.task != "language":
        raise SelectionError(
            f"study {study.name} is for {study.task}; only decoders continue texts"
        )
    with open_pipeline(options, study) as pipeline:
        results = []
        for pair in wanted_pairs(pairs_of(pipeline.run("scores")), options.pair):
            selection = choose(pair, study.selection)
            racing = racing_in(selection, study.selection.metric)
            made = pipeline.continuations(pair, selection.chosen, options.tier, racing)
            results.append((pair, made))
        plain = [
            {"source": pair.names[0], "target": pair.names[1], "tier": options.tier, "rouge": made}
            for pair, made in results
        ]
        output(options, {"rouge": plain}, lambda: rouge_tables(results, options.tier))
