"""The store's own records: whatever happens to their bytes, they are right or refused."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klas.storage.records import parsed, seal, unseal

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_a_record_gives_back_what_went_in(value):
    assert unseal(seal(value)) == value


@given(VALUES, st.data())
def test_a_flipped_bit_is_noticed_wherever_it_is(value, data):
    sealed = bytearray(seal(value))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match=r"."):
        unseal(bytes(sealed))


@given(VALUES)
def test_what_an_older_klas_wrote_is_read_as_it_is(value):
    assert unseal(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(data):
    for read in (parsed, unseal):
        with suppress(ValueError):
            read(data)


@pytest.mark.parametrize("odd", [b"[" * 200_000, b"9" * 5000, b"NaN", b"\xff\xfe", b"", b'{"a":'])
def test_what_is_not_json_has_one_kind_of_error(odd):
    with pytest.raises(ValueError, match=r"."):
        parsed(odd)
