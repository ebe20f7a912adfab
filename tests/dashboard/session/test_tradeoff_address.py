import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.session.tradeoff_address import compose, parse
from klas.results.costs import COSTS
from klas.study import METRICS

amount = st.floats(0, 1e9).map(lambda v: float(f"{v:.6g}"))
views = st.fixed_dictionaries(
    {},
    optional={
        "cost": st.sampled_from(COSTS),
        "rival": st.sampled_from(METRICS),
        "range": st.tuples(amount, amount).map(lambda r: (min(r), max(r))),
        "budget": amount,
        "curves": st.sets(st.sampled_from(METRICS)).map(
            lambda some: tuple(m for m in METRICS if m in some)
        ),
    },
)


@given(views)
def test_a_view_is_read_back_as_it_was_written(view):
    assert parse(compose(view)) == (view, [])


@given(st.dictionaries(st.sampled_from(["cost", "range", "rival", "curves", "budget"]), st.text()))
def test_whatever_a_stranger_writes_is_read_or_refused_by_name(asked):
    actual, wrong = parse(asked)
    assert actual.keys() | dict(wrong).keys() == asked.keys()
    assert not actual.keys() & dict(wrong).keys()


@pytest.mark.parametrize(
    "asked",
    [
        {"cost": "watts"},
        {"range": "3~2"},
        {"range": "3"},
        {"range": "nan~4"},
        {"range": "1~2~3"},
        {"rival": "<b>"},
        {"curves": "kl,cka"},
        {"curves": "kl~everything"},
        {"budget": "-1"},
        {"budget": "inf"},
        {"budget": "١"},
        {"budget": "1e99999"},
        {"budget": "much"},
    ],
)
def test_nonsense_is_refused_with_what_it_should_be(asked):
    actual, wrong = parse(asked)
    assert actual == {}
    assert [name for name, _ in wrong] == list(asked)
    assert wrong[0][1]


def test_what_was_not_chosen_is_not_said():
    assert compose({"tau": 0.3, "pair": "a~b"}) == {}
