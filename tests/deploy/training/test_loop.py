import csv

import pytest
import torch
from safetensors.torch import load_file

from klas.deploy.training.log import LOG, read_log
from klas.deploy.training.loop import CHECKPOINT, train
from klas.errors import DataError, DivergedError, KlasError
from tests.deploy.elastics import TINY, elastic
from tests.deploy.training.trainings import (
    PLAIN,
    RICH,
    VITS,
    WITH_CONVNET,
    KilledError,
    Pictures,
    differ,
    prepared,
    trained,
    without_key_biases,
)

EVERY_STEP = {"checkpoint_seconds": 0.0}


@torch.no_grad()
def by_hand(recipe):
    """Each step through the one network, with an optimiser of torch's and timm's cosine."""
    network = elastic(VITS)
    training = prepared(network, recipe, None)
    plan, images = training.images.plan, training.images
    anchors, layers = network.parameter_groups()
    groups = [
        {"params": [p], "peak": peak, "weight_decay": 0.05 * (p.ndim > 1 and p.shape[0] != 1)}
        for parameters, peak in ((anchors, recipe.lr), (layers, 3 * recipe.lr))
        for p in parameters
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0)
    warm = round(recipe.warmup * recipe.steps)
    network.train()
    for step in range(recipe.steps):
        ((views, labels),) = images[step]
        member = plan.member(step)
        viewer = network.viewer(member)
        transform = network.anchors[viewer].info.transform
        pixels = (views[viewer].float() / 255 - transform.mean[0]) / transform.std[0]
        with torch.enable_grad():
            outputs = network.use(member)(pixels)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(outputs, labels).backward()
        turn = torch.cos(torch.tensor(torch.pi * step / recipe.steps)).item()
        for group in optimizer.param_groups:
            rising = recipe.warmup_lr + step * (group["peak"] - recipe.warmup_lr) / max(warm, 1)
            group["lr"] = rising if step < warm else group["peak"] * (1 + turn) / 2
        torch.nn.utils.clip_grad_norm_([*anchors, *layers], recipe.clip)
        optimizer.step()
    return {name: value.detach() for name, value in network.named_parameters()}


def test_it_is_the_plain_loop_that_anyone_would_write(tmp_path):
    after = trained(PLAIN, tmp_path)
    assert differ(*map(without_key_biases, (after, by_hand(PLAIN)))) < 1e-5
    before = {name: value.detach() for name, value in elastic(VITS).named_parameters()}
    assert differ(after, before) > 1e-4


