"""``klas catalogue``: search timm's pretrained networks."""

import argparse

from klas.cli.steps import open_store, output
from klas.cli.tables.catalogue import catalogue_tables
from klas.cli.terminal import TerminalProgress
from klas.storage.catalogue import check_families, find_networks, read_catalogue


def catalogue(options: argparse.Namespace) -> None:
    """List the networks that fit the search; the first time, count the cost of all of them."""
    with open_store(options) as store:
        networks = read_catalogue(store)
        if networks is None:
            from klas.pipeline.catalogue import build_catalogue

            with store.at_work("klas catalogue"), TerminalProgress() as progress:
                networks = build_catalogue(store, progress)
    check_families(networks, options.family)
    low, high = (1e9 * bound for bound in options.gmacs) if options.gmacs else (None, None)
    matches = find_networks(
        networks, text=options.search, families=options.family, low=low, high=high
    )
    plain = {"networks": [vars(network) for network in matches]}
    output(options, plain, lambda: catalogue_tables(matches, len(networks)))
