"""Make docs/reliability.md: what was done to the cache and the app, and what was lost.

``python -m docs.reliability --minutes 15`` measures and writes the figures to reliability.json, in
which each part stands with its date, and the page from them; ``--part`` measures one part alone,
``--page`` none. It needs the tests' packages. What does not fit into the time is not counted: the
whole is ``pytest -m soak``.
"""

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

OUT = Path(__file__).with_suffix(".md")
FIGURES = Path(__file__).with_suffix(".json")
Rows = dict[str, dict[str, int]]

FORMATS = {
    "test_study_files": "study file",
    "test_studies_in_packs_and_documents": "study in a pack or document",
    "test_stitch_lists": "stitch list",
    "test_bytes_of_documents": "scores document",
    "test_what_stitch_lists_name_is_built_or_refused": "what a stitch list names",
    "test_checkpoints": "checkpoint",
    "test_tars": "tar",
    "test_packs": "pack",
    "test_addresses": "address",
    "test_saved_networks": "saved network",
}


def drawn(steps: int, seconds: float) -> Iterator[int]:
    """Steps of a work in any order, each once, until the time is over; one in any case."""
    ends, order = time.monotonic() + seconds, list(range(steps))
    random.Random(0).shuffle(order)
    for step in order:
        yield step
        if time.monotonic() > ends:
            return


def faults(seconds: float, scratch: Path) -> dict[str, Rows]:
    """Kills, and disks that take nothing more, at steps of the store's own works."""
    from tests.storage.kills import FULL, READ_ONLY, killed, steps_of
    from tests.storage.test_kills import CASES, check, unwritable, whole

    kinds: dict[str, Callable[..., bool]] = {
        "kills": killed,
        "full disks": unwritable(FULL),
        "disks gone read-only": unwritable(READ_ONLY),
    }
    rows: Rows = {}
    for start, work in CASES:
        name = f"store: {work.__name__.replace('_', ' ')}, before it {start.__name__}"
        expected = whole(start, work, scratch / "whole")
        start(scratch / "count" / "cache")
        steps = steps_of(lambda work=work: work(scratch / "count" / "cache"))
        row = rows[name] = {"steps": steps, "lost": 0}
        for kind, fault in kinds.items():
            row[kind] = 0
            for step in drawn(steps, seconds / len(CASES) / len(kinds)):
                came, kept = check(start, work, step, scratch / "fault", fault)
                row[kind] += came
                row["lost"] += kept != expected
        _remove(scratch / "count")
    return {"store": rows}


def stages(seconds: float, scratch: Path) -> dict[str, Rows]:
    """Kills at steps of what takes long."""
    from tests.kill_cases import WORKS, begin, check, left, prepare
    from tests.storage.kills import steps_of

    template, rows = scratch / "template", {}
    prepare(template)
    for case in WORKS:
        began = time.monotonic()
        begin(case, template, scratch / "counted")
        steps = steps_of(lambda case=case: case.work(scratch / "counted"))
        expected = left(scratch / "counted")
        row = rows[case.name] = {"steps": steps, "kills": 0, "lost": 0}
        for step in drawn(steps, seconds / len(WORKS) - (time.monotonic() - began)):
            came, kept = check(case, template, step, scratch / "killed")
            row["kills"] += came
            row["lost"] += kept != expected
    return {"stages": rows}


def bits(seconds: float, scratch: Path) -> dict[str, Rows]:
    """Flipped bits in every kind of file."""
    from tests.storage.test_kills import contents
    from tests.test_flipped_bits import KINDS, flipped, kept, restored, results

    kept(scratch / "whole", {})
    expected = results(contents(scratch / "whole"))
    rows: Rows = {}
    for kind in KINDS:
        row = rows[kind] = {"flips": 0, "told": 0, "lost": 0}
        for bit in drawn(10_000, seconds / len(KINDS)):
            _remove(scratch / "flipped")
            kept(scratch / "flipped", {})
            row["flips"] += 1
            row["told"] += bool(flipped(scratch / "flipped", kind, bit))
            row["lost"] += results(restored(scratch / "flipped")) != expected
    return {"bits": rows}


def fuzz(seconds: float, scratch: Path) -> dict[str, Rows]:
    """Damaged files of strangers, as many of each format as the quick tests try."""
    import pytest

    from tests import mutations

    ends, counts, failed = time.monotonic() + seconds, Counter[str](), Counter[str]()
    tried, current = mutations.tried, ""

    def counted(cases: int, strategy: Any, check: Callable[[Any], None]) -> None:
        def each(case: Any) -> None:
            counts[current] += 1
            check(case)

        tried(cases, strategy, each)

    class Watch:
        def pytest_runtest_setup(self, item: pytest.Item) -> None:
            nonlocal current
            current = item.function.__name__  # type: ignore[attr-defined]
            if time.monotonic() > ends:
                pytest.skip("the time is over")

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            failed[current] += report.failed

    mutations.tried = counted
    wanted = " or ".join(FORMATS)
    file = str(Path(__file__).parents[1] / "tests" / "test_foreign.py")
    pytest.main(["-q", "-p", "no:cacheprovider", file, "-k", wanted], plugins=[Watch()])
    return {
        "fuzz": {
            FORMATS[name]: {"cases": counts[name], "other than a sentence": failed[name]}
            for name in FORMATS
            if counts[name]
        }
    }


