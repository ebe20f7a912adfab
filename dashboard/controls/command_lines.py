"""The command lines that do the same as a page."""

import os
import shlex
from collections.abc import Sequence

from dashboard.session.engine import engine
from dashboard.session.resources import store, study, study_arguments
from klas.jobs.kinds import ExportJob
from klas.recipe import TrainingSpec
from klas.study import DIGITS, STAGES, SelectionSpec, Stage, Study, Tier


def run_command(until: Stage) -> str:
    """Computes the study at hand into the same folder, on the same device, by the same engine."""
    command = ["klas", "run", *study_arguments()]
    if until != STAGES[-1]:
        command += ["--until", until]
    if (chosen := engine()) != study().engine:
        command += ["--engine", chosen.name]
        command += ["--address", chosen.address] if chosen.address else []
    if "KLAS_CACHE_DIR" in os.environ:
        command += ["--cache-dir", str(store().root)]
    device = os.environ.get("KLAS_DEVICE", "auto")
    return shlex.join(command if device == "auto" else [*command, "--device", device])


def select_command(
    spec: SelectionSpec, pair: Sequence[str], out: str, full_val: Tier | None = None
) -> str:
    """Writes the list of what a selection chooses.

    Args:
        pair: source and target; none of them for all pairs.
        full_val: the tier whose accuracies on every validation image the list has, if it has any.
    """
    return shlex.join(
        [
            *("klas", "select", *study_arguments()),
            *(("--pair", *pair) if pair else ()),
            *("--metric", spec.metric, "--tau", f"{spec.tau:.12g}", "--tau-mode", spec.tau_mode),
            *("--buckets", str(spec.buckets), "--binning", spec.binning),
            *(() if full_val is None else ("--full-val", "--tier", full_val)),
            *("--out", out),
        ]
    )


def export_command(job: ExportJob, out: str) -> str:
    """Exports the same network of the study at hand from the same folder."""
    command = ["klas", "export", *(study_arguments() or [DIGITS.name]), "--member", job.member]
    command += [] if job.tier is None else ["--tier", job.tier]
    command += ["--fuse"] if job.fused else []
    command += ["--to", job.to, "--out", out]
    if "KLAS_CACHE_DIR" in os.environ:
        command += ["--cache-dir", str(store().root)]
    return shlex.join(command)


def train_command(recipe: TrainingSpec, listed: str, other: str | None) -> str:
    """Trains a list in the same way.

    Args:
        listed: the list's file.
        other: a study file with this recipe, where that differs from the study's in more than the
            number of steps.
    """
    command = ["klas", "train", listed, *(study_arguments() if other is None else [other])]
    if other is None and recipe.steps != study().training.steps:
        command += ["--steps", str(recipe.steps)]
    command += ["--out", "trained"]
    if "KLAS_CACHE_DIR" in os.environ:
        command += ["--cache-dir", str(store().root)]
    device = os.environ.get("KLAS_DEVICE", "auto")
    return shlex.join(command if device == "auto" else [*command, "--device", device])


def own_selection_command(out: str) -> str:
    """Writes the list of what the study's own selection chooses."""
    return shlex.join(["klas", "select", *study_arguments(), "--out", out])


def comparison_command(name: str, study: Study, more: Sequence[str]) -> str:
    """Compares the methods with a study's selection, or trains what is compared.

    Args:
        name: ``compare`` or ``finetune``.
        more: what it is given beside the selection.
    """
    spec = study.selection
    return shlex.join(
        [
            *("klas", name, *study_arguments(), *more),
            *("--tau", f"{spec.tau:g}", "--tau-mode", spec.tau_mode),
            *("--buckets", str(spec.buckets), "--binning", spec.binning),
        ]
    )
