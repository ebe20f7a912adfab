"""``klas select`` and ``klas check``: write a list of stitches; rebuild the networks of one."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from klas.cli.steps import open_pipeline, output, wanted_pairs, with_selection
from klas.cli.tables.stitches import check_lines, stitch_tables
from klas.cli.tables.study import choice_notes
from klas.errors import SelectionError
from klas.results import formats
from klas.results.accuracies import Racing, finetuned_accuracy
from klas.results.pair import Pair, pairs_of
from klas.results.selections import choose, kept_in_race, racing_in
from klas.results.stitch_list import stitch_list
from klas.study import load_study


def select(options: argparse.Namespace) -> None:
    """Choose each pair's stitches; write the list, and their weights if asked."""
    study = with_selection(load_study(options.study), options)
    _check_outputs(options.out, options.weights)
    with open_pipeline(options, study) as pipeline:
        document = pipeline.run("scores")
        pairs = wanted_pairs(pairs_of(document), options.pair)

        def racing(pair: Pair) -> Racing:
            return racing_in(choose(pair, study.selection), study.selection.metric)

        def to_deliver(pair: Pair) -> tuple[Pair, NDArray[np.bool_], Racing]:
            chosen, buckets = choose(pair, study.selection).chosen, racing(pair)
            if buckets is None or options.tier == "finetuned" or not chosen.any():
                return pair, chosen, buckets
            # Of another tier only what the list names, which is what was kept.
            return pair, kept_in_race(pair, finetuned(pair, chosen)), None

        def finetuned(pair: Pair, chosen: NDArray[np.bool_]) -> Any:
            return finetuned_accuracy(pipeline.store, pair, chosen, study, racing(pair))

        def on_all_images(pair: Pair, chosen: NDArray[np.bool_]) -> Any:
            return {
                "tier": options.tier,
                **pipeline.full_validation(pair, chosen, options.tier, racing(pair)),
            }

        weights_file = None
        if options.weights is not None:
            from klas.deploy.weights_file import save_layers

            picked = [to_deliver(pair) for pair in pairs]
            weights_file = save_layers(pipeline, picked, options.tier, options.weights)
        stitches = stitch_list(
            document,
            study.selection,
            pairs=pairs,
            finetuned=finetuned,
            full_val=on_all_images if options.full_val else None,
            weights_file=weights_file,
        )
        if options.out is not None:
            formats.write(stitches, options.out)
        notes = choice_notes(pairs, study.selection)
        output(options, stitches, lambda: [*stitch_tables(stitches, options.out), *notes])


def check(options: argparse.Namespace) -> None:
    """Rebuild every stitch of a list and compare MACs and parameters."""
    from klas.deploy.load import check_stitch_list

    rebuilt = check_stitch_list(options.file, allow_code=options.allow_code)
    output(options, rebuilt, lambda: check_lines(rebuilt))


def _check_outputs(out: Path | None, weights: Path | None) -> None:
    """The list names its weights file, which is looked for beside it."""
    if weights is None:
        return
    if out is None:
        raise SelectionError("--weights: the layers belong to a list; name it with --out")
    if weights.resolve().parent != out.resolve().parent or weights.resolve() == out.resolve():
        raise SelectionError("--weights: must be another file in the same folder as --out")