def together(seconds: float, scratch: Path) -> dict[str, Rows]:
    """Processes on one cache, and visitors of one server."""
    from tests.kill_cases import prepare
    from tests.storage.kills import all_at_once
    from tests.storage.test_kills import run as run_tiny
    from tests.test_together import visited, whole

    run_tiny(scratch / "alone")
    all_at_once([lambda: run_tiny(scratch / "cache")] * 8)
    same = whole(scratch / "cache") == whole(scratch / "alone")
    prepare(scratch / "template")
    (scratch / "served").mkdir()
    before, after = visited(scratch / "served", scratch / "template", 24)
    return {
        "together": {
            "processes that store the same results": {"at once": 8, "lost": int(not same)},
            "visitors of one server": {
                "at once": 24, "lost": 0, "megabytes before": before // 10**6,
                "megabytes after": after // 10**6,
            },
        }
    }  # fmt: skip


PARTS: dict[str, tuple[Callable[[float, Path], dict[str, Rows]], float]] = {
    "store": (faults, 0.15),
    "stages": (stages, 0.45),
    "bits": (bits, 0.1),
    "fuzz": (fuzz, 0.2),
    "together": (together, 0.1),
}
"""Each part, and its share of the time."""


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def page(figures: dict[str, Any]) -> str:
    """The page as Markdown."""
    from docs.pages import table

    titles = {
        "store": (
            "The store's own writes",
            "Of each work, so many of its steps (a file opened to write, a sync, a rename, an "
            "unlink, an index set; before and after it) were drawn. The process was killed there, "
            "losing half of what it had written and not synced; or from there on the disk was full "
            "or read-only. Then verify was clean, the next run completed, and every byte was as if "
            "nothing had happened; *lost* counts where it was not.",
        ),
        "stages": (
            "Stages and jobs",
            "The same kills where networks are computed, trained, packed and exported, with a "
            "checkpoint after every step of a training. Kills after completion don't count.",
        ),
        "bits": (
            "Flipped bits",
            "One bit of a file of each kind. *Told*: verify or the list said so. An index, a saved "
            "study and a job have no checksum: there a flip may leave a file that is as good, and "
            "no results hang on it. *Lost*: results that repair and the next run did not bring "
            "back.",
        ),
        "fuzz": (
            "Strangers' files",
            "Files with bytes or values changed, gone or too many. Each was read, or refused in "
            "one sentence. Formats that are not here were not reached in the time.",
        ),
        "together": (
            "Many at once",
            "Each visitor is a WebSocket of its own and was shown, text for text, what one who is "
            "alone is shown.",
        ),
    }
    parts = [
        "# How reliable it is",
        "Made by `python -m docs.reliability` from `reliability.json` beside it. These are "
        "samples, drawn as time allowed; `pytest -m soak` takes every step and 10,000 files of "
        "each format.",
    ]
    for name, (title, text) in titles.items():
        if name not in figures:
            parts.append(f"## {title}\n\nNot measured.")
            continue
        part = figures[name]
        rows: Rows = part["rows"]
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        cells = [(what, *(f"{row[c]:,}" if c in row else "" for c in columns)) for what, row in
                 rows.items()]  # fmt: skip
        if len(rows) > 1:
            totals = [
                f"**{sum(row.get(c, 0) for row in rows.values()):,}**"
                if not c.startswith("megabytes")
                else ""
                for c in columns
            ]
            cells.append(("**together**", *totals))
        made = f"{part['date']}, {part['seconds']:,} s, {part['machine']}."
        parts.append(f"## {title}\n\n{text}\n\n{table(('what', *columns), cells)}\n\n{made}")
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is wanted, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m docs.reliability", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--part", choices=PARTS, help="only this")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = (
        json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    )
    wanted = [] if options.page else [options.part] if options.part else list(PARTS)
    for name in wanted:
        measure, share = PARTS[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            seconds = 60 * options.minutes * (1 if options.part else share)
            rows = measure(seconds, Path(scratch))[name]
        figures[name] = {
            "date": time.strftime("%Y-%m-%d"),
            "seconds": round(time.monotonic() - began),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "rows": rows,
        }
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(name, rows, file=sys.stderr)
    OUT.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
