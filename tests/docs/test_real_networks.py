"""What docs/real_networks measures with: its splits, its training, its readings and verdicts."""

import io
import re
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata

from docs.real_networks import adapt as adapting
from docs.real_networks import page
from docs.real_networks.adapt import adapt, augmented
from docs.real_networks.forecast import MODELS, Measured, foretell, shown_rows, single_scores
from docs.real_networks.parts import alone_stitches
from docs.real_networks.readings import READINGS, Oracle, judge, left_out
from docs.real_networks.splits import halve
from klas.data import open_images
from klas.networks.checkpoint import read_checkpoint
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.study import AnchorSpec
from tests.conftest import SMALL

NET = """
from torch import nn

class Net(nn.Sequential):
    pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3}

def net():
    return Net(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
               nn.Flatten(), nn.Linear(4, 2))
"""


@pytest.fixture
def archive(tmp_path):
    """Bright and dark images, twenty of each, as a tar of class folders."""
    path = tmp_path / "images.tar"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for label, level in (("bright", 180), ("dark", 40)):
            for number in range(20):
                noise = rng.integers(0, 60, (32, 32, 3))
                out = io.BytesIO()
                Image.fromarray((level + noise).astype(np.uint8)).save(out, "png")
                info = tarfile.TarInfo(f"{label}/{number:02}.png")
                info.size = out.tell()
                out.seek(0)
                tar.addfile(info, out)
    return path


def test_halves_share_nothing_and_have_equal_classes(archive, tmp_path):
    halves = halve(archive, tmp_path / "halves")
    names = []
    for path in halves.values():
        images = open_images(str(path))
        assert np.bincount(images.labels).tolist() == [10, 10]
        names.append({images.where(row).rpartition(".tar")[2] for row in range(20)})
    assert not names[0] & names[1]
    before = {path: path.stat().st_mtime_ns for path in halves.values()}
    assert halve(archive, tmp_path / "halves") == halves
    assert {path: path.stat().st_mtime_ns for path in halves.values()} == before


def test_an_adapted_network_knows_the_images_and_a_stopped_training_ends_the_same(
    archive, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "adapted_net.py").write_text(NET)
    for name, value in (("EPOCHS", 30), ("BATCH", 8), ("CHECKPOINT_EVERY", 40)):
        monkeypatch.setattr(adapting, name, value)
    torch.manual_seed(0)
    from adapted_net import net

    torch.save(net().state_dict(), tmp_path / "published.pth")
    anchor = AnchorSpec(
        name="net", model="adapted_net:net", weights=str(tmp_path / "published.pth")
    )
    steps = []
    adapt(anchor, str(archive), tmp_path / "whole.safetensors", steps.append)
    assert sum(steps) == adapting.steps_of(40) == 150

    def stop(step, done=[0]):  # noqa: B006 - kept between calls
        done[0] += step
        if done[0] == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(anchor, str(archive), tmp_path / "again.safetensors", stop)
    resumed = []
    adapt(anchor, str(archive), tmp_path / "again.safetensors", resumed.append)
    assert resumed[0] == 80  # the last checkpoint
    states = [
        read_checkpoint(tmp_path / f"{name}.safetensors", "net")[0] for name in ("whole", "again")
    ]
    assert all(torch.equal(states[0][entry], states[1][entry]) for entry in states[0])
    assert not [*tmp_path.glob("*.checkpoint")]
    network = net()
    network.load_state_dict(states[0])
    images = open_images(str(archive))
    pixels = np.stack([np.asarray(images.image(row)) for row in range(40)])
    guess = network.eval()(adapting.normalised(pixels, network)).argmax(1).numpy()
    assert (guess == images.labels).mean() > 0.9


def test_augmented_images_are_shifted_and_flipped_ones():
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8) + 1
    views = augmented(images, np.random.default_rng(1))
    assert views.shape == images.shape
    for image, view in zip(images, views):
        possible = [
            torch.nn.functional.pad(flipped, [4] * 4)[:, y : y + 8, x : x + 8]
            for flipped in (image, image.flip(-1))
            for y in range(9)
            for x in range(9)
        ]
        assert any(torch.equal(view, other) for other in possible)


@pytest.fixture
def pairs(computed):
    return pairs_of(computed[1])


def oracle(pair):
    bucket = choose(pair, SMALL.selection).bucket
    return Oracle(name=pair.name, pair=pair, accuracy=pair.accuracy("tuned"), bucket=bucket)


@pytest.mark.parametrize("name", READINGS)
def test_a_reading_gives_every_candidate_of_the_space_a_number(pairs, name):
    for pair in pairs:
        assert not np.isnan(READINGS[name](pair)[pair.in_space]).any()


def test_readings_are_what_their_names_say(pairs):
    for pair in pairs:
        theta, own = np.array(pair.raw["theta"]), np.array(pair.raw["theta_target"])
        inside = pair.in_space
        for row in np.flatnonzero(inside):
            i, j = pair.stitches[row]
            assert READINGS["Ω / Θ(P_j, P_n)"](pair)[row] == theta[i, j] / own[j, -1]
            assert READINGS["Ωₙ = Θ(P_i, P_n)"](pair)[row] == theta[i, -1]
        ranks = [rankdata(pair.scores(m)[inside]) for m in ("theta", "cka")]
        assert (READINGS["ranks of Ω and CKA"](pair)[inside] == np.mean(ranks, axis=0)).all()


