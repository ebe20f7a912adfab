"""The address of a view, as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dashboard.session import address as links
from dashboard.text.quantities import SHOWN
from klas.study import DIGITS, METRICS, SETS, TIERS, change

SCORED = [metric for metric in METRICS if metric not in SETS]
NAMES = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
BLOCKS = some.integers(0, 99)
ENTRIES = some.tuples(NAMES, NAMES, BLOCKS, BLOCKS)
CHOICES = some.fixed_dictionaries(
    {},
    optional={
        "tau": some.integers(0, 10**6).map(lambda n: n / 1000),
        "tau_mode": some.sampled_from(["relative", "absolute"]),
        "buckets": some.integers(1, 1000),
        "binning": some.sampled_from(["width", "count"]),
        "metric": some.sampled_from(SCORED),
        "tier": some.sampled_from(TIERS),
        "show": some.sampled_from(SHOWN[1:]),
        "pair": some.text(min_size=1),
        "cell": some.tuples(some.integers(0, 99), some.integers(0, 99)),
        "list": some.lists(ENTRIES, min_size=1, max_size=20, unique=True).map(tuple),
    },
)
HOSTILE = [
    ("tau", "abc"),
    ("tau", ""),
    ("tau", "-1"),
    ("tau", "1e999"),
    ("tau", "nan"),
    ("tau", "9" * 5000),
    ("tau", "[[["),
    ("tau_mode", "sideways"),
    ("tau_mode", "1"),
    ("buckets", "-3"),
    ("buckets", "0"),
    ("buckets", "1001"),
    ("buckets", "2.5"),
    ("buckets", "9" * 4000),
    ("buckets", "\N{ARABIC-INDIC DIGIT ONE}x"),
    ("binning", "<b>"),
    ("metric", "__class__"),
    ("metric", "snnet"),
    ("metric", "race"),
    ("tier", "finetuned'--"),
    ("show", "gamma"),
    ("show", "<img src=x>"),
    ("cell", "3"),
    ("cell", "-3-5"),
    ("cell", "٣-٥"),
    ("cell", "99999999-1"),
    ("list", ""),
    ("list", "a~b"),
    ("list", "a~b:"),
    ("list", "a~b~c:1-2"),
    ("list", "a~b:1-2,"),
    ("list", "a~b:1-2;"),
    ("list", "a~b:-1-2"),
    ("list", "a~b:٣-٥"),
]


@given(CHOICES)
def test_an_address_gives_back_what_it_was_made_of(kept):
    said = links.compose(kept, DIGITS)
    assert all(isinstance(value, str) for value in said.values())
    actual, wrong = links.parse(said, DIGITS)
    assert not wrong
    own = DIGITS.selection.model_dump()
    assert {**own, **actual} == {**own, **kept}


@given(CHOICES)
def test_an_address_leaves_out_what_the_study_says_itself(kept):
    chosen = {k: v for k, v in kept.items() if k in links.SETTINGS}
    own = change(DIGITS, "selection", **chosen)
    assert not set(links.compose(kept, own)) & set(links.SETTINGS)


def test_what_the_map_shows_at_first_is_in_no_address():
    assert links.compose({"show": SHOWN[0]}, DIGITS) == {}


def test_a_list_that_no_address_can_take_stays_out_of_it():
    long = tuple(("source", "target", i, j) for i in range(40) for j in range(40))
    assert links.compose({"list": long}, DIGITS) == {}
    few = links.compose({"list": long[:300]}, DIGITS)
    assert links.parse(few, DIGITS) == ({"list": long[:300]}, [])


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_nonsense_is_a_sentence_and_the_default(name, value):
    actual, wrong = links.parse({name: value}, DIGITS)
    assert actual == {}
    (sentence,) = wrong
    assert sentence.startswith(f"In the address, `{name}={value[:20]}")
    assert len(sentence) < 220


@given(some.dictionaries(some.sampled_from([*links.SETTINGS, "tier", "show", "cell"]), some.text()))
def test_no_address_raises(asked):
    actual, wrong = links.parse(asked, DIGITS)
    assert len(actual) + len(wrong) == len(asked)
    change(DIGITS, "selection", **{k: v for k, v in actual.items() if k in links.SETTINGS})


@given(some.text())
def test_a_strangers_words_stay_inside_their_code(text):
    shown = links.as_code(text)
    assert shown[0] == shown[-1] == "`"
    assert "`" not in shown[1:-1]
    assert "\n" not in shown
