"""The command ``klas``: its exit statuses, and each command's options.

The module of a command is imported when the command runs, so that ``klas --help`` is quick.
"""

import argparse
import os
import pkgutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from klas.cli.printing import is_closed_pipe, prints_anywhere
from klas.errors import KlasError
from klas.results.documents.exports import FORMATS
from klas.study import ENGINES, METRICS, STAGES, TIERS

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command; exits 0 when done, 1 on a KlasError, 2 on wrong usage, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prints_anywhere(sys.stdout, sys.stderr)
    try:
        try:
            options = _parser().parse_args(arguments)
            pkgutil.resolve_name(options.function)(options)
        finally:
            sys.stdout.flush()  # not only at exit, where nobody could say that the reader has left
    except KlasError as error:
        print(f"klas: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "klas: interrupted; finished results are kept, run it again to go on", file=sys.stderr
        )
        sys.exit(INTERRUPTED)
    except OSError as error:
        if not is_closed_pipe(error):
            raise
        # The reader left (`| head`); nothing more to say, not even at exit.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(1)
    sys.exit(0)


class _CommandParser(argparse.ArgumentParser):
    """Takes options between positional arguments; argparse alone refuses what comes after them."""

    _plain = False

    def add_subparsers(self, **options: Any) -> Any:
        self._plain = True  # its actions mix them
        return super().add_subparsers(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._plain:
            return super().parse_known_args(args, namespace)
        self._plain = True  # it calls this method, for the options and then for the rest
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._plain = False


def _parser() -> argparse.ArgumentParser:
    parser = _CommandParser(
        prog="klas", description="Find the networks between your pretrained networks."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_computing(commands)
    _add_choosing(commands)
    _add_training(commands)
    _add_export(commands)
    text = "print or save a study with every default"
    study = _add(commands, "study", "studies:show_or_save", text)
    study.add_argument("action", choices=("show", "save"))
    _add_study(study)
    study.add_argument("--out", type=Path, help="the file that `study save` writes")
    text = "list, verify, repair or clear what is stored; carry a study to another machine"
    cache = commands.add_parser("cache", help=text, description=text)
    _add_cache_actions(cache.add_subparsers(metavar="ACTION", required=True))
    text = "search timm's pretrained networks by cost"
    catalogue = _add(commands, "catalogue", "catalogue:catalogue", text)
    catalogue.add_argument("--search", default="", help="words in the tag, family or class")
    catalogue.add_argument("--family", action="append", default=[], help="may be repeated")
    catalogue.add_argument("--gmacs", nargs=2, type=float, metavar=("LOW", "HIGH"))
    _add_study(_add(commands, "dashboard", "dashboard:dashboard", "start the app"))
    text = "what a bug report should say: devices, versions, the cache, free space, weights"
    _add(commands, "doctor", "doctor:doctor", text)
    return parser


def _add_computing(commands: Any) -> None:
    run = _add(commands, "run", "compute:run", "compute a study, stage by stage")
    _add_study(run, computes=True)
    run.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to run")

    text = "show cost and accuracy of the anchors, and rank the pairs"
    _add_study(_add(commands, "anchors", "compute:anchors", text), computes=True)

    scores = _add(commands, "scores", "compute:scores", "write every candidate's scores")
    _add_study(scores, computes=True)
    scores.add_argument("--out", type=Path, required=True, help="write the scores (JSON) here")

    text = "time every stitch's forward pass at batch 1 on this device"
    latency = _add(commands, "latency", "compute:latency", text)
    _add_study(latency, computes=True)
    _add_pair(latency)


def _add_choosing(commands: Any) -> None:
    select = _add(commands, "select", "choose:select", "choose stitches by buckets and τ")
    _add_study(select, computes=True)
    select.add_argument("--metric", choices=METRICS)
    _add_selection(select)
    select.add_argument("--out", type=Path, help="write the stitch list (JSON) here")
    select.add_argument("--weights", type=Path, help="write the weights (safetensors) here too")
    text = "measure the chosen stitches on every validation image"
    select.add_argument("--full-val", action="store_true", help=text)
    text = "which tier --weights and --full-val are of (default: tuned)"
    select.add_argument("--tier", choices=TIERS, default="tuned", help=text)

    text = "rebuild every stitch of a list; compare MACs and parameters"
    check = _add(commands, "check", "choose:check", text)
    check.add_argument("file", type=Path, help="a stitch list that `klas select` wrote")
    _add_allow_code(check)

    text = "train a selection and its anchors jointly"
    finetune = _add(commands, "finetune", "methods:finetune", text)
    _add_study(finetune, computes=True)
    finetune.add_argument("--metric", choices=METRICS)
    _add_selection(finetune)
    text = "train what every method chooses, with equal steps, for several budgets of steps"
    finetune.add_argument("--compare", action="store_true", help=text)

    text = "score what decoders and chosen stitches make of prompts by ROUGE"
    rouge = _add(commands, "rouge", "continuations:rouge", text)
    _add_study(rouge, computes=True)
    rouge.add_argument("--metric", choices=METRICS)
    _add_selection(rouge)
    text = "whose stitch layers (default: tuned)"
    rouge.add_argument("--tier", choices=TIERS, default="tuned", help=text)

    comparison = _add(commands, "compare", "methods:compare", "compare KLAS with its rivals")
    _add_study(comparison)
    _add_selection(comparison)
    comparison.add_argument("--out", type=Path, help="write the comparison (JSON) here")


def _add_export(commands: Any) -> None:
    text = "write one network as a file that needs nothing else"
    export = _add(commands, "export", "export:export", text)
    text = "a stitch list, the folder of a saved network, or a study that was computed"
    export.add_argument("source", type=Path, metavar="LIST|DIR|STUDY", help=text)
    which = export.add_mutually_exclusive_group()
    which.add_argument("--member", metavar="NAME", help="SOURCE:i-TARGET:j, or an anchor's name")
    which.add_argument("--index", type=int, metavar="N", help="the list's stitch, from 0")
    text = "the most accurate that has at most so many MACs for one image"
    which.add_argument("--macs", type=float, metavar="M", help=text)
    text = "the most accurate with at most so many parameters"
    which.add_argument("--params", type=float, metavar="P", help=text)
    text = "the most accurate that takes at most so many milliseconds here"
    which.add_argument("--ms", type=float, metavar="T", help=text)
    text = "whose accuracies count for a budget (default: those of the weights); of a study, "
    text += "whose layers a stitch gets (default: the best that are stored)"
    export.add_argument("--tier", choices=TIERS, help=text)
    text = "safetensors: for klas.load; timm: for timm.create_model; torch: torch.export; or onnx"
    export.add_argument("--to", choices=FORMATS, required=True, help=text)
    text = "the file, or for safetensors and timm the folder"
    export.add_argument("--out", type=Path, required=True, help=text)
    text = "fold parallel branches and normalisation into single convolutions"
    export.add_argument("--fuse", action="store_true", help=text)
    _add_allow_code(export)


def _add_training(commands: Any) -> None:
    text = "train all members of a stitch list jointly, into one elastic network"
    train = _add(commands, "train", "train:train", text)
    train.add_argument("list", type=Path, help="a stitch list that `klas select` wrote")
    text = "study file (TOML) whose [training] and images count; without one, the list's images"
    train.add_argument("study", nargs="?", help=text)
    text = "the folder for the network; an interrupted training in it goes on"
    train.add_argument("--out", type=Path, required=True, help=text)
    train.add_argument("--steps", type=int, help="instead of the recipe's")
    _add_allow_code(train)


def _add_cache_actions(actions: Any) -> None:
    _add(actions, "ls", "cache:ls", "list what is stored, by study and by stage")
    _add(actions, "verify", "cache:verify", "read all that is stored and compare its checksum")
    text = "make the index again from the results; delete what is damaged"
    _add(actions, "repair", "cache:repair", text)
    clear = _add(actions, "clear", "cache:clear", "delete results; saved studies stay")
    of = clear.add_mutually_exclusive_group()
    of.add_argument("--stage", help="this stage's results only")
    text = "only the results that no study but this one (a name or a file) uses"
    clear.add_argument("--study", help=text)
    text = "what was exported from the app only; it is made again from results"
    of.add_argument("--exports", action="store_true", help=text)
    text = "the elastic networks that were trained from the app only, finished or not"
    of.add_argument("--trained", action="store_true", help=text)
    pack = _add(actions, "pack", "cache:pack", "write a study and its results to one file")
    pack.add_argument("study", help="a saved or built-in study's name, or a study file")
    pack.add_argument("--out", type=Path, required=True, help="the file to write")
    unpack = _add(actions, "unpack", "cache:unpack", "read a file that `klas cache pack` wrote")
    unpack.add_argument("file", type=Path)


def _add(commands: Any, name: str, function: str, text: str) -> argparse.ArgumentParser:
    """Add a command, with the options that all have.

    Args:
        function: what runs it, as ``module:function`` of this package.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(function=f"klas.cli.{function}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--cache-dir", type=Path, help="where results are kept")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return parser


def _add_study(parser: argparse.ArgumentParser, *, computes: bool = False) -> None:
    text = "study file (TOML) or a built-in study; without one, digits"
    parser.add_argument("study", nargs="?", help=text)
    if computes:
        _add_allow_code(parser)
        text = "what does the work: this process, several, or Ray (default: what is quicker here)"
        parser.add_argument("--engine", choices=ENGINES, help=text)
        text = "at most so many workers: processes, or a cluster's"
        parser.add_argument("--workers", type=int, help=text)
        text = "the Ray cluster's (default: RAY_ADDRESS, else this machine's)"
        parser.add_argument("--address", metavar="HOST:PORT", help=text)


def _add_allow_code(parser: argparse.ArgumentParser) -> None:
    text = "run the Python functions (package.module:factory) that a study names as models"
    parser.add_argument("--allow-code", action="store_true", help=text)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pair", nargs=2, metavar=("F", "G"), help="this pair only")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    _add_pair(parser)
    parser.add_argument("--tau", type=float, help="tolerance, 0 or more")
    parser.add_argument("--tau-mode", choices=("relative", "absolute"))
    parser.add_argument("--buckets", type=int, help="how many, 1 or more")
    parser.add_argument("--binning", choices=("width", "count"), help="equal width or equal count")
