"""Studies of one name, told apart."""

from dashboard.text.study_titles import counted, titles
from klas.results.usage import Known, StudyUsage
from klas.study import change
from tests.conftest import SMALL


def study_usage(name, study):
    return StudyUsage(
        known=Known(name=name, study=study, origin="results"),
        results=1,
        bytes=1,
        freeable=1,
        shared_with=(),
        stages={},
        done={},
        trainings=0,
        changed=None,
    )


def test_only_a_name_that_comes_again_says_what_differs():
    seeded = change(SMALL, "tuning", seed=1)
    fewer = SMALL.model_copy(update={"anchors": SMALL.anchors[:2]})
    many = change(change(SMALL, "tuning", seed=2, steps=9), "fit", samples=7)
    studies = [("a", SMALL), ("b", seeded), ("a", seeded), ("a", fewer), ("a", many), ("c", None)]
    assert titles([study_usage(*each) for each in studies]) == [
        "a",
        "b",
        "a (tuning.seed = 1)",
        "a (other anchors)",
        "a (fit.samples = 7, tuning.steps = 9, …)",
        "c",
    ]


def test_no_two_titles_are_alike():
    many = change(change(SMALL, "tuning", steps=9), "fit", samples=7)
    studies = [SMALL, *(change(many, "tuning", seed=seed) for seed in range(3))]
    actual = titles([study_usage("a", study) for study in studies])
    assert len(set(actual)) == 4
    assert actual[1] == "a (fit.samples = 7, tuning.steps = 9)"
    assert all(t.endswith(s.results_key()[:6]) for t, s in zip(actual[2:], studies[2:]))


def test_a_list_says_a_name_once():
    assert counted(["a", "b", "a"]) == "2 others named a, b"
    assert counted([]) == ""
