"""The list that a visitor makes: its changes, its undo, its place in the address."""

import numpy as np
from streamlit.testing.v1 import AppTest

from dashboard.model.list_entries import entries_of, picks
from dashboard.session import my_list
from klas.results.pair import pairs_of


def script():
    import streamlit as st

    from dashboard.session import my_list
    from dashboard.session.state import session

    session().study_name = "digits"
    for name, stitches in st.session_state.pop("do", []):
        getattr(my_list, name)(*stitches)
    st.session_state["now"] = my_list.entries(), my_list.can_undo()


def after(tester, *changes):
    tester.session_state["do"] = changes
    tester.run()
    assert not tester.exception
    return tester.session_state["now"]


A, B, C = ("s", "t", 1, 2), ("s", "t", 2, 3), ("s", "u", 1, 1)


def test_changes_and_their_undo(store):
    tester = AppTest.from_function(script)
    assert after(tester) == ((), False)
    assert after(tester, ("add", [[B, A]])) == ((B, A), True)
    assert after(tester, ("add", [[A, C]])) == ((B, A, C), True)
    assert tester.query_params["list"] == "s~t:2-3,1-2;s~u:1-1"
    assert after(tester, ("remove", [[B]])) == ((A, C), True)
    assert after(tester, ("remove", [[B]])) == ((A, C), True)  # nothing to take back of that
    assert after(tester, ("undo", [])) == ((B, A, C), True)
    assert after(tester, ("undo", [])) == ((B, A), True)
    assert after(tester, ("undo", [])) == ((), False)
    assert "list" not in tester.query_params
    assert after(tester, ("change_to", [[C, C]])) == ((C,), True)


def test_only_so_many_changes_are_kept(store):
    tester = AppTest.from_function(script)
    for i in range(my_list.MOST_UNDONE + 5):
        after(tester, ("add", [[("s", "t", i, 1)]]))
    undone = 0
    while after(tester, ("undo", []))[1]:
        undone += 1
    assert undone == my_list.MOST_UNDONE - 1
    assert len(tester.session_state["now"][0]) == 5


def test_entries_and_candidates_are_each_others_inverse(computed):
    _, document = computed
    pairs = pairs_of(document)
    rng = np.random.default_rng(0)
    masks = [rng.random(len(pair.macs)) < 0.4 for pair in pairs]
    masks[1][:] = False
    listed = [e for pair, mask in zip(pairs, masks) for e in entries_of(pair, mask)]
    stranger = ("nobody", pairs[0].names[1], 1, 1)
    actual = picks(document, [stranger, *listed])
    assert [pair.name for pair, _ in actual] == [p.name for p, m in zip(pairs, masks) if m.any()]
    for pair, mask in actual:
        assert (mask == masks[pair.index]).all()
        costs = [
            pair.macs[pair.places(pair.macs > 0).index(e[2:])]
            for e in listed
            if e[:2] == pair.names
        ]
        assert costs == sorted(costs)
