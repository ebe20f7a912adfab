import pytest
import torch

from klas.errors import DivergedError
from klas.measures.steps import descend


def line(weight):
    """Least squares of one weight by plain gradient descent, for which everything is closed."""
    weight = torch.nn.Parameter(torch.tensor([float(weight)]))
    return weight, torch.optim.SGD([weight], lr=0.0)


def take(weight, optimizer, batches, losses, *, clip=0.0, rate=0.1, **more):
    def set_rate(step):
        optimizer.param_groups[0]["lr"] = rate / (step + 1)

    return descend(
        optimizer,
        batches,
        losses,
        first=0,
        last=len(batches),
        rate=set_rate,
        clip=clip,
        diverged=lambda step: f"step {step} of the test",
        **more,
    )


def test_each_step_goes_down_by_its_own_rate():
    weight, optimizer = line(1.0)
    seen = [
        (loss, weight.item())
        for loss in take(weight, optimizer, [2.0, 3.0], lambda step, x: [(x * weight).sum()])
    ]
    # The slopes are 2 and 3, the rates 0.1 and 0.05.
    assert seen == [pytest.approx((2.0, 0.8)), pytest.approx((2.4, 0.65))]


def test_parts_of_a_loss_add_up_to_the_whole():
    weight, optimizer = line(1.0)
    (loss,) = take(weight, optimizer, [1], lambda step, _: (k * weight.sum() for k in (1, 2, 4)))
    assert loss == pytest.approx(7)
    assert weight.item() == pytest.approx(1 - 0.1 * 7)


@pytest.mark.parametrize(("clip", "moved"), [(0.0, 0.7), (0.5, 0.05), (50.0, 0.7)])
def test_a_gradient_is_cut_to_its_greatest_norm(clip, moved):
    weight, optimizer = line(1.0)
    list(take(weight, optimizer, [1], lambda step, _: [7 * weight.sum()], clip=clip))
    assert weight.item() == pytest.approx(1 - moved, abs=1e-5)


def test_a_loss_that_is_no_number_ends_it_and_leaves_the_weights():
    weight, optimizer = line(1.0)
    steps = take(
        weight, optimizer, [1.0, 1.0, 1.0], lambda step, x: [weight.sum() / (step != 1) * x]
    )
    assert next(steps) == pytest.approx(1)
    before = weight.item()
    with pytest.raises(DivergedError, match="step 1 of the test"):
        next(steps)
    assert weight.item() == before


def test_what_processes_share_is_what_counts():
    """Here another process has a loss of 3 and a slope of 5."""
    weight, optimizer = line(1.0)

    def share(parameters, loss):
        parameters[0].grad.add_(5).div_(2)
        return (loss + 3) / 2

    (loss,) = take(weight, optimizer, [1], lambda step, _: [weight.sum()], share=share)
    assert loss == pytest.approx(2)
    assert weight.item() == pytest.approx(1 - 0.1 * 3)
