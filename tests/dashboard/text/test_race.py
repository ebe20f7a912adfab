from dashboard.text.race import RACE_HELP, standing
from klas.selection.race import RUNGS

FIRST = {"1-1": 0.5, "1-2": 0.25, "2-1": 0.75}


def race(left, accuracy=None):
    rungs = [{"step": 1_250, "accuracy": FIRST}]
    return {"rungs": rungs, "left": left, "accuracy": accuracy, "steps": 5_000}


def test_it_says_how_many_started_and_how_many_are_left():
    assert standing(race(["1-1", "2-1"])) == (
        "3 stitches started; 2 are left after the rung at step 1,250."
    )
    assert standing(race(["2-1"], {"2-1": 0.9})) == "3 stitches started, 1 was kept."


def test_a_race_without_a_contest_says_so():
    assert standing(race([*FIRST], FIRST)) == (
        "No bucket had two stitches to race, so all 3 that started were kept."
    )


def test_the_help_names_every_rung():
    assert [rung.share for rung in RUNGS] == [1 / 4, 1 / 2]
    assert "After a quarter and half of the steps" in RACE_HELP
