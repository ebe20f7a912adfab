from dataclasses import replace

import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file

from klas.digits import train as training
from klas.study import built_in_studies


def take(monkeypatch, steps):
    """Every network learns from few scenes, for so many steps."""
    courses = {
        name: replace(course, scenes=1000, steps=steps) for name, course in training.COURSES.items()
    }
    monkeypatch.setattr(training, "COURSES", courses)


@pytest.fixture
def short(monkeypatch):
    take(monkeypatch, 30)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    monkeypatch.setattr(training, "VAL_SCENES", 200)


def run(folder, name="digits_vit_tiny"):
    with Progress(disable=True) as progress:
        return load_file(training.train(name, folder, seed=0, progress=progress))


def test_there_is_a_course_for_every_built_in_network():
    anchors = [a.model for study in built_in_studies().values() for a in study.anchors]
    assert list(training.COURSES) == [name for name in anchors if name.startswith("digits_")]


@pytest.mark.parametrize("name", ["digits_vit_tiny", "digits_convnet", "digits_seg_convnet_small"])
def test_training_is_deterministic_and_goes_on_after_an_interruption(
    short, tmp_path, monkeypatch, name
):
    straight = run(tmp_path / "a", name)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", stop)  # right after the first checkpoint
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", name)
    resumed = run(tmp_path / "b", name)
    assert all(torch.equal(straight[k], resumed[k]) for k in straight)
    assert [p.name for p in (tmp_path / "b").iterdir()] == [f"{name}.safetensors"]


def test_a_finished_network_is_not_trained_again(short, tmp_path, monkeypatch):
    run(tmp_path)
    take(monkeypatch, 10**9)
    run(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chance"),
    [("digits_vit_tiny", 0.1), ("digits_seg_convnet_small", 0.09)],  # all ground: 0.98 of 11
)
def test_training_learns(short, tmp_path, monkeypatch, name, chance):
    take(monkeypatch, 400)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 400)
    seen = []
    honest = training.evaluate
    monkeypatch.setattr(
        training, "evaluate", lambda *a, **b: seen.append(honest(*a, **b)) or seen[-1]
    )
    run(tmp_path, name)
    assert seen[-1] > 1.5 * chance
