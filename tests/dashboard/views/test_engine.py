"""The engine on the Study page: what is offered, and what a job and a command line then say."""

import importlib.util
import json
from types import SimpleNamespace

import pytest

from klas.jobs import process
from klas.study import EngineSpec
from tests.conftest import SMALL
from tests.dashboard.reading import button

find = importlib.util.find_spec


@pytest.fixture
def with_ray(monkeypatch):
    """Makes Ray look installed, or not."""

    def look(installed):
        found = SimpleNamespace() if installed else None
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: found if name == "ray" else find(name, *a)
        )

    return look


@pytest.fixture
def started(monkeypatch):
    """What jobs were asked for, instead of their work."""
    asked = []
    monkeypatch.setattr(process, "start", lambda store, study, spec: asked.append((study, spec)))
    return asked


def engines(tester):
    (box,) = (box for box in tester.selectbox if box.label == "Who does the work")
    return box


def address(tester):
    return [field for field in tester.text_input if field.label == "Address of the cluster"]


def command(tester):
    return next(code.value for code in tester.code if code.value.startswith("klas run"))


def test_ray_is_offered_where_it_is_installed(app, store, with_ray):
    with_ray(False)
    tester = app(store.root)
    assert [option.partition(":")[0] for option in engines(tester).options] == [
        "auto",
        "here",
        "processes",
    ]
    with_ray(True)
    tester.run()
    assert engines(tester).options[-1] == "ray: a Ray cluster"
    assert not address(tester)


def test_a_job_and_the_command_get_the_engine(app, store, with_ray, started):
    with_ray(True)
    tester = app(store.root)
    assert engines(tester).value == "here"  # what the study's file says
    assert "--engine" not in command(tester)
    engines(tester).set_value("ray").run()
    address(tester)[0].set_value(" head:6379 ").run()
    assert "--engine ray --address head:6379" in command(tester)
    for label in ("Compute everything", "Estimate"):
        button(tester, label).click().run()
        assert not tester.exception
    spec = EngineSpec(name="ray", address="head:6379")
    assert [study.engine for study, _ in started] == [spec, spec]
    assert started[0][0].content() == SMALL.content()
    # It is kept on the way to another page and back.
    tester.switch_page("views/scores.py").run()
    tester.switch_page("views/study.py").run()
    assert (engines(tester).value, address(tester)[0].value) == ("ray", "head:6379")
    # Back to the study's own.
    engines(tester).set_value("here").run()
    assert not address(tester)
    assert "--engine" not in command(tester)


def test_another_study_brings_its_own_engine(app, store, with_ray, monkeypatch):
    with_ray(True)
    tester = app(store.root)
    engines(tester).set_value("processes").run()
    (chooser,) = (box for box in tester.selectbox if "digits" in box.options)
    chooser.set_value("digits").run()
    assert engines(tester).value == "auto"


def test_a_study_of_engine_ray_is_shown_without_it(app, store, with_ray, tmp_path):
    with_ray(False)
    study = SMALL.model_copy(update={"engine": EngineSpec(name="ray", address="head:6379")})
    tester = app(store.root)
    (tmp_path / "small.toml").write_text(study.to_toml())
    tester.run()
    assert engines(tester).value == "ray"
    assert address(tester)[0].value == "head:6379"


def test_a_job_without_ray_says_what_to_install(store, monkeypatch):
    from klas.cli.worker import answer
    from klas.jobs.kinds import RunJob
    from klas.jobs.submission import Submission

    study = SMALL.model_copy(update={"engine": EngineSpec(name="ray")})
    submission = Submission(
        study=study.model_dump(mode="json"),
        task=RunJob(until="anchors").model_dump(mode="json"),
        submitted=0.0,
        device="cpu",
    )
    folder = store.root / "jobs" / "job"
    folder.mkdir()
    (folder / "job.json").write_text(submission.model_dump_json())
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find(name, *a)
    )
    assert answer(folder, store.root) == 1
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["error"].startswith("engine ray: Ray is not installed here; install it with")
