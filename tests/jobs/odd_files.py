"""What strangers, newer versions and broken disks may leave in a file, for hypothesis."""

import json

from hypothesis import strategies as st

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 2**31, 2**63, 10**400])
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=5),  # half a surrogate pair too
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def odd(document):
    """Bytes of a file that was once this document: one value changed, one key gone, or anything."""
    keys = st.sampled_from(sorted(document))
    changed = st.builds(lambda key, value: document | {key: value}, keys, JSON)
    lacking = keys.map(lambda gone: {key: v for key, v in document.items() if key != gone})
    deep = st.just(b"[" * 100_000)
    return (changed | lacking | JSON).map(lambda x: json.dumps(x).encode()) | st.binary() | deep
