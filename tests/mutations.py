"""Files as a damaged disk or a stranger might hand them over: strategies for hypothesis."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = [pytest.param(200, id="200"), pytest.param(10_000, id="10000", marks=pytest.mark.soak)]
FEW_CASES = [pytest.param(30, id="30"), pytest.param(1_000, id="1000", marks=pytest.mark.soak)]
"""For what takes seconds where it is not refused at once."""


def tried(cases, strategy, check):
    """Run a check on so many drawn cases: always the same few, or new ones in the long version."""

    @settings(
        max_examples=cases,
        derandomize=cases < 1_000,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(case):
        check(case)

    each()


@st.composite
def damaged(draw, whole: bytes):
    """A file some of whose bytes are changed, gone or too many, or whose end is."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("set", "set", "digit", "cut", "insert", "repeat", "end"))):
            case "set":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "digit":  # a number in text goes on being one
                data[at : at + 1] = draw(st.sampled_from((b"0", b"7", b"9", b"-", b".")))
            case "cut":
                del data[at : at + draw(st.integers(1, 600))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 600))]
            case "end":
                del data[at:]
    return bytes(data)


_ODD = (
    None, True, False, 0, -1, 1, 0.5, 2**31, 2**63, 10**400, -(10**30), 1e308, float("nan"),
    float("inf"), "", "x", "a.b:c", "../../x", "/etc/passwd", "\0", "\n", "\ud800", "\x1b[31m",
    "é" * 300, [], {}, [[]], [None], [1, 2], [0.5] * 3, {"a": 1}, {"": {}}, [["x", "y"]],
)  # fmt: skip


def odd_values():
    """What a value of a document should not be."""
    nested = st.integers(1, 300).map(lambda n: _nested(n))
    return st.sampled_from(_ODD) | st.integers() | st.floats() | st.text(max_size=8) | nested


@st.composite
def distorted(draw, document: Any):
    """A document some of whose values are others, gone, twice there, or have others beside them."""
    made = {"": copy.deepcopy(document)}
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(made))))
        match draw(st.sampled_from(("replace", "replace", "remove", "add", "twice"))):
            case "remove" if holder is not made:
                del holder[key]
            case "twice" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case "add" if isinstance(holder, dict) and holder is not made:
                holder[draw(st.sampled_from(("", "x", "format", "file")))] = draw(odd_values())
            case _:
                holder[key] = draw(odd_values())
    return made[""]


def _places(value: Any):
    """Every place of a document: what holds the value, and where in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, content in list(inner):
        yield value, key
        if isinstance(content, dict | list):
            yield from _places(content)


def _nested(depth: int) -> Any:
    value: Any = 1
    for k in range(depth):
        value = [value] if k % 2 else {"a": value}
    return value
