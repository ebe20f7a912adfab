import math
from contextlib import nullcontext

import pytest
import torch
from timm.optim import list_optimizers

from klas.deploy.training.optimisation import make_optimiser, make_schedule
from klas.errors import StudyError
from klas.recipe import TrainingSpec
from tests.deploy.elastics import elastic
from tests.deploy.training.trainings import PLAIN, VITS

RECIPE = PLAIN.model_copy(update={"steps": 100, "lr": 0.1, "warmup": 0.1, "warmup_lr": 0.01})


@pytest.fixture(scope="module")
def network():
    return elastic(VITS).requires_grad_(True)


def test_every_parameter_is_trained_once_and_layers_three_times_as_fast(network):
    anchors, layers = network.parameter_groups()
    groups = make_optimiser(network, RECIPE).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates)
    assert rates.keys() == {id(p) for p in network.parameters()}
    assert {rates[id(p)] for p in anchors} == {0.1}
    assert [rates[id(p)] for p in layers] == pytest.approx([0.3] * len(layers))


def test_biases_norms_and_what_timm_exempts_have_no_weight_decay(network):
    groups = make_optimiser(network, RECIPE).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        exempt = parameter.ndim < 2 or name.endswith(("pos_embed", "cls_token"))
        assert decay[id(parameter)] == (0.0 if exempt else 0.05), name
    assert any(name.endswith("pos_embed") for name, _ in network.named_parameters())


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine(network):
    recipe = RECIPE.model_copy(update={"min_lr": 0.001})
    optimiser = make_optimiser(network, recipe)
    rate = make_schedule(optimiser, recipe)
    for step in (0, 5, 9, 10, 50, 99):
        rate(step)
        for group, peak in zip(optimiser.param_groups, (0.1, 0.1, 0.3, 0.3)):
            expected = (
                0.01 + step * (peak - 0.01) / 10
                if step < 10
                else 0.001 + (peak - 0.001) * (1 + math.cos(math.pi * step / 100)) / 2
            )
            assert group["lr"] == pytest.approx(expected)


@pytest.mark.parametrize("sched", ["cosine", "tanh", "wsd", "constant"])
def test_every_schedule_begins_low_and_stays_positive(network, sched):
    recipe = RECIPE.model_copy(update={"sched": sched})
    optimiser = make_optimiser(network, recipe)
    rate = make_schedule(optimiser, recipe)
    rates = []
    for step in range(recipe.steps):
        rate(step)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert min(rates) > 0
    assert (rates[-1] < 0.02) == (sched != "constant")


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("sched", ["cosine", "tanh", "wsd", "constant"])
def test_few_steps_have_a_schedule_or_are_refused(network, sched, steps):
    recipe = TrainingSpec(steps=steps, sched=sched)
    optimiser = make_optimiser(network, recipe)
    refused = sched == "wsd" and steps < 3  # its last fifth is not one step
    with pytest.raises(StudyError, match=f"'wsd' with {steps}") if refused else nullcontext():
        rate = make_schedule(optimiser, recipe)
        for step in range(steps):
            rate(step)
            assert optimiser.param_groups[0]["lr"] > 0


@pytest.mark.parametrize(("opt", "words"), [("adamwx", "adamw"), ("kron", "is no optimiser")])
def test_an_optimiser_that_cannot_be_used_is_refused(network, opt, words):
    with pytest.raises(StudyError, match=rf"\[training\] opt = '{opt}': .*{words}"):
        make_optimiser(network, RECIPE.model_copy(update={"opt": opt}))


@pytest.mark.parametrize("opt", list_optimizers())
def test_every_optimiser_of_timms_is_made_or_refused_in_a_sentence(network, opt):
    recipe = RECIPE.model_copy(update={"opt": opt})
    if opt.startswith(("bnb", "fused", "kron", "adahessian")):  # need a GPU, or another loop
        with pytest.raises(StudyError) as caught:
            make_optimiser(network, recipe)
        assert "\n" not in str(caught.value)
    else:
        assert isinstance(make_optimiser(network, recipe), torch.optim.Optimizer)
