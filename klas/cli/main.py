"""The command ``klas``. It parses, calls and prints; torch is imported only where it computes."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from klas.cli import tables as report
from klas.cli.comparison_tables import comparison_tables
from klas.cli.terminal import TerminalProgress
from klas.errors import KlasError, SelectionError, StudyError
from klas.jobs.process import studies_at_work
from klas.memory import peak_memory_bytes
from klas.results import formats as exports
from klas.results import formatting as words
from klas.results.archive import pack, unpack
from klas.results.comparison import compare
from klas.results.pair import Pair, finetuned_accuracy, of_pairs, pairs_of
from klas.results.selections import choose
from klas.results.usage import Holding, free_everything, free_stage, free_study, usage
from klas.storage.catalogue import check_families, find_networks, read_catalogue
from klas.storage.saved_studies import find_study
from klas.storage.store import Store, write_whole
from klas.study import METRICS, STAGES, TIERS, Study, change, load_study

if TYPE_CHECKING:
    from klas.pipeline.run import Pipeline

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command; exits 0 when done, 1 on a KlasError, 2 on wrong usage, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parser().parse_args(arguments)
    try:
        options.handler(options)
    except KlasError as error:
        print(f"klas: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "klas: interrupted; what was finished is kept, run it again to go on", file=sys.stderr
        )
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader left (`| head`); nothing more to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


# -- commands ------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> None:
    study = load_study(options.study)
    with _opened(options, study) as pipeline:
        _print_estimate(pipeline, options.until)
        document = pipeline.run(options.until)
        _print_peak(pipeline)
        _emit(options, document, lambda: report.run_tables(document, study, pipeline.store))


def _anchors(options: argparse.Namespace) -> None:
    study = load_study(options.study)
    with _opened(options, study) as pipeline:
        document = pipeline.run("anchors")
        ranking = {
            "anchors": document["anchors"],
            "pairs": [
                {k: p[k] for k in ("source", "target", "theta_output")} for p in document["pairs"]
            ],
        }
        _emit(options, ranking, lambda: report.anchor_tables(document))


def _scores(options: argparse.Namespace) -> None:
    with _opened(options, load_study(options.study)) as pipeline:
        document = pipeline.run("scores")
        exports.write(document, options.out)
        _emit(options, document, lambda: [f"wrote {options.out}"])


def _select(options: argparse.Namespace) -> None:
    study = _with_selection(load_study(options.study), options)
    _check_outputs(options.out, options.weights)
    with _opened(options, study) as pipeline:
        document = pipeline.run("scores")
        pairs = _wanted_pairs(pairs_of(document), options.pair)

        def finetuned(pair: Pair, chosen: Any) -> Any:
            return finetuned_accuracy(pipeline.store, pair, chosen, study)

        def on_all_images(pair: Pair, chosen: Any) -> Any:
            from klas.pipeline.full_validation import measure_full_val

            measured = measure_full_val(pipeline, pair, chosen, options.tier)
            return {"tier": options.tier, **measured}

        weights_file = None
        if options.weights is not None:
            from klas.deploy.load import save_layers

            picked = [(p, choose(p, study.selection).chosen) for p in pairs]
            weights_file = save_layers(pipeline, picked, options.tier, options.weights)
        stitches = exports.stitch_list(
            document,
            study.selection,
            pairs=pairs,
            finetuned=finetuned,
            full_val=on_all_images if options.full_val else None,
            weights_file=weights_file,
        )
        if options.out is not None:
            exports.write(stitches, options.out)
        silent = report.silent_buckets(pairs, study.selection)
        _emit(options, stitches, lambda: report.stitch_tables(stitches, options.out) + silent)


def _finetune(options: argparse.Namespace) -> None:
    if options.compare and options.metric is not None:
        raise SelectionError(
            "--metric: what `finetune --compare` trains is every method's choice; leave it out"
        )
    study = _with_selection(load_study(options.study), options)
    with _opened(options, study) as pipeline:
        document = pipeline.run("scores")
        pairs = _wanted_pairs(pairs_of(document), options.pair)
        if options.compare:
            _finetune_methods(options, pipeline, pairs)
            return
        results = []
        for pair in pairs:
            chosen = choose(pair, study.selection).chosen
            if chosen.any():
                results.append((pair, chosen, pipeline.finetune(pair, chosen)))
        if not results:
            raise SelectionError("nothing is chosen in any pair, so there is nothing to train")
        plain = [
            {"source": p.source["name"], "target": p.target["name"], **r} for p, _, r in results
        ]
        _emit(options, {"finetuned": plain}, lambda: report.finetuned_tables(results))


def _finetune_methods(options: argparse.Namespace, pipeline: "Pipeline", pairs: list[Pair]) -> None:
    from klas.pipeline.estimate import comparison_seconds

    for pair in pairs:
        count, seconds = comparison_seconds(pipeline, pair)
        if count:
            print(
                f"{pair.name}: {count} trainings, about {words.duration(seconds)} "
                f"(seed {pipeline.study.finetuning.seed})",
                file=sys.stderr,
            )
    diverged = pipeline.finetune_methods(pairs)
    document = compare(pipeline.run("scores"), pipeline.study, pipeline.store)
    _emit(options, document, lambda: comparison_tables(document))
    if diverged:
        raise KlasError("; ".join(diverged))


def _latency(options: argparse.Namespace) -> None:
    from klas.pipeline.latency import measure_latency

    with _opened(options, load_study(options.study)) as pipeline:
        pairs = _wanted_pairs(pairs_of(pipeline.run("scores")), options.pair)
        found = [(pair, measure_latency(pipeline, pair)) for pair in pairs]
        plain = [{"source": p.names[0], "target": p.names[1], **times} for p, times in found]
        _emit(options, {"latency": plain}, lambda: report.latency_tables(found))


def _compare(options: argparse.Namespace) -> None:
    study = _with_selection(load_study(options.study), options)
    store = Store(options.cache_dir)
    try:
        computed = store.get_ref(f"scores-{study.results_key()}")
        if computed is None:
            raise SelectionError(f"study {study.name}: nothing is computed yet; run `klas run`")
        pairs = _wanted_pairs(pairs_of(computed), options.pair)
        document = compare(of_pairs(computed, pairs), study, store)
    finally:
        store.close()
    if options.out is not None:
        exports.write(document, options.out)
    wrote = [] if options.out is None else [f"wrote {options.out}"]
    _emit(options, document, lambda: comparison_tables(document) + wrote)


def _check(options: argparse.Namespace) -> None:
    from klas.deploy.load import check_stitch_list

    findings = check_stitch_list(options.file, allow_code=options.allow_code)
    _emit(options, findings, lambda: report.check_lines(findings))


def _study(options: argparse.Namespace) -> None:
    study = load_study(options.study)
    if options.action == "save":
        if options.out is None:
            raise StudyError("study save: name the file to write with --out")
        write_whole(options.out, study.to_toml().encode())
    plain = study.model_dump(mode="json")
    saved = [f"wrote {options.out}"] if options.action == "save" else [study.to_toml().rstrip()]
    _emit(options, plain, lambda: saved)


@contextlib.contextmanager
def _store(options: argparse.Namespace) -> Iterator[Store]:
    store = Store(options.cache_dir)
    try:
        yield store
    finally:
        store.close()


def _cache_ls(options: argparse.Namespace) -> None:
    with _store(options) as store:
        entries = sorted(store.entries(), key=lambda e: (e.stage, e.label, e.digest))
        found = usage(store)
        plain = {
            "root": str(store.root),
            "bytes": found.bytes,
            "studies": [_held(holding) for holding in found.studies],
            "unclaimed_bytes": found.unclaimed,
            "entries": [vars(e) for e in entries],
        }
        _emit(options, plain, lambda: report.cache_tables(store, entries, found))


def _held(holding: Holding) -> dict[str, Any]:
    return {
        "name": holding.known.name,
        "origin": holding.known.origin,
        "results": holding.results,
        "bytes": holding.bytes,
        "freeable_bytes": holding.freeable,
        "shared_with": list(holding.shared_with),
        "stages": dict(holding.stages),
        "trainings": holding.trainings,
    }


def _cache_verify(options: argparse.Namespace) -> None:
    with _store(options) as store:
        bad = [vars(e) for e in store.verify()]
        count = sum(1 for _ in store.entries())
        _emit(
            options,
            {"checked": count, "damaged": bad},
            lambda: [
                f"{count} results checked, {len(bad)} damaged",
                *(f"damaged: {e['label']} ({e['digest'][:12]})" for e in bad),
            ],
        )
        if bad:
            raise KlasError("damaged results are dropped and made again when next needed")


def _cache_clear(options: argparse.Namespace) -> None:
    with _store(options) as store:
        at_work, shared = studies_at_work(store), list[str]()
        if options.study is not None:
            study = find_study(store, options.study)
            shared = [
                f"what it shares with {', '.join(held.shared_with)} stays"
                for held in usage(store).studies
                if held.known.study == study and held.shared_with
            ]
            freed = free_study(store, study, at_work=at_work, stage=options.stage)
        elif options.stage is not None:
            freed = free_stage(store, options.stage, at_work=at_work)
        else:
            freed = free_everything(store, at_work=at_work)
        lines = [f"freed {words.size(freed)}", *shared[:1]]
        _emit(options, {"freed_bytes": freed}, lambda: lines)


def _cache_pack(options: argparse.Namespace) -> None:
    with _store(options) as store:
        study = find_study(store, options.study)
        with TerminalProgress() as progress:
            count = pack(store, study, options.out, progress)
        size = options.out.stat().st_size
        plain = {"study": study.name, "results": count, "bytes": size}
        wrote = f"wrote {options.out}: study {study.name}, {count} results, {words.size(size)}"
        _emit(options, plain, lambda: [wrote])


def _cache_unpack(options: argparse.Namespace) -> None:
    with _store(options) as store:
        with TerminalProgress() as progress:
            found = unpack(store, options.file, progress)
        plain = {
            "study": found.study.name,
            "study_file": None if found.path is None else str(found.path),
            "results": found.results,
            "bytes": found.bytes,
            "present": found.present,
            "kept": found.kept,
        }
        lines = [
            f"study {found.study.name}: {found.results} results, {words.size(found.bytes)}; "
            f"{found.present} were here already"
        ]
        if found.kept:
            lines.append(
                f"{found.kept} of them differ from the pack's, as results of another machine may "
                "within rounding; those that were here stay"
            )
        if found.path is not None:
            lines.append(f"its study file: {found.path}")
        _emit(options, plain, lambda: lines)


def _catalogue(options: argparse.Namespace) -> None:
    store = Store(options.cache_dir)
    try:
        networks = read_catalogue(store)
        if networks is None:
            from klas.pipeline.catalogue import build_catalogue

            with TerminalProgress() as progress:
                networks = build_catalogue(store, progress)
    finally:
        store.close()
    check_families(networks, options.family)
    low, high = (1e9 * bound for bound in options.gmacs) if options.gmacs else (None, None)
    found = find_networks(
        networks, text=options.search, families=options.family, low=low, high=high
    )
    plain = {"networks": [vars(n) for n in found]}
    _emit(options, plain, lambda: report.catalogue_tables(found, len(networks)))


def _dashboard(options: argparse.Namespace) -> None:
    app = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
    if not app.is_file():
        raise KlasError(
            f"the dashboard is not at {app}; it comes with a checkout of the repository"
        )
    environment = dict(os.environ)
    if options.cache_dir is not None:
        environment["KLAS_CACHE_DIR"] = str(Path(options.cache_dir).resolve())
    environment["KLAS_DEVICE"] = options.device
    if options.study is not None:
        load_study(options.study)  # refuse a broken one here, not in the browser
        environment["KLAS_STUDY"] = str(Path(options.study).resolve())
    # Streamlit reads .streamlit/config.toml from the folder that it starts in; what matters for
    # safety is said here too, for an installation that has no such folder.
    safe = ("--server.address=127.0.0.1", "--browser.gatherUsageStats=false")
    command = [sys.executable, "-m", "streamlit", "run", str(app), *safe]
    sys.exit(subprocess.call(command, env=environment, cwd=app.parent.parent))


# -- shared steps --------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(options: argparse.Namespace, study: Study) -> "Iterator[Pipeline]":
    """The pipeline of a study, with a progress bar on standard error."""
    store = Store(options.cache_dir)
    try:
        with TerminalProgress() as progress:
            from klas.pipeline.run import Pipeline

            pipeline = Pipeline(
                study,
                store,
                device=options.device,
                allow_code=options.allow_code,
                progress=progress,
            )
            for note in pipeline.bench.notes:
                print(note, file=sys.stderr)
            yield pipeline
    finally:
        store.close()


def _print_peak(pipeline: "Pipeline") -> None:
    from klas.networks.device import peak_device_bytes

    device = pipeline.bench.device
    on_device = peak_device_bytes(device)
    beside = f", {words.size(on_device)} on {device}" if on_device else ""
    print(f"peak memory {words.size(peak_memory_bytes())}{beside}", file=sys.stderr)


def _print_estimate(pipeline: "Pipeline", until: Any) -> None:
    from klas.pipeline.estimate import estimate

    expected = estimate(pipeline, until)
    if expected.seconds > 1:
        print(
            f"about {words.duration(expected.seconds)} on {pipeline.bench.device}, "
            f"{words.size(expected.disk_bytes)} of disk, "
            f"{words.size(expected.memory_bytes)} of memory",
            file=sys.stderr,
        )


def _check_outputs(out: Path | None, weights: Path | None) -> None:
    """The list names its weights file, which is looked for beside it."""
    if weights is None:
        return
    if out is None:
        raise SelectionError("--weights: the layers belong to a list; name it with --out")
    if weights.resolve().parent != out.resolve().parent or weights.resolve() == out.resolve():
        raise SelectionError("--weights: must be another file in the same folder as --out")


def _with_selection(study: Study, options: argparse.Namespace) -> Study:
    names = ("metric", "tau", "tau_mode", "buckets", "binning")
    return change(study, "selection", **{name: getattr(options, name, None) for name in names})


def _wanted_pairs(pairs: list[Pair], wanted: list[str] | None) -> list[Pair]:
    if wanted is None:
        return pairs
    found = [p for p in pairs if [p.source["name"], p.target["name"]] == wanted]
    if not found:
        known = "; ".join(p.name for p in pairs)
        raise SelectionError(f"--pair {' '.join(wanted)}: no such pair; there are {known}")
    return found


def _emit(options: argparse.Namespace, plain: Any, human: Callable[[], list[Any]]) -> None:
    if options.json:
        sys.stdout.write(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        for part in human():
            console.print(part, highlight=False, soft_wrap=isinstance(part, str), markup=False)


# -- the parser ----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    shared.add_argument("--cache-dir", type=Path, help="where results are kept")
    shared.add_argument("--json", action="store_true", help="one JSON document on standard output")
    code = argparse.ArgumentParser(add_help=False)
    code.add_argument(
        "--allow-code",
        action="store_true",
        help="run the Python functions (package.module:factory) that a study names as models",
    )
    on_study = argparse.ArgumentParser(add_help=False, parents=[code])
    a_study = "study file (TOML); the digits study without"
    on_study.add_argument("study", nargs="?", help=a_study)
    one_pair = argparse.ArgumentParser(add_help=False)
    one_pair.add_argument("--pair", nargs=2, metavar=("F", "G"), help="one pair only")
    by_metric = argparse.ArgumentParser(add_help=False)
    by_metric.add_argument("--metric", choices=METRICS)
    selecting = argparse.ArgumentParser(add_help=False, parents=[one_pair])
    selecting.add_argument("--tau", type=float, help="tolerance, 0 or more")
    selecting.add_argument("--tau-mode", choices=("relative", "absolute"))
    selecting.add_argument("--buckets", type=int, help="how many, 1 or more")
    selecting.add_argument("--binning", choices=("width", "count"))

    parser = argparse.ArgumentParser(
        prog="klas", description="Find the networks between your pretrained networks."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, handler: Any, text: str, *parents: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[shared, *parents])
        sub.set_defaults(handler=handler)
        return sub

    run = command("run", _run, "compute a study's stages", on_study)
    run.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to run")
    command("anchors", _anchors, "cost and accuracy of the anchors; ranking of the pairs", on_study)
    scores = command("scores", _scores, "write every candidate's scores", on_study)
    scores.add_argument("--out", type=Path, required=True)
    text = "choose stitches by buckets and τ"
    select = command("select", _select, text, on_study, by_metric, selecting)
    select.add_argument("--out", type=Path, help="write the stitch list (JSON) here")
    select.add_argument("--weights", type=Path, help="write the weights (safetensors) here too")
    select.add_argument(
        "--full-val",
        action="store_true",
        help="measure what is chosen on every validation image",
    )
    select.add_argument(
        "--tier", choices=TIERS, default="tuned", help="of --weights and --full-val"
    )
    text = "train a selection and its anchors jointly"
    finetune = command("finetune", _finetune, text, on_study, by_metric, selecting)
    finetune.add_argument(
        "--compare",
        action="store_true",
        help="train what every method chooses, with equal steps, for several budgets of steps",
    )
    text = "time every stitch's forward pass at batch 1 on this device"
    command("latency", _latency, text, on_study, one_pair)
    comparison = command("compare", _compare, "compare KLAS with its rivals", selecting)
    comparison.add_argument("study", nargs="?", help=a_study)
    comparison.add_argument("--out", type=Path, help="write the comparison (JSON) here")
    check = command("check", _check, "rebuild every stitch of a list and compare", code)
    check.add_argument("file", type=Path)
    study = command("study", _study, "print or save a study with every default")
    study.add_argument("action", choices=("show", "save"))
    study.add_argument("study", nargs="?", help=a_study)
    study.add_argument("--out", type=Path)
    _add_cache(commands, shared)
    catalogue = command("catalogue", _catalogue, "search timm's pretrained networks by cost")
    catalogue.add_argument("--search", default="", help="words in the tag, family or class")
    catalogue.add_argument("--family", action="append", default=[], help="may be repeated")
    catalogue.add_argument("--gmacs", nargs=2, type=float, metavar=("LOW", "HIGH"))
    dashboard = command("dashboard", _dashboard, "start the app")
    dashboard.add_argument("study", nargs="?", help=a_study)
    return parser


def _add_cache(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "what is stored: list, verify, clear; carry a study elsewhere"
    actions = commands.add_parser("cache", help=text, description=text).add_subparsers(
        metavar="ACTION", required=True
    )

    def action(name: str, handler: Any, text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=text, parents=[shared]
        )
        sub.set_defaults(handler=handler)
        return sub

    action("ls", _cache_ls, "list what is stored, by study and by stage")
    action("verify", _cache_verify, "read every result and compare its checksum")
    clear = action("clear", _cache_clear, "delete results; saved studies stay")
    clear.add_argument("--stage", help="only this stage's")
    clear.add_argument(
        "--study",
        help="only those of this study (a name or a file) that no other study uses",
    )
    packing = action("pack", _cache_pack, "write a study and its results to one file")
    packing.add_argument("study", help="a saved study's name, digits, or a study file")
    packing.add_argument("--out", type=Path, required=True)
    unpacking = action("unpack", _cache_unpack, "take in a file that `klas cache pack` wrote")
    unpacking.add_argument("file", type=Path)