def test_a_score_that_is_the_oracle_loses_nothing_and_its_opposite_the_most(pairs):
    for pair in pairs:
        best, worst = (judge(sign * pair.accuracy("tuned"), oracle(pair)) for sign in (-1, 1))
        assert best.hits == best.buckets
        assert best.lost == 0
        bucket, accuracy = oracle(pair).bucket, pair.accuracy("tuned")
        spans = [
            np.ptp(accuracy[bucket == b])
            for b in np.unique(bucket[bucket >= 0])
            if (bucket == b).sum() > 1
        ]
        if spans:
            assert worst.lost == pytest.approx(100 * np.mean(spans))


def test_what_the_oracle_does_not_know_takes_no_part(pairs):
    pair = max(pairs, key=lambda pair: pair.in_space.sum())
    whole = oracle(pair)
    known = np.arange(len(pair.macs)) % 2 == 0
    half = whole._replace(accuracy=np.where(known, whole.accuracy, np.nan))
    rigged = np.where(known, pair.scores("kl"), -1.0)  # wonderful where nobody looks
    assert judge(rigged, half) == judge(pair.scores("kl"), half)


def test_a_reading_is_chosen_without_the_pair_that_it_is_judged_on():
    losses = {"a": [9.0, 0.0, 0.0], "b": [1.0, 1.0, 1.0]}
    assert left_out(losses) == [("a", 9.0), ("b", 1.0), ("b", 1.0)]


def test_stitches_to_train_alone_are_spread_over_cost_and_score(pairs):
    for pair in pairs:
        taken = alone_stitches(pair)
        low, high = (a["macs"] for a in pair.cheap_and_costly)
        between = {
            tuple(place)
            for place, macs, inside in zip(pair.stitches.tolist(), pair.macs, pair.in_space)
            if inside and low <= macs <= high
        }
        assert set(taken) <= between
        assert len(set(taken)) == len(taken) == min(60, len(between))


@pytest.mark.parametrize("model", MODELS)
def test_a_forecast_finds_what_follows_from_the_features(pairs, model):
    """Accuracies that are a line in the cost are foretold, and the pair's own ones are not used."""
    measured = []
    for pair in pairs:
        low, high = (a["macs"] for a in pair.cheap_and_costly)
        cheap, costly = (a["accuracy"] for a in pair.cheap_and_costly)
        share = (pair.macs - low) / (high - low)
        measured.append(Measured("zoo", pair, cheap + share * (costly - cheap)))
    own = max(measured, key=lambda m: m.known.sum())
    others = [m for m in measured if m is not own]
    for count in (0, 5):
        shown = shown_rows(own, count)
        assert len(shown) == count
        foretold = foretell(MODELS[model], others, own, shown)
        assert foretold.rho > 0.9
    spoilt = own._replace(accuracy=own.accuracy[::-1].copy())
    assert foretell(MODELS[model], others, spoilt, shown_rows(own, 0)).rho < 0.9
    assert single_scores(own, shown_rows(own, 0))["cost"] == pytest.approx(1)


def test_a_forecast_from_three_measurements_is_refused(pairs):
    pair = pairs[0]
    own = Measured("zoo", pair, pair.accuracy("tuned"))
    with pytest.raises(ValueError, match="3 measurements: a forecast needs 4 or more"):
        foretell(MODELS["ridge regression"], [], own, shown_rows(own, 3))


# -- the page ----------------------------------------------------------------------------------


def rows_of(text, number=0):
    """A table of a section: a dictionary for each row, by the head's cells and their places."""
    tables = [
        [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.M)
    ]
    head, _, *rows = tables[number]
    return head, rows


def test_the_table_of_readings_says_what_the_judge_said(pairs, computed):
    oracles = page.oracles_of("digits", computed[1], SMALL)
    assert [o.pair.name for o in oracles] == [pair.name for pair in pairs]
    strong = oracles[-1]._replace(name="strong")
    text = page.readings_section(oracles, strong)
    head, rows = rows_of(text)
    assert [row[0] for row in rows] == list(READINGS)
    assert head[1:] == [
        "digits: hits", "ρ within", "points lost", "strong: hits", "ρ within", "points lost",
    ]  # fmt: skip
    for row in rows:
        judged = [judge(READINGS[row[0]](o.pair), o) for o in oracles]
        hits, buckets = sum(j.hits for j in judged), sum(j.buckets for j in judged)
        assert row[1] == f"{hits:.0f} of {buckets}"
        assert row[3] == f"{np.nanmean([j.lost for j in judged]):.1f}"
        last = judge(READINGS[row[0]](strong.pair), strong)
        assert row[4] == f"{last.hits:.0f} of {last.buckets}"
    _, out = rows_of(text, 1)
    assert [row[0] for row in out] == [o.name for o in oracles]


def test_gammas_misses_are_counted(pairs, computed):
    oracles = page.oracles_of("digits", computed[1], SMALL)
    _, rows = rows_of(page.misses_section(oracles, oracles[0]))
    by_name = {row[0]: row for row in rows[:-1]}
    for oracle in oracles:
        judged = judge(oracle.pair.scores("kl"), oracle)
        missed = judged.buckets - judged.hits
        assert (int(by_name[oracle.name][1]) if oracle.name in by_name else 0) == missed
