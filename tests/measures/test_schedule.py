import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import create_optimizer_v2

from klas.measures.schedule import batch_rows, load_training, one_cycle, save_training


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    rates = [one_cycle(step, 1000) for step in range(1000)]
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates.index(max(rates)) == pytest.approx(100, abs=1)
    assert rates[0] < 0.01
    assert rates[-1] < 0.01


@given(st.integers(1, 50), st.integers(1, 70), st.integers(0, 9), st.integers(1, 9))
def test_starting_anywhere_gives_the_same_rows_and_epochs_are_permutations(rows, batch, first, n):
    whole = batch_rows(0, first + n, rows=rows, batch=batch, seed=3)
    assert (
        batch_rows(first, first + n, rows=rows, batch=batch, seed=3) == whole[first * batch :]
    ).all()
    for start in range(0, len(whole) - rows + 1, rows):
        assert sorted(whole[start : start + rows]) == list(range(rows))


def trained(steps, path=None, opt="adamw"):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    optimizer = create_optimizer_v2(list(layer.parameters()), opt=opt, lr=0.1)
    done = load_training(path, {"layer": layer}, optimizer) if path else 0
    for step in range(done, steps):
        data = torch.tensor(np.random.default_rng(step).normal(size=(4, 3)), dtype=torch.float32)
        optimizer.zero_grad()
        layer(data).square().mean().backward()
        optimizer.step()
    return layer, optimizer


# Lamb counts steps in a group, Adan and RAdam in numbers of Python.
@pytest.mark.parametrize("opt", ["adamw", "sgd", "lamb", "adan", "radamlegacy", "muon", "lion"])
def test_a_restored_training_goes_on_to_the_same_weights(tmp_path, opt):
    layer, optimizer = trained(5, opt=opt)
    save_training(tmp_path / "c", 5, {"layer": layer}, optimizer)
    resumed, _ = trained(9, tmp_path / "c", opt)
    straight, _ = trained(9, opt=opt)
    assert torch.equal(resumed.weight, straight.weight)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_an_unusable_checkpoint_means_from_the_start(tmp_path, content):
    if content is not None:
        (tmp_path / "c").write_bytes(content)
    layer, _ = trained(3, tmp_path / "c")
    assert torch.equal(layer.weight, trained(3)[0].weight)


def test_a_flipped_bit_in_a_weight_means_from_the_start(tmp_path):
    layer, optimizer = trained(2)
    save_training(tmp_path / "c", 2, {"layer": layer}, optimizer)
    whole = (tmp_path / "c").read_bytes()
    at = whole.index(layer.weight.detach().numpy().tobytes())
    (tmp_path / "c").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    layer, _ = trained(3, tmp_path / "c")
    assert torch.equal(layer.weight, trained(3)[0].weight)


def test_a_byte_that_changed_in_what_python_counts_means_from_the_start(tmp_path):
    layer, optimizer = trained(2)
    save_training(tmp_path / "c", 2, {"layer": layer}, optimizer)
    whole = (tmp_path / "c").read_bytes()
    at = whole.index(b'{"groups"')
    for damage in (b"\xff", b"#"):
        (tmp_path / "c").write_bytes(whole[:at] + damage + whole[at + 1 :])
        layer, _ = trained(3, tmp_path / "c")
        assert torch.equal(layer.weight, trained(3)[0].weight)
