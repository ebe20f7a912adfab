import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file

from klas.digits import train as training


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(training, "SCENES", 1000)
    monkeypatch.setattr(training, "STEPS", 30)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 10)
    monkeypatch.setattr(training, "VAL_SCENES", 200)


def run(folder, name="digits_vit_tiny"):
    with Progress(disable=True) as progress:
        return load_file(training.train(name, folder, seed=0, progress=progress))


@pytest.mark.parametrize("name", ["digits_vit_tiny", "digits_convnet"])
def test_training_is_deterministic_and_goes_on_after_an_interruption(
    short, tmp_path, monkeypatch, name
):
    straight = run(tmp_path / "a", name)

    def stop(*_):
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
    monkeypatch.setattr(training, "STEPS", 10**9)
    run(tmp_path)


@pytest.mark.slow
def test_training_learns(short, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STEPS", 400)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 400)
    seen = []
    honest = training.evaluate
    monkeypatch.setattr(training, "evaluate", lambda *a: seen.append(honest(*a)) or seen[-1])
    run(tmp_path)
    assert seen[-1] > 0.15  # chance is 0.1
