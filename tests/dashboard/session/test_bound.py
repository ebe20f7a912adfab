"""A browser that did not hear a run of a page learns every choice from the next one.

Streamlit drops what a run had to say, as far as it has not left yet, when the next run begins. On
a busy machine that is often the first run of a page.
"""

import copy

import pytest

from klas.results.pair import pairs_of
from klas.study import EngineSpec
from tests.dashboard.reading import follow, heard_late, look, panel, session, widget, widgets


def address(document):
    """One that differs from the study's own in every choice that an address can have."""
    pair = min(pairs_of(document), key=lambda p: p.in_space.sum())
    return {
        "pair": "~".join(pair.names),
        "metric": "mse",
        "tau": "0.8",
        "tau_mode": "absolute",
        "buckets": "3",
        "binning": "count",
        "tier": "zero_shot",
        "show": "omega",
        "cell": "{}-{}".format(*pair.stitches[pair.in_space][0]),
        "cost": "params",
        "rival": "cka",
        "curves": "dm",
        "budget": "12",
    }


def learns_all_from_the_last_run(tester):
    """Whether a browser that heard that one alone shows, and sends, what the session holds."""
    shown = {name: element.value for name, element in widgets(tester).items()}
    said, held = dict(tester.query_params), copy.deepcopy(session(tester))
    late = {state.id: state for state in heard_late(tester).widgets}
    knows = {state.id: state for state in tester._tree.get_widget_states().widgets}
    for name, element in widgets(tester).items():
        assert late[element.id] == knows[element.id], name
    tester._run(heard_late(tester))
    assert not tester.exception
    assert {name: element.value for name, element in widgets(tester).items()} == shown
    assert dict(tester.query_params) == said
    return session(tester).choices == held.choices and session(tester).engine == held.engine


@pytest.mark.parametrize(("page", "names"), [
    ("scores", {"study", "pair", "metric", "show", "cell", "bucket_numbers"}),
    ("stitches", {"tau", "tau_mode", "buckets", "binning", "tier", "cost", "range", "rival",
                  "curves", "budget"}),
    ("compare", {"study", "pair", "tier", "score"}),
    ("my_list", {"study", "by_hand", "picture"}),
])  # fmt: skip
def test_every_run_tells_the_browser_every_choice(app, computed, page, names):
    store, document = computed
    tester = app(store.root, page)
    follow(tester, **address(document))
    session(tester).choices |= {"score": "cka", "bucket_numbers": True, "picture": "svg"}
    tester.run()
    tester.run()  # all that the browser hears
    assert names <= set(widgets(tester))
    assert learns_all_from_the_last_run(tester)


def test_every_run_tells_the_browser_the_engine(app, store):
    tester = app(store.root)
    session(tester).engine = EngineSpec(name="ray", address="head:6379")
    tester.run()
    tester.run()
    assert {"engine", "engine_address"} <= set(widgets(tester))
    assert learns_all_from_the_last_run(tester)


def test_the_open_stitch_stays_open_though_the_first_run_was_not_heard(app, computed):
    store, document = computed
    pair = max(pairs_of(document), key=lambda p: p.in_space.sum())
    assert pair.index != 0  # a browser that knows no better shows the first pair
    i, j = pair.stitches[pair.in_space][0]
    tester = look(app, store.root, "scores", cell=f"{i}-{j}")
    tester.run()
    tester._run(heard_late(tester))
    assert widget(tester, "pair").value == pair.name
    assert panel(tester)[0] == [f"Stitch {i} → {j}"]
    assert tester.query_params == {"cell": f"{i}-{j}"}
