"""``klas train``: train all members of a stitch list jointly, into one elastic network."""

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from klas.cli.steps import open_store, output
from klas.cli.tables.trained import trained_tables
from klas.cli.terminal import TerminalProgress
from klas.progress import Progress, Silent
from klas.results.formatting import duration, size
from klas.study import load_study

if TYPE_CHECKING:
    from klas.deploy.training.ranks import Ranks
    from klas.deploy.training.run import Announcement


def train(options: argparse.Namespace) -> None:
    """Train a list; of several processes the first one speaks."""
    from klas.deploy.training.ranks import joined
    from klas.deploy.training.run import train_list

    study = None if options.study is None else load_study(options.study)
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined(options.device))
        store = stack.enter_context(open_store(options))
        needed = None if study is None else study.results_key()
        stack.enter_context(store.at_work(f"klas train {options.list.name}", needed))
        progress: Progress = Silent()
        if ranks.first:
            progress = stack.enter_context(TerminalProgress())
        elastic = train_list(
            options.list,
            options.out,
            ranks=ranks,
            store=store,
            progress=progress,
            announce=lambda known: announce(known, ranks),
            study=study,
            steps=options.steps,
            allow_code=options.allow_code,
        )
        members = [member.to_json() for member in elastic.members]
        if ranks.first:
            trained = {"folder": str(options.out), "tier": elastic.tier, "members": members}
            output(options, {"trained": trained}, lambda: trained_tables(trained))


def announce(known: "Announcement", ranks: "Ranks") -> None:
    """Say on standard error what is known before the steps begin; the first process does."""
    if not ranks.first:
        return
    for note in known.notes:
        print(note, file=sys.stderr)
    if (takes := known.expected) is not None:
        together = f" ({ranks.count} processes)" if ranks.count > 1 else ""
        print(
            f"about {duration(takes.seconds)} on {ranks.device}{together}, "
            f"{size(takes.disk_bytes)} of disk, {size(takes.memory_bytes)} of memory",
            file=sys.stderr,
        )
