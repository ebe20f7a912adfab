"""``klas export``: one network of a list, a folder or a study as a file that needs nothing else."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from klas.cli.steps import command_on, open_store, output
from klas.errors import SelectionError
from klas.results.export_formats import refuse_missing_extra
from klas.results.formatting import duration
from klas.storage.saved_studies import find_study, saved_studies
from klas.study import built_in_studies

if TYPE_CHECKING:
    from klas.deploy.export.choice import Wanted
    from klas.deploy.export.export import Exported
    from klas.deploy.member import CostName
    from klas.deploy.network import Network


def export(options: argparse.Namespace) -> None:
    """Choose a member, write it, compare what was written with it, and say how to load it."""
    from klas.deploy.export.choice import Wanted
    from klas.deploy.export.export import about_seconds, refuse_ending
    from klas.deploy.export.export import export as write
    from klas.deploy.export.fused import fused

    budgets: list[tuple[CostName, float | None]] = [
        ("macs", options.macs),
        ("params", options.params),
        ("ms", options.ms),
    ]
    given = [(of, most) for of, most in budgets if most is not None]
    refuse_ending(options.to, options.out)
    refuse_missing_extra(options.to)
    wanted = Wanted(
        member=options.member,
        index=options.index,
        budget=given[0] if given else None,
        tier=options.tier,
    )
    network = _network(options, wanted)
    if options.fuse:
        network = fused(network, allow_code=options.allow_code)
    print(
        f"{network.name}: {_costs(network)}; writing and comparing it takes about "
        f"{duration(about_seconds(network, options.to))}",
        file=sys.stderr,
    )
    made = write(network, options.to, options.out, allow_code=options.allow_code)
    document = _document(network, made, options)
    output(options, document, lambda: _lines(network, made, options))


def _network(options: argparse.Namespace, wanted: "Wanted") -> "Network":
    """The one that is wanted, of a list, of a folder, or of a study."""
    from klas.deploy.export.choice import chosen_network
    from klas.deploy.export.stored import stored_network

    source = options.source
    if not source.exists() or source.suffix == ".toml":
        with open_store(options) as store:
            if source.exists() or str(source) in [*built_in_studies(), *saved_studies(store)]:
                study = find_study(store, str(source))
                if wanted.member is None:
                    raise SelectionError(
                        f"study {study.name}: say which network by --member SOURCE:i-TARGET:j, or "
                        "an anchor's name; a budget or a number is for a list (klas select --out)"
                    )
                code = options.allow_code
                with store.at_work(command_on(options, study), study.results_key()):
                    return stored_network(
                        store, study, wanted.member, options.tier, allow_code=code
                    )
    if options.tier is not None and wanted.budget is None:
        raise SelectionError("--tier: is for a budget (--macs, --params or --ms); leave it out")
    return chosen_network(source, wanted, allow_code=options.allow_code)


def _document(network: "Network", made: "Exported", options: argparse.Namespace) -> dict[str, Any]:
    from klas.deploy.export.notes import notes

    return {
        "path": str(made.path),
        "to": options.to,
        "notes": notes(network),
        "difference": made.difference,
        "milliseconds": made.milliseconds,
        "machine": made.machine,
        "python": list(made.lines),
    }


def _lines(network: "Network", made: "Exported", options: argparse.Namespace) -> list[str]:
    form = "fused, " if options.fuse else ""
    return [
        f"wrote {made.path}: {network.name}, {form}{_costs(network)}, "
        f"{made.milliseconds:.3g} ms an image ({made.machine})",
        f"largest difference from the network, at batches 1 and 5: {made.difference:.2g}",
        "load it:",
        *(f"    {line}" for line in made.lines),
    ]


def _costs(network: "Network") -> str:
    member = network.member
    return f"{member.macs / 1e6:,.3g} MMACs, {member.params:,} parameters"
