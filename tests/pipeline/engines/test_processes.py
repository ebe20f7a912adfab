"""Engine ``processes``: real processes, which die, are killed, and outlive nobody."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from klas.errors import AnchorError, WorkerError
from klas.pipeline.context import Context
from klas.pipeline.engines import worker
from klas.pipeline.engines.here import Here
from klas.pipeline.engines.processes import Place, Processes
from klas.pipeline.engines.shares import Share
from klas.pipeline.engines.worker import Answer, Order, Setting, Worker, answer
from klas.pipeline.run import Pipeline
from klas.results.result import Features, Probes, Validation
from klas.storage.store import Store
from klas.study import AnchorSpec
from tests.conftest import SMALL
from tests.pipeline.engines.test_shares import LONGER, files_of

pytestmark = pytest.mark.slow

TWO = [Place(device="cpu", threads=1)] * 2


class Watching:
    """A progress that does something when work goes on."""

    def __init__(self, then):
        self.then, self.done = then, 0

    def start(self, stage, unit, total):
        pass

    def label(self, text):
        pass

    def advance(self, amount):
        self.done += amount
        self.then(self)


def processes_of(owner):
    """The workers that a process started, by their numbers."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(owner)], capture_output=True)
    every = [int(line) for line in listed.stdout.split()]
    return [pid for pid in every if b"engines.worker" in command_of(pid)]


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The whole study by engine ``here``: its document and its bytes."""
    with Store(tmp_path_factory.mktemp("here")) as store:
        return Pipeline(LONGER, store, device="cpu").run(), files_of(store)


def test_the_bytes_are_those_of_engine_here(here, store):
    engine, workers = Processes(TWO), set()
    pipeline = Pipeline(
        LONGER,
        store,
        device="cpu",
        progress=Watching(lambda progress: workers.add(pipeline.workers)),
        engine=engine,
    )
    document = pipeline.run()
    assert workers == {2}
    assert pipeline.workers == 1  # at work no more
    assert (document, files_of(store)) == here
    assert (
        pipeline.memory_bytes == engine.memory_bytes > 2 * 10**8
    )  # two processes that have loaded torch
    assert processes_of(os.getpid()) == []


def test_a_worker_that_is_killed_in_the_middle_is_replaced(here, store):
    killed = []

    def kill_one(progress):
        if len(killed) < 2:
            (pid, *_) = set(processes_of(os.getpid())) - set(killed)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    progress = Watching(kill_one)
    pipeline = Pipeline(LONGER, store, device="cpu", progress=progress, engine=Processes(TWO))
    assert (pipeline.run(), files_of(store)) == here
    assert len(set(killed)) == 2
    assert not list((store.root / "tmp").glob("*.rows"))


def test_an_interrupt_ends_the_workers_and_keeps_what_is_done(store):
    def interrupt(progress):
        if progress.done > 3 * 1100:  # two anchors' features and a part of the third's
            raise KeyboardInterrupt

    pipeline = Pipeline(
        LONGER, store, device="cpu", progress=Watching(interrupt), engine=Processes(TWO)
    )
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    assert processes_of(os.getpid()) == []
    context = Context(LONGER, store, device="cpu")
    assert any(context.has(Validation(anchor=name)) for name in context.anchors)


def test_workers_end_with_their_owner_however_it_ends(store, tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(
        textwrap.dedent(f"""
        from klas.pipeline.run import Pipeline
        from klas.pipeline.engines.processes import Place, Processes
        from klas.storage.store import Store
        from klas.study import parse_study

        class Saying:
            def start(self, *_): pass
            def label(self, text): pass
            def advance(self, amount): print("working", flush=True)

        study = parse_study({LONGER.model_dump(mode="json")!r}, "test")
        places = [Place(device="cpu", threads=1)] * 2
        Pipeline(study, Store({str(store.root)!r}), device="cpu", progress=Saying(),
                 engine=Processes(places)).run()
        """)
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"working\n"
        workers = processes_of(owner.pid)
        assert len(workers) == 2
        owner.kill()
        owner.wait()
        # Both ends of their output are closed only when the last of them is gone.
        owner.stdout.read()
    for pid in workers:
        while b"engines.worker" in command_of(pid):
            os.sched_yield()


def test_a_worker_ends_with_an_order_that_is_cut_off():
    whole = pickle.dumps(Answer())
    for sent in (b"", whole[: len(whole) // 2]):
        code = "from klas.pipeline.engines.worker import main; main()"
        ended = subprocess.run([sys.executable, "-c", code], input=sent, timeout=120)
        assert ended.returncode == 0


def test_what_a_worker_cannot_open_is_one_sentence(store):
    with Pipeline(SMALL, store, device="cpu").context.store:
        context = Context(SMALL, store, device="cpu")
        context.open()
        context.study = SMALL.model_copy(
            update={"anchors": (AnchorSpec(name="digits_vit_tiny", model="no_such"),) * 2}
        )
        with pytest.raises(AnchorError, match="no_such"):
            Processes(TWO).carry_out([Features(anchor="digits_vit_tiny")], context)
    assert processes_of(os.getpid()) == []


def test_a_worker_that_sees_something_else_refuses(store):
    made = Worker(Setting(study=SMALL, root=store.root, device="cpu", threads=1, allow_code=False))
    share = Share(result=Features(anchor="digits_vit_tiny"), number=0, of=1)
    with pytest.raises(WorkerError, match="other weights, other data or another version"):
        made.make(Order(share=share, digest="0" * 64), lambda units: None)


def test_an_error_that_cannot_travel_is_told_all_the_same(tmp_path):
    class OddError(Exception):
        """Of no module that the owner could import."""

    with (tmp_path / "pipe").open("w+b") as pipe:
        worker._tell(pipe, Answer(error=OddError("it broke")))
        pipe.seek(0)
        told = pickle.load(pipe)
    assert "it broke" in str(told.error)


def test_every_unit_is_told_once(store, monkeypatch):
    monkeypatch.setattr(worker, "TELL_EVERY", 0.0)
    setting = Setting(study=LONGER, root=store.root, device="cpu", threads=1, allow_code=False)
    context = Context(LONGER, store, device="cpu")
    Here().carry_out([Features(anchor="digits_vit_tiny")], context)
    told = []
    cuts = context.anchors["digits_vit_tiny"].info.depth + 1
    share = Share(result=Probes(anchor="digits_vit_tiny"), number=0, of=cuts)
    order = Order(share=share, digest=context.keys.of(share.result).digest)
    answer(Worker(setting), order, told.append)
    assert sum(one.units for one in told) == 1
    assert told[-1].content.bytes == told[-1].content.file.stat().st_size
    assert told[-1].memory_bytes > 10**8
