"""Measure rows and print their table: ``python -m benchmarks [ROW …] [--device cuda]``."""

import argparse
import sys
from pathlib import Path

from benchmarks import (
    cka,
    divergence,
    least_squares,
    memory,
    probes,
    scores,
    selection,
    stitches,
    study,
    sweeps,
    threads,
)
from benchmarks.harness import Outcome, Row, measured, print_table, to_json
from klas.errors import KlasError
from klas.networks.device import pick_device

RESULTS = Path(__file__).parent / "results"
_MODULES = (
    scores,
    divergence,
    sweeps,
    probes,
    cka,
    least_squares,
    stitches,
    selection,
    memory,
    threads,
    study,
)
ROWS: dict[str, Row] = {row.name: row for module in _MODULES for row in module.ROWS}


def main(argv: list[str] | None = None) -> int:
    """Measure the rows asked for, or all; exit status 1 if one misses what it has to reach."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default all")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    parser.add_argument(
        "--out",
        type=Path,
        help="the JSON file; by default the whole table's is results/DEVICE.json beside this",
    )
    options = parser.parse_args(argv)
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    try:
        device = pick_device(options.device)
    except KlasError as error:
        parser.error(str(error))
    outcomes: list[Outcome] = []
    for name in options.rows or ROWS:
        print(f"{name} …", file=sys.stderr, flush=True)
        outcomes.append(measured(ROWS[name], device))
    print_table(outcomes, device)
    # Some rows alone never stand in the place of the whole table.
    out = options.out or (None if options.rows else RESULTS / f"{device.type}.json")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(to_json(outcomes, device), encoding="utf-8")
    return int(not all(outcome.met for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
