"""The harness of the benchmarks: turns, ratios, what counts as reached, and the exit status."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.harness import (
    Claim,
    NotMeasuredError,
    Row,
    Sides,
    at_most,
    faster,
    measured,
    within,
)

CPU = torch.device("cpu")
FOLDER = Path(command.__file__).parent


def row(ours, reach, others=(), **settings):
    """A row whose sides take given times, one a round."""
    turns = []

    def side(name, values):
        left = iter(values)

        def measure():
            turns.append(name)
            return next(left)

        return measure

    claims = settings.pop("claims", [])

    def sides(device):
        yield Sides(
            ours=side("ours", ours),
            others={name: side(name, values) for name, values in dict(others).items()},
            claims=lambda: claims,
        )
        turns.append("cleaned up")

    settings = {"rounds": len(ours), "warm_up": False, "sizes": {"cpu": {}}} | settings
    return Row(name="one", what="ours", reach=reach, sides=sides, **settings), turns


def test_a_ratio_is_taken_within_a_round_and_its_median_counts():
    made, _ = row([1, 10, 2], {"slow": faster(3)}, {"slow": [4, 20, 6]})  # 4, 2 and 3 times
    [compared] = measured(made, CPU).comparisons
    assert (compared.lowest, compared.median, compared.highest) == (2, 3, 4)
    assert (compared.ours, compared.other, compared.met) == (2, 6, True)


@pytest.mark.parametrize(
    ("reach", "met"),
    [
        (faster(2), True),
        (faster(2.1), False),
        (within(0.5), True),
        (within(0.4), False),
        (at_most(3), True),
        (at_most(2.9), False),
        (faster(), True),
    ],
)
def test_what_is_reached(reach, met):
    made, _ = row([3.0], {"other": reach}, {"other": [6.0]})
    assert measured(made, CPU).met == met


def test_sides_take_turns_in_alternating_order_and_clean_up():
    made, turns = row([1, 1, 1], {"a": within()}, {"a": [1, 1, 1]}, rounds=2, warm_up=True)
    measured(made, CPU)
    assert turns == ["a", "ours", "ours", "a", "a", "ours", "cleaned up"]


def test_the_warm_up_is_not_counted():
    made, _ = row([100, 1], {"": at_most(1)}, rounds=1, warm_up=True)
    [compared] = measured(made, CPU).comparisons
    assert (compared.ours, compared.other, compared.met) == (1, None, True)


def test_a_claim_that_does_not_hold_is_a_miss():
    made, _ = row([1.0], {"": at_most(2)}, claims=[Claim("error", 2e-5, 1e-5)])
    assert not measured(made, CPU).met


def test_a_row_that_cannot_run_says_why_and_misses_nothing():
    def sides(device):
        raise NotMeasuredError("nothing is installed")
        yield

    made, _ = row([1.0], {"": at_most(2)})
    refused = Row(name="x", what="x", reach={}, sides=sides, sizes={"cpu": {}})
    assert measured(refused, CPU).reason == "nothing is installed"
    assert measured(refused, CPU).met
    assert measured(made, torch.device("cuda")).reason == "has no sizes for cuda"


@pytest.mark.parametrize(("limit", "status"), [(3.0, 0), (2.0, 1)])
def test_the_command_prints_writes_and_ends_with_1_at_a_miss(
    monkeypatch, tmp_path, capsys, limit, status
):
    made, _ = row([3.0], {"": at_most(limit)})
    monkeypatch.setattr(command, "ROWS", {"one": made})
    out = tmp_path / "new" / "figures.json"
    assert command.main(["one", "--out", str(out)]) == status
    assert ("MISSED" in capsys.readouterr().out) == bool(status)
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["versions"]["torch"] == torch.__version__
    assert document["rows"][0]["comparisons"][0]["met"] == (not status)


def test_every_row_says_what_it_is_and_has_sizes():
    for name, made in command.ROWS.items():
        assert made.name == name
        assert made.what
        assert set(made.sizes) <= {"cpu", "cuda"}
        assert made.sizes


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["nothing"])
    assert ended.value.code == 2
    assert "there is no row 'nothing'" in capsys.readouterr().err


def test_the_readme_shows_the_committed_results_and_no_others():
    committed = json.loads((FOLDER / "results" / "cpu.json").read_text(encoding="utf-8"))
    expected = []
    for entry in committed["rows"]:
        for comparison in entry["comparisons"]:
            ratio, alone = comparison["ratio"], comparison["baseline"] is None
            numbers = [comparison["ours"]] if alone else [ratio["median"]]
            if entry["rounds"] > 1 and not alone:
                numbers += [ratio["lowest"], ratio["highest"]]
            expected.append((entry["row"], [f"{n:.3g}" for n in numbers], comparison["met"]))
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = []
    for name, against, ratio, reach in re.findall(
        r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, flags=re.M
    ):
        numbers = re.findall(r"[0-9.]+(?:e-?[0-9]+)?", ratio)
        if against == "–":
            numbers = numbers[:1]
        shown.append((name, numbers, "missed" not in reach))
    assert shown == expected
