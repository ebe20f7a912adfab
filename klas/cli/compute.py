"""``klas run``, ``anchors``, ``scores`` and ``latency``: compute a study and measure with it."""

import argparse
import sys
from typing import TYPE_CHECKING

from klas.cli.steps import open_pipeline, output, wanted_pairs
from klas.cli.tables.networks import latency_tables
from klas.cli.tables.study import anchor_tables, run_tables
from klas.memory import peak_memory_bytes
from klas.results import formats
from klas.results.formatting import duration, size
from klas.results.pair import pairs_of
from klas.study import Stage, load_study

if TYPE_CHECKING:
    from klas.pipeline.run import Pipeline


def run(options: argparse.Namespace) -> None:
    """Compute a study's stages; show its anchors and what it chooses."""
    study = load_study(options.study)
    with open_pipeline(options, study) as pipeline:
        _print_estimate(pipeline, options.until)
        document = pipeline.run(options.until)
        _print_peak(pipeline)
        output(options, document, lambda: run_tables(document, study, pipeline.store))


def anchors(options: argparse.Namespace) -> None:
    """Show the anchors and rank the pairs."""
    with open_pipeline(options, load_study(options.study)) as pipeline:
        document = pipeline.run("anchors")
        ranking = {
            "anchors": document["anchors"],
            "pairs": [
                {
                    "source": pair["source"],
                    "target": pair["target"],
                    "theta_output": pair["theta_output"],
                }
                for pair in document["pairs"]
            ],
        }
        output(options, ranking, lambda: anchor_tables(document))


def scores(options: argparse.Namespace) -> None:
    """Write the scores file."""
    with open_pipeline(options, load_study(options.study)) as pipeline:
        document = pipeline.run("scores")
        formats.write(document, options.out)
        output(options, document, lambda: [f"wrote {options.out}"])


def latency(options: argparse.Namespace) -> None:
    """Time the networks of a study's pairs on this device."""
    with open_pipeline(options, load_study(options.study)) as pipeline:
        pairs = wanted_pairs(pairs_of(pipeline.run("scores")), options.pair)
        results = [(pair, pipeline.latency(pair)) for pair in pairs]
        plain = [
            {"source": pair.names[0], "target": pair.names[1], **times} for pair, times in results
        ]
        output(options, {"latency": plain}, lambda: latency_tables(results))


def _print_estimate(pipeline: "Pipeline", until: Stage) -> None:
    from klas.pipeline.estimate import estimate

    expected = estimate(pipeline, until)
    workers = f" ({expected.workers} workers)" if expected.workers > 1 else ""
    if expected.seconds > 1:
        print(
            f"about {duration(expected.seconds)} on {pipeline.context.device}{workers}, "
            f"{size(expected.disk_bytes)} of disk, {size(expected.memory_bytes)} of memory",
            file=sys.stderr,
        )


def _print_peak(pipeline: "Pipeline") -> None:
    from klas.networks.device import peak_device_bytes

    device = pipeline.context.device
    on_device = peak_device_bytes(device)
    beside = f", {size(on_device)} on {device}" if on_device else ""
    together = peak_memory_bytes() + pipeline.memory_bytes
    print(f"peak memory {size(together)}{beside}", file=sys.stderr)
