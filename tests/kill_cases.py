"""Works that take long, to be killed at any step of what they write: see tests/test_kills.py."""

import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from klas.cli.worker import main as work_off
from klas.deploy.export.export import export
from klas.deploy.export.stored import stored_network
from klas.deploy.training.log import LOG
from klas.deploy.training.ranks import Ranks
from klas.deploy.training.run import train_list
from klas.jobs import process, status
from klas.jobs.kinds import ExportJob, JobSpec, TrainJob
from klas.jobs.listing import all_jobs
from klas.measures import training
from klas.pipeline.run import Pipeline
from klas.progress import Silent
from klas.recipe import TrainingSpec
from klas.results.archive import pack, unpack
from klas.results.formats import write
from klas.results.health import examine
from klas.results.pair import pairs_of
from klas.results.refs import stored_scores
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from klas.storage.store import Store
from klas.study import FinetuningSpec, FitSpec, TuningSpec
from tests.jobs.workers import QUICK
from tests.storage.kills import killed
from tests.storage.test_kills import contents

STUDY = QUICK.model_copy(
    update={
        "name": "killed",
        "data": QUICK.data.model_copy(
            update={"train_samples": 60, "val_samples": 40, "test_samples": 40}
        ),
        "fit": FitSpec(samples=20),
        "tuning": TuningSpec(steps=2, batch=8),
        "finetuning": FinetuningSpec(steps=3, batch=8),
        "selection": QUICK.selection.model_copy(update={"buckets": 2}),
        "training": TrainingSpec(
            steps=3, batch=8, log_every=1, checkpoint_seconds=0.0, aa="", mixup=0.0, cutmix=0.0,
            scale=(1.0, 1.0), reprob=0.0,
        ),
    }
)  # fmt: skip
CACHE, PACK, LISTED, OUT = "cache", "study.klas", "list.json", "out"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is done, in a folder in which the rest lies.

    Attributes:
        work: goes on where an earlier one was killed.
        empty: it begins with an empty cache, not with a computed study.
    """

    name: str
    work: Callable[[Path], None]
    empty: bool = False


def run(folder, study=STUDY):
    """``klas run``: every stage."""
    with Store(folder / CACHE) as store, store.at_work("klas run", study.results_key()):
        Pipeline(study, store, device="cpu").run()


def finetune(folder):
    """``klas finetune``, with a checkpoint after every step."""
    with (
        Store(folder / CACHE) as store,
        store.at_work("klas finetune", STUDY.results_key()),
        patch.object(training, "CHECKPOINT_SECONDS", -1.0),
    ):
        pair = pairs_of(stored_scores(store, STUDY))[0]
        chosen = choose(pair, STUDY.selection).chosen
        Pipeline(STUDY, store, device="cpu").finetune(pair, chosen)


def train(folder):
    """``klas train``, with a checkpoint after every step."""
    with Store(folder / CACHE) as store, store.at_work("klas train", STUDY.results_key()):
        train_list(
            folder / LISTED,
            folder / OUT,
            ranks=Ranks(device=torch.device("cpu")),
            store=store,
            progress=Silent(),
            announce=lambda known: None,
            study=STUDY,
        )


def packing(folder):
    """``klas cache pack``."""
    with Store(folder / CACHE) as store:
        pack(store, STUDY, folder / OUT)


def unpacking(folder):
    """``klas cache unpack``."""
    with Store(folder / CACHE) as store:
        unpack(store, folder / PACK)


def exporting(folder):
    """``klas export`` of a stitch."""
    if (folder / OUT).exists():
        return  # whoever finds it there has it
    with Store(folder / CACHE) as store:
        export(stored_network(store, STUDY, _stitch(store), "tuned"), "safetensors", folder / OUT)


def job(make: Callable[[Store], JobSpec]) -> Callable[[Path], None]:
    """What a page starts, and its worker does: here in one process."""

    def work(folder):
        def worker(store, where, lock):
            assert work_off(where, store.root) == 0, (where / "status.json").read_text()
            return SimpleNamespace(pid=os.getpid())

        with (
            Store(folder / CACHE) as store,
            patch.object(process, "_worker", worker),
            patch.object(status, "WRITE_EVERY", 1e9),  # by the clock, it would be anywhere
            patch.dict(os.environ, {"KLAS_DEVICE": "cpu"}),
        ):
            process.start(store, STUDY, make(store))

    return work


def _stitch(store: Store) -> str:
    source, target, i, j = _place(store)
    return f"{source}:{i}-{target}:{j}"


def _place(store: Store) -> tuple[str, str, int, int]:
    pair = pairs_of(stored_scores(store, STUDY))[0]
    return (*pair.names, *pair.everywhere[0])


def _export_job(store: Store) -> ExportJob:
    names = _place(store)[:2]
    return ExportJob(member=_stitch(store), pair=names, tier="tuned", to="safetensors")


def _train_job(store: Store) -> TrainJob:
    return TrainJob(stitches=(_place(store),), recipe=STUDY.training)


WORKS = [
    Case(name="computing a study", work=run, empty=True),
    Case(name="fine-tuning", work=finetune),
    Case(name="training a list", work=train),
    Case(name="packing", work=packing),
    Case(name="unpacking", work=unpacking, empty=True),
    Case(name="exporting", work=exporting),
    Case(name="a page's export", work=job(_export_job)),
    Case(name="a page's training", work=job(_train_job)),
]


def prepare(template: Path) -> None:
    """Compute the study once, with its pack and a list."""

    def compute():
        run(template)
        with Store(template / CACHE) as store:
            pack(store, STUDY, template / PACK)
            document = stored_scores(store, STUDY)
            write(stitch_list(document, STUDY.selection), template / LISTED)

    template.mkdir(parents=True)
    assert not killed(compute, -1)


def begin(case: Case, template: Path, folder: Path) -> None:
    """Lay out what a work begins with."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    if case.empty:
        shutil.rmtree(folder / CACHE)


def check(case: Case, template: Path, step: int, folder: Path) -> tuple[bool, Mapping[str, Any]]:
    """Kill a work at a step, look, and let the next one do it.

    Returns:
        Whether it came that far, and what is there at the end.
    """
    begin(case, template, folder)
    came = killed(lambda: case.work(folder), step)
    assert_whole(folder / CACHE, step)
    assert not killed(lambda: case.work(folder), -1)
    assert_whole(folder / CACHE, step)
    return came, left(folder)


def assert_whole(root: Path, step: int) -> None:
    """Nothing in a cache is wrong, and its jobs can be listed."""
    with Store(root) as store:
        assert examine(store).problem == "", step
        all_jobs(store)


def left(folder: Path) -> dict[str, Any]:
    """All that a work leaves, but for what says when or how long."""
    kept: dict[str, Any] = contents(folder / CACHE)
    for path in sorted((folder / OUT, *(folder / OUT).rglob("*"))):
        if path.is_file():
            kept[str(path.relative_to(folder))] = path.read_bytes()
    for name, content in list(kept.items()):
        if name.endswith(LOG):
            rows = [line.split(b",") for line in content.splitlines()]
            kept[name] = [(*row[:4], row[5]) for row in rows]  # without the seconds
        elif name.endswith(".zip"):
            with zipfile.ZipFile(folder / CACHE / name) as packed:
                kept[name] = [(entry.filename, entry.CRC) for entry in packed.infolist()]
    # Checksums of such files.
    return {name: content for name, content in kept.items() if not name.endswith("SHA256SUMS")}
