"""Engine ray on a cluster of two nodes, each with a cache folder of its own."""

import itertools
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.ray_cluster import add_node, ray_cluster
from klas.cli.main import main
from klas.errors import DataError, StoreError, WorkerError
from klas.pipeline.context import Context
from klas.pipeline.engines.here import Here
from klas.pipeline.engines.ray import RayCluster, room_for
from klas.pipeline.engines.ray_connection import connected
from klas.pipeline.engines.ray_crew import RayCrew
from klas.pipeline.run import Pipeline
from klas.progress import Silent
from klas.storage.store import Store
from klas.study import change
from tests.conftest import SMALL

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason='Ray is not installed; pip install -e ".[ray]"')

TINY = SMALL.model_copy(
    update={
        "name": "tiny",
        "anchors": SMALL.anchors[:2],
        "data": SMALL.data.model_copy(update={"train_samples": 200, "val_samples": 128}),
        "tuning": SMALL.tuning.model_copy(update={"steps": 2}),
    }
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """The folder in which each node has its cache."""
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def cluster(nodes):
    with ray_cluster(nodes) as started:
        yield started


def content(store):
    """Every stored result, and its bytes."""
    return {entry.digest: store.path_of(entry).read_bytes() for entry in store.entries()}


def computed_here(study, folder):
    with Store(folder) as store:
        Pipeline(study, store, device="cpu", engine=Here()).run()
        return content(store)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What engine here makes of the study."""
    return computed_here(TINY, tmp_path_factory.mktemp("here"))


class Telling(Silent):
    """Progress that keeps the labels, and does something once at one of them."""

    def __init__(self, at="", act=lambda: None):
        self.labels = []
        self._at, self._act = at, act

    def label(self, text):
        self.labels.append(text)
        if self._act and self._at in text and self._act() is not False:
            self._act = None


def compute(store, engine, study=TINY, progress=None):
    Pipeline(study, store, device="cpu", engine=engine, progress=progress).run()
    return content(store)


def actors(address):
    """The names of the actors that there are on the cluster."""
    import ray

    with connected(address):
        return ray.util.list_named_actors(all_namespaces=True)


def busy(engine):
    """The workers that make a share at the moment."""
    return [worker for worker in engine.crew._workers if worker.share is not None]


def test_the_command_makes_the_same_bytes_on_a_cluster(cluster, nodes, tmp_path, capfd, expected):
    (tmp_path / "study.toml").write_text(TINY.to_toml(), encoding="utf-8")
    options = ["--engine", "ray", "--address", cluster.address, "--device", "cpu", "--json"]
    with pytest.raises(SystemExit) as status:
        main(["run", str(tmp_path / "study.toml"), "--cache-dir", str(tmp_path / "c"), *options])
    assert status.value.code == 0
    out, err = capfd.readouterr()
    assert [each["name"] for each in json.loads(out)["anchors"]] == [a.name for a in TINY.anchors]
    assert f"Ray: the cluster at {cluster.address}, 2 nodes, 2 CPUs" in err
    with Store(tmp_path / "c") as store:
        assert content(store) == expected
    # Nothing stays behind, in the store or on the nodes.
    assert not list((tmp_path / "c" / "tmp").iterdir())
    assert not actors(cluster.address)
    assert [path.name for path in nodes.rglob("*") if path.is_file()] == ["folders.lock"] * 2


def test_what_a_killed_worker_made_is_made_again(cluster, store, expected):
    engine = RayCluster(address=cluster.address)
    killed = []

    def kill():
        for worker in busy(engine)[:1]:
            killed.append(worker.share)
            os.kill(worker.begun.process, signal.SIGKILL)
        return bool(killed)

    progress = Telling("pooled features", kill)
    assert compute(store, engine, progress=progress) == expected
    (share,) = killed
    label = Context(TINY, store, device="cpu").keys.of(share.result).label
    assert engine.memory_bytes > 0
    again = [text for text in progress.labels if text.startswith(label)]
    assert len(again) == share.of + 1


def test_a_node_is_removed_and_one_is_added(cluster, nodes, store, expected):
    engine = RayCluster(address=cluster.address)
    (second,) = cluster.worker_nodes
    removed = []

    def remove():
        on_second = [w for w in busy(engine) if w.begun.node == second.node_id]
        if not on_second:
            return False
        removed.append(on_second[0].share)
        cluster.remove_node(second)
        return True

    try:
        assert compute(store, engine, progress=Telling("", remove)) == expected
        assert removed
    finally:
        add_node(cluster, nodes / "another")


def test_two_crews_share_the_nodes(cluster, tmp_path):
    with Store(tmp_path / "a") as one, Store(tmp_path / "b") as two:
        settings = {"address": cluster.address, "at_most": None, "memory_each": 0}
        first = RayCrew(Context(TINY, one, device="cpu"), **settings)
        second = None
        try:
            until(lambda: first.idle == 2, first)
            second = RayCrew(Context(TINY, two, device="cpu"), **settings)
            until(lambda: (first.idle, second.idle) == (1, 1), first, second)
            first.dismiss()
            until(lambda: second.idle == 2, second)
            third = add_node(cluster, tmp_path / "third")
            until(lambda: second.idle == 3, second)
            cluster.remove_node(third)
            until(lambda: second.idle == 2, second)
        finally:
            for crew in filter(None, (first, second)):
                crew.dismiss()


def until(reached, *crews):
    for _ in range(600):
        if reached():
            return
        for crew in crews:
            list(crew.wait(0.1))
    raise AssertionError("the crews never came to share the nodes so")


def test_two_studies_at_once(cluster, tmp_path, expected):
    other = change(TINY, "data", val_samples=120)

    def run(folder, study):
        with Store(tmp_path / folder) as store:
            engine = RayCluster(address=cluster.address)
            return compute(store, engine, study)

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(run, "a", TINY), threads.submit(run, "b", other)]
        assert runs[0].result() == expected
        assert runs[1].result() == computed_here(other, tmp_path / "here")


def test_an_interrupted_run_keeps_what_is_done_and_leaves_the_cluster(cluster, store, expected):
    def interrupt():
        raise KeyboardInterrupt

    engine = RayCluster(address=cluster.address)
    with pytest.raises(KeyboardInterrupt):
        compute(store, engine, progress=Telling(": Θ", interrupt))
    kept = content(store)
    assert kept
    assert kept.items() < expected.items()
    assert not actors(cluster.address)
    before = signal.getsignal(signal.SIGTERM)
    assert room_for(Context(TINY, store, device="cpu"), cluster.address, 0) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_without_the_data_says_so_by_host_and_path(cluster, store, tmp_path, monkeypatch):
    for split, digit in itertools.product(("train", "val"), range(10)):
        folder = tmp_path / split / str(digit)
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("L", (20, 20), 20 * digit + number).save(folder / f"{number}.png")
    study = change(TINY, "data", train="train", val="val", train_samples=20, val_samples=20)
    monkeypatch.chdir(tmp_path)  # where the folders are; workers are elsewhere
    engine = RayCluster(address=cluster.address)
    with pytest.raises(DataError, match=r"^host [\w.-]+: train"):
        compute(store, engine, study)


@pytest.mark.parametrize(
    ("cache", "environment", "error", "says"),
    [
        (
            "/dev/null/nowhere",
            {},
            StoreError,
            r"host .*: /dev/null/nowhere/ray-workers: workers cannot keep files there",
        ),
        (
            "",
            {"PYTHONPATH": "other"},
            WorkerError,
            r"Python on host .* finds no module 'klas'; install the same klas",
        ),
    ],
)
def test_a_node_on_which_nothing_can_be_made_is_named(
    tmp_path, monkeypatch, cluster, store, cache, environment, error, says
):
    (tmp_path / "other" / "klas").mkdir(parents=True)
    # As where it is not installed; here it is, and Python would find its parts all the same.
    missing = """raise ModuleNotFoundError("No module named 'klas'", name="klas")"""
    (tmp_path / "other" / "klas" / "__init__.py").write_text(missing, encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # Ray lets workers import from where it is connected
    variables = {name: str(tmp_path / value) for name, value in environment.items()}
    bad = add_node(cluster, Path(cache or tmp_path), **variables)
    try:
        context = Context(TINY, store, device="cpu")
        crew = RayCrew(context, address=cluster.address, at_most=None, memory_each=0)
        try:
            with pytest.raises(error, match=says):
                until(lambda: False, crew)  # no work: a run might end before the node is heard of
        finally:
            crew.dismiss()
    finally:
        cluster.remove_node(bad)
