"""What several commands share: open a study, change its selection, take one pair, print."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from klas.cli.printing import json_for
from klas.cli.terminal import TerminalProgress
from klas.errors import SelectionError, StudyError
from klas.results.pair import Pair
from klas.storage.store import Store
from klas.study import EngineSpec, Study, change

if TYPE_CHECKING:
    from klas.pipeline.run import Pipeline

WIDTH = 120  # of tables in a file or a pipe, in characters


def open_store(options: argparse.Namespace) -> Store:
    """The cache folder; that it is read-only is said on standard error."""
    store = Store(options.cache_dir)
    if store.read_only:
        print(f"{store.root} is read-only: nothing can be added or deleted", file=sys.stderr)
    return store


@contextlib.contextmanager
def open_pipeline(options: argparse.Namespace, study: Study) -> "Iterator[Pipeline]":
    """A study's pipeline, with a progress bar on standard error."""
    with (
        open_store(options) as store,
        store.at_work(command_on(options, study), study.results_key()),
        TerminalProgress() as progress,
    ):
        from klas.pipeline.run import Pipeline

        pipeline = Pipeline(
            study,
            store,
            device=options.device,
            allow_code=options.allow_code,
            progress=progress,
            engine=_engine(options, study),
        )
        for note in pipeline.context.open():
            print(note, file=sys.stderr)
        yield pipeline


def command_on(options: argparse.Namespace, study: Study) -> str:
    """What a command does, for whoever wants to delete results meanwhile."""
    return f"klas {options.function.rpartition(':')[2]} on study {study.name}"


def _engine(options: argparse.Namespace, study: Study) -> EngineSpec:
    """The study's engine, with what the options say otherwise.

    Raises:
        StudyError: a value is out of range; an address is given for another engine than ray.
    """
    asked = {"name": options.engine, "workers": options.workers, "address": options.address}
    engine = change(study, "engine", **asked).engine
    if options.address is not None and engine.name != "ray":
        raise StudyError(
            f"--address {options.address}: is for engine ray, and this is {engine.name}; "
            "add --engine ray"
        )
    return engine


def with_selection(study: Study, options: argparse.Namespace) -> Study:
    """The study with the selection that the options ask for.

    Raises:
        StudyError: a value is out of range.
    """
    names = ("metric", "tau", "tau_mode", "buckets", "binning")
    return change(study, "selection", **{name: getattr(options, name, None) for name in names})


def wanted_pairs(pairs: list[Pair], names: Sequence[str] | None) -> list[Pair]:
    """The pair that ``--pair`` names, as a list; all of them without it.

    Raises:
        SelectionError: there is no such pair.
    """
    if names is None:
        return pairs
    wanted = [pair for pair in pairs if pair.names == tuple(names)]
    if not wanted:
        known = "; ".join(pair.name for pair in pairs)
        raise SelectionError(f"--pair {' '.join(names)}: no such pair; there are {known}")
    return wanted


def output(
    options: argparse.Namespace, document: Any, parts: Callable[[], Sequence[RenderableType]]
) -> None:
    """Print a result on standard output: one JSON document with ``--json``, else its parts.

    Args:
        parts: makes the tables and lines that a person reads.
    """
    if options.json:
        print(json_for(sys.stdout, document))
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for part in parts():
        console.print(part, highlight=False, soft_wrap=isinstance(part, str), markup=False)
