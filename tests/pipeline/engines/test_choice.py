"""Which engine carries what out, on machines that this one is not."""

from types import SimpleNamespace

import pytest
import torch

from klas.networks.device import visible_devices
from klas.pipeline.engines import choice
from klas.pipeline.engines.choice import engine_for, workers_for
from klas.pipeline.engines.here import Here
from klas.pipeline.engines.processes import Place, Processes
from klas.pipeline.recipes.recipe import Cost, Recipe, no_units
from klas.pipeline.run import Pipeline
from klas.pipeline.speed import Speed
from klas.results.result import Features
from klas.study import EngineSpec
from tests.conftest import SMALL

GB = 10**9
RESULTS = [Features(anchor=name) for name in ("a", "b", "c", "d")]


def test_where_nothing_is_missing_no_engine_is_chosen_and_nothing_timed(computed, monkeypatch):
    store, document = computed

    def time(*_):
        raise AssertionError("the machine was timed")

    for module in ("choice", "processes", "ray"):
        monkeypatch.setattr(f"klas.pipeline.engines.{module}.speed_of", time)
    pipeline = Pipeline(SMALL, store, device="cpu", engine=EngineSpec())
    assert pipeline.run() == document
    with pytest.raises(AssertionError, match="timed"):
        engine_for(EngineSpec(name="ray"), pipeline.context, pipeline.results("anchors"))


@pytest.fixture
def machine(monkeypatch):
    """A machine by its cores, memory and GPUs, and what a result takes there."""

    def make(*, device="cpu", cores=8, free=64 * GB, gpus=0, seconds=60.0, memory=GB):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        on = torch.device(device)
        context = SimpleNamespace(device=on, devices=visible_devices(on), has=lambda result: False)
        monkeypatch.setattr(choice, "usable_cores", lambda: cores)
        monkeypatch.setattr(choice, "available_memory_bytes", lambda: free)
        monkeypatch.setattr(choice, "peak_memory_bytes", lambda: GB)
        speed = Speed(forward={}, loading=0.0)
        monkeypatch.setattr(choice, "speed_of", lambda context, threads=None: speed)
        recipe = Recipe(
            units=no_units,
            shares=lambda result, context: [None],
            cost=lambda result, context, speed: Cost(seconds=seconds, memory_bytes=memory),
        )
        for module in ("choice", "crew", "shares"):
            monkeypatch.setattr(f"klas.pipeline.engines.{module}.recipe_of", lambda _: recipe)
        return context

    return make


def workers(context, **spec):
    """How many processes an engine has; 0 for engine ``here``."""
    engine = engine_for(EngineSpec(**spec), context, RESULTS)
    assert workers_for(EngineSpec(**spec), context, RESULTS)[0] == max(
        1, len(getattr(engine, "places", ()))
    )
    return 0 if isinstance(engine, Here) else len(engine.places)


def test_long_work_gets_a_process_of_one_thread_for_every_core(machine):
    context = machine(cores=8)
    engine = engine_for(EngineSpec(), context, RESULTS)
    assert isinstance(engine, Processes)
    assert engine.places == (Place(device="cpu", threads=1),) * 8


@pytest.mark.parametrize(
    "facts",
    [{"cores": 1}, {"seconds": 1.0}, {"free": 2 * GB}, {"device": "mps"}],
    ids=["one core", "short work", "little memory", "one device"],
)
def test_where_processes_gain_nothing_this_one_does_the_work(machine, facts):
    assert workers(machine(**facts)) == 0


def test_there_are_no_more_processes_than_memory_lets(machine):
    assert workers(machine(cores=8, free=10 * GB, memory=GB)) == 4
    assert workers(machine(cores=8, free=10 * GB, memory=3 * GB)) == 2
    assert workers(machine(cores=8, free=None)) == 8  # nobody says


def test_who_names_an_engine_gets_it(machine):
    assert workers(machine(seconds=0.01), name="processes") == 8
    assert workers(machine(seconds=0.01), name="processes", workers=3) == 3
    assert workers(machine(), name="here") == 0
    assert workers(machine(), workers=2) == 2
    assert workers(machine(), workers=1) == 0


def test_every_gpu_has_a_process_with_its_share_of_the_cores(machine):
    context = machine(device="cuda", gpus=4, cores=16)
    engine = engine_for(EngineSpec(), context, RESULTS)
    assert engine.places == tuple(Place(device=f"cuda:{k}", threads=4) for k in range(4))
    assert workers(machine(device="cuda", gpus=1)) == 0
    assert workers(machine(device="cuda:1", gpus=4)) == 0  # that one and no other