@pytest.mark.parametrize("recipe", [PLAIN, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("until", [1, 4, 6])
def test_killed_at_any_step_it_goes_on_to_the_same_weights(tmp_path, recipe, until):
    recipe = recipe.model_copy(update=EVERY_STEP)
    straight = trained(recipe, tmp_path)
    (interrupted := tmp_path / "again").mkdir()
    with pytest.raises(KilledError):
        trained(recipe, interrupted, until=until)
    assert differ(trained(recipe, interrupted), straight) == 0
    rows = [(row["step"], row["member"], row["loss"]) for row in read_log(tmp_path / LOG)]
    again = [(row["step"], row["member"], row["loss"]) for row in read_log(interrupted / LOG)]
    assert again == rows
    assert [int(step) for step, _, _ in rows] == list(range(1, 7))


def test_killed_between_checkpoints_it_repeats_what_came_after(tmp_path):
    straight = trained(RICH, tmp_path)
    (tmp_path / "again").mkdir()
    with pytest.raises(KilledError):
        trained(RICH, tmp_path / "again", until=4)
    assert not (tmp_path / "again" / CHECKPOINT).exists()
    assert differ(trained(RICH, tmp_path / "again"), straight) == 0


@pytest.mark.parametrize("recipe", [PLAIN, RICH], ids=["plain", "rich"])
def test_a_batch_in_parts_gives_the_weights_of_the_whole(tmp_path, recipe):
    whole = trained(recipe, tmp_path)
    parts = (
        trained(recipe.model_copy(update={"accumulate": 2}), tmp_path / "parts")
        if ((tmp_path / "parts").mkdir() is None)
        else None
    )
    assert differ(*map(without_key_biases, (whole, parts))) < 1e-5


def test_every_recipe_gives_other_weights(tmp_path):
    """What a recipe says is done: one that changed nothing would not be."""
    changes = [
        {},
        {"lr": 2e-3},
        {"stitch_lr": 1.0},
        {"opt": "lamb"},
        {"weight_decay": 0.5},
        {"sched": "constant"},
        {"warmup": 0.5},
        {"clip": 0.1},
        {"precision": "float32", "smoothing": 0.1},
        {"mixup": 0.8},
        {"cutmix": 1.0},
        {"aa": "rand-m9"},
        {"color_jitter": 0.4},
        {"scale": (0.2, 0.5)},
        {"ratio": (0.5, 0.6), "scale": (0.2, 0.5)},
        {"hflip": 1.0},
        {"reprob": 1.0},
        {"ema_decay": 0.5},
        {"distillation": "hard"},
        {"distillation": "soft"},
        {"distillation": "soft", "temperature": 4.0},
        {"distillation": "soft", "distillation_weight": 0.9},
        {"seed": 1},
    ]
    seen = []
    for number, change in enumerate(changes):
        (folder := tmp_path / str(number)).mkdir()
        recipe = PLAIN.model_copy(update={"steps": 3, **change})
        seen.append(trained(recipe, folder, {(TINY, "digits_vit_small"): [(2, 3)]}))
    for number, one in enumerate(seen):
        for other in seen[:number]:
            assert differ(one, other) > 0, changes[number]


def test_the_log_is_a_table_of_steps_and_measurements(tmp_path):
    network = elastic(VITS)
    recipe = PLAIN.model_copy(update={"validate_every": 4, "log_every": 2})
    train(
        network,
        prepared(network, recipe, tmp_path),
        validate=lambda kept: {TINY: 0.25},
        tick=lambda n: None,
    )
    rows = list(csv.DictReader((tmp_path / LOG).read_text().splitlines()))
    assert [(row["step"], row["accuracy"]) for row in rows] == [
        ("2", ""), ("4", ""), ("4", "0.25"), ("6", ""),
    ]  # fmt: skip
    assert all(float(row["loss"]) > 0 and float(row["lr"]) > 0 for row in rows if row["loss"])


def test_measuring_on_the_way_changes_no_weight(tmp_path):
    straight = trained(PLAIN, tmp_path, WITH_CONVNET)
    network = elastic(WITH_CONVNET)
    (tmp_path / "measured").mkdir()
    recipe = PLAIN.model_copy(update={"validate_every": 2})
    pictures = torch.randn(4, 1, 16, 16)

    def validate(kept):
        kept.eval()
        kept.calibrate(lambda name: [(pictures,)])
        return {m.name: float(kept.use(m.name)(pictures).sum() > 0) for m in kept.members}

    kept = train(
        network,
        prepared(network, recipe, tmp_path / "measured"),
        validate=validate,
        tick=lambda n: None,
    )
    after = {name: value.detach() for name, value in kept.named_parameters()}
    assert differ(after, straight) == 0


def test_a_diverging_run_names_step_and_member_and_keeps_the_last_good_checkpoint(tmp_path):
    recipe = PLAIN.model_copy(update={"steps": 30, "lr": 1e18, "clip": 0.0} | EVERY_STEP)
    with pytest.raises(DivergedError) as caught:
        trained(recipe, tmp_path)
    words = str(caught.value)
    assert "diverged at step" in words
    assert "member digits_vit" in words
    assert "[training] lr" in words
    assert f"the last checkpoint is kept in {tmp_path / CHECKPOINT}" in words
    kept = load_file(tmp_path / CHECKPOINT)
    assert all(bool(torch.isfinite(v).all()) for n, v in kept.items() if "module/" in n)


def test_a_batch_that_does_not_fit_says_so(tmp_path, monkeypatch):
    def too_much(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("klas.deploy.training.loop.normalised", too_much)
    with pytest.raises(KlasError, match=r"8 images at once; lower \[training\] batch, or raise"):
        trained(PLAIN, tmp_path)


def test_an_image_that_cannot_be_augmented_is_named(tmp_path):
    class Odd(Pictures):
        def image(self, index):
            return "no picture"

    with pytest.raises(DataError, match=r"picture \d+: cannot be augmented"):
        trained(PLAIN, tmp_path, images=Odd())
