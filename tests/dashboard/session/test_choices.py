"""The choices of a session follow its address and write it, through the pages."""

import re

import pytest

from dashboard.controls.heading import ALL_PAIRS
from dashboard.session import address as links
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.storage.saved_studies import save_study
from klas.study import METRICS, SETS, change
from tests.conftest import SMALL
from tests.dashboard.reading import command, follow, look, panel, session, table, widget, widgets

SCORED = [metric for metric in METRICS if metric not in SETS]


def shown(tester):
    """What the widgets of study, pair, score, selection and tier show, as far as there are any."""
    names = ("study", "pair", "metric", "tau", "tau_mode", "buckets", "binning", "tier")
    return {name: w.value for name, w in widgets(tester).items() if name in names}


def test_a_view_opens_again_from_its_address(app, computed):
    store, document = computed
    pair = pairs_of(document)[2]
    tester = app(store.root, "stitches")
    assert tester.query_params == {}  # the study as it is
    widget(tester, "pair").set_value(pair.name).run()
    widget(tester, "metric").set_value("cka").run()
    widget(tester, "tau").set_value(0.37).run()
    widget(tester, "buckets").set_value(3).run()
    widget(tester, "binning").set_value("count").run()
    widget(tester, "tier").set_value("zero_shot").run()
    said = dict(tester.query_params)
    assert said == {
        "pair": "~".join(pair.names),
        "metric": "cka",
        "tau": "0.37",
        "buckets": "3",
        "binning": "count",
        "tier": "zero_shot",
    }
    again = look(app, store.root, "stitches", **said)
    assert dict(again.query_params) == said
    assert shown(again) == shown(tester)
    assert len(shown(again)) == 8
    assert table(again, "stitch").equals(table(tester, "stitch"))
    chosen = choose(
        pair,
        change(SMALL, "selection", metric="cka", tau=0.37, buckets=3, binning="count").selection,
    ).chosen
    assert sorted(table(again, "stitch")["stitch"]) == sorted(
        f"{i} → {j}" for i, j in pair.stitches[chosen]
    )
    selecting = command(again, "klas select")
    assert "--metric cka --tau 0.37" in selecting
    assert "--buckets 3 --binning count" in selecting


def test_the_address_goes_with_the_reader_and_forgets_what_is_taken_back(app, computed):
    tester = app(computed[0].root, "stitches")
    widget(tester, "tau").set_value(0.5).run()
    # The way to another page empties the address.
    tester.switch_page("views/scores.py")
    follow(tester)
    assert tester.query_params == {"tau": "0.5"}
    # Back to that empty address is the same view, not the study's own.
    follow(tester)
    assert tester.query_params == {"tau": "0.5"}
    tester.switch_page("views/stitches.py")
    follow(tester)
    assert widget(tester, "tau").value == 0.5
    widget(tester, "tau").set_value(SMALL.selection.tau).run()
    assert tester.query_params == {}


def test_the_browsers_back_brings_back_the_view_and_its_widgets(app, computed, monkeypatch):
    monkeypatch.setattr(
        "dashboard.session.choices.ECHO_SECONDS", 0.0
    )  # a hand is slower than a test
    tester = app(computed[0].root, "stitches")
    widget(tester, "tau").set_value(0.5).run()
    widget(tester, "buckets").set_value(2).run()
    follow(tester, tau="0.5")
    assert widget(tester, "tau").value == 0.5
    assert widget(tester, "buckets").value == SMALL.selection.buckets
    follow(tester)
    assert widget(tester, "tau").value == SMALL.selection.tau
    assert tester.query_params == {}


def test_another_kind_of_tau_starts_from_the_studys_own(app, computed):
    tester = app(computed[0].root, "stitches")
    widget(tester, "tau").set_value(0.5).run()
    widget(tester, "tau_mode").set_value("absolute").run()
    assert tester.query_params == {"tau_mode": "absolute"}
    assert widget(tester, "tau").value == SMALL.selection.tau
    assert widget(tester, "tau").max == 10
    follow(tester, tau="4.5", tau_mode="relative")
    assert widget(tester, "tau").value == 4.5
    widget(tester, "tau").set_value(2.0).run()
    assert widget(tester, "tau").value == 2.0
    assert tester.query_params == {"tau": "2"}


@pytest.mark.parametrize(("page", "name", "said", "value"), [
    ("stitches", "tau", {"tau": "0.8"}, 0.8),
    ("stitches", "tier", {"tier": "zero_shot"}, "zero_shot"),
    ("scores", "cell", {"cell": "1-1"}, (1, 1)),
])  # fmt: skip
def test_a_message_from_before_a_change_undoes_nothing(app, computed, page, name, said, value):
    tester = app(computed[0].root, page)
    # What the browser's widgets still hold; AppTest has no public way to send it late.
    late = tester._tree.get_widget_states()
    known_as = widget(tester, name).id
    for state in [state for state in late.widgets if state.id != known_as]:
        late.widgets.remove(state)
    follow(tester, **said)
    tester._run(late)
    assert widget(tester, name).value == value
    assert tester.query_params == said


def test_all_pairs_have_an_address_and_the_first_pair_needs_none(app, computed):
    tester = app(computed[0].root, "stitches")
    first = widget(tester, "pair").value
    widget(tester, "pair").set_value(ALL_PAIRS).run()
    assert tester.query_params == {"pair": "all"}
    other = look(app, computed[0].root, "stitches", pair="all")
    assert widget(other, "pair").value == ALL_PAIRS
    widget(tester, "pair").set_value(first).run()
    assert tester.query_params == {}


@pytest.mark.parametrize("page", ["scores", "stitches"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tau", "abc"),
        ("tau", "1e999"),
        ("buckets", "-3"),
        ("metric", "x"),
        ("tier", "x"),
        ("cell", "x"),
        ("pair", "<script>alert(1)</script>"),
        ("pair", "![a](http://example.org/a.png)"),
    ],
)
def test_a_hostile_address_is_a_sentence_and_the_page_goes_on(app, computed, page, name, value):
    plain = app(computed[0].root, page)
    before = shown(plain)
    tester = follow(plain, **{name: value, "utm": "1"})
    (warning,) = tester.warning
    assert f"`{name}={value}`" in warning.value
    assert shown(tester) == before
    assert tester.get("plotly_chart")
    assert tester.query_params == {}
    tester.run()
    assert not tester.warning


def test_what_is_right_in_a_half_wrong_address_counts(app, computed):
    tester = look(app, computed[0].root, "stitches", tau="0.4", buckets="many")
    assert widget(tester, "tau").value == 0.4
    assert tester.query_params == {"tau": "0.4"}


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "small", "<b>x</b>"])
def test_a_study_that_is_not_there_leaves_the_first_one_with_its_own_settings(app, computed, name):
    tester = look(app, computed[0].root, "stitches", study=name, tau="0.4")
    assert "There is no study" in tester.warning[0].value
    assert widget(tester, "study").value == "small.toml"
    assert widget(tester, "tau").value == SMALL.selection.tau
    assert tester.query_params == {}


def other_study(store, request):
    """The same results under another name and with settings of its own."""
    other = change(SMALL.model_copy(update={"name": "other"}), "selection", tau=0.6, buckets=2)
    path = save_study(store, other)
    request.addfinalizer(path.unlink)
    return other


def test_two_sessions_keep_two_studies_apart(app, computed, request):
    store, _ = computed
    other_study(store, request)
    mine = app(store.root, "stitches")
    theirs = look(app, store.root, "stitches", study="other", metric="mse")
    widget(mine, "tau").set_value(0.2).run()
    theirs.run()
    assert shown(theirs)["study"] == "other"
    assert widget(theirs, "tau").value == 0.6
    assert theirs.query_params == {"study": "other", "metric": "mse"}
    assert mine.query_params == {"tau": "0.2"}
    assert shown(mine)["metric"] == "kl"


def test_another_study_drops_what_belonged_to_the_first(app, computed, request):
    store, _ = computed
    other_study(store, request)
    tester = look(app, store.root, "stitches", tau="0.3", metric="dm", tier="zero_shot")
    widget(tester, "study").set_value("other").run()
    assert not tester.exception
    assert tester.query_params == {"study": "other"}
    assert widget(tester, "tau").value == 0.6
    assert widget(tester, "buckets").value == 2
    assert shown(tester)["metric"] == "kl"
    follow(tester, tau="0.3")  # Back, across studies
    assert shown(tester)["study"] == "small.toml"
    assert widget(tester, "tau").value == 0.3


def test_a_broken_study_takes_no_page_down(app, computed, tmp_path):
    tester = look(app, computed[0].root, "stitches", tau="0.3")
    (tmp_path / "small.toml").write_text("name = [[[")
    follow(tester, tau="0.4")
    assert "not valid TOML" in tester.error[0].value
    tester.switch_page("views/anchors.py").run()
    assert not tester.exception


# -- a list that no address can take -----------------------------------------------------------


def long_list(document):
    """Of the study's own stitches, and of so many that it lacks that no address takes them."""
    pair = max(pairs_of(document), key=lambda p: int(p.in_space.sum()))
    own = [(*pair.names, int(i), int(j)) for i, j in pair.stitches]
    made = (*own, *(("source", "target", i, j) for i in range(40) for j in range(40)))
    assert not links.fits(made)
    return made


def test_a_list_too_long_for_the_address_outlives_any_address(app, computed, monkeypatch):
    monkeypatch.setattr("dashboard.session.choices.ECHO_SECONDS", 0.0)
    long, few = long_list(computed[1]), (("source", "target", 1, 1),)
    tester = app(computed[0].root, "stitches")
    session(tester).choices["list"] = long
    session(tester).choices["undo"] = ((), few)
    widget(tester, "tau").set_value(0.5).run()
    assert tester.query_params == {"tau": "0.5"}
    for query in ({"tau": "0.2"}, {}, {"metric": "cka"}):
        follow(tester, **query)
        assert session(tester).choices["list"] == long
        assert session(tester).choices["undo"] == ((), few)
        assert tester.query_params == query
    # An address that names a list shows that one; the long one can be had back.
    follow(tester, list="source~target:2-2")
    assert session(tester).choices["list"] == (("source", "target", 2, 2),)
    assert session(tester).choices["undo"] == ((), few, long)
    # And so it stays while it is what undo brings.
    follow(tester)
    assert "list" not in session(tester).choices
    assert session(tester).choices["undo"][2] == long


def test_a_list_that_was_too_long_and_is_emptied_can_be_had_back_after_back(app, computed):
    long = long_list(computed[1])
    tester = app(computed[0].root, "my_list")
    session(tester).choices["list"] = long
    tester.run()
    next(b for b in tester.button if b.label == "Empty the list").click().run()
    follow(tester, tau="0.5")
    next(b for b in tester.button if b.label == "Undo").click().run()
    assert session(tester).choices["list"] == long


def test_a_list_that_the_address_holds_goes_with_it(app, computed, monkeypatch):
    monkeypatch.setattr("dashboard.session.choices.ECHO_SECONDS", 0.0)
    tester = look(app, computed[0].root, "stitches", list="source~target:2-2")
    follow(tester, tau="0.5")
    assert "list" not in session(tester).choices


# -- the open cell ---------------------------------------------------------------------------


def test_a_cell_in_the_address_opens_its_stitch(app, computed):
    store, document = computed
    pair = max(pairs_of(document), key=lambda p: p.in_space.sum())
    picked = choose(pair, SMALL.selection)
    row = int(next(r for r in range(len(pair.macs)) if pair.in_space[r] and picked.bucket[r] >= 0))
    i, j = pair.stitches[row]
    tester = look(app, store.root, "scores", cell=f"{i}-{j}")
    titles, (scores,) = panel(tester)
    assert titles == [f"Stitch {i} → {j}"]
    assert tester.query_params == {"cell": f"{i}-{j}"}
    shown = dict(zip(scores["score"], zip(scores["value"], scores["rank in its bucket"])))
    for label, metric in [("KLAS (Γ)", "kl"), ("CKA", "cka"), ("DM", "dm")]:
        everyone = pair.scores(metric)
        rivals = sorted(
            everyone[r] for r in range(len(everyone)) if picked.bucket[r] == picked.bucket[row]
        )
        value, rank = shown[label]
        assert value == everyone[row]
        assert rank == f"{rivals.index(everyone[row]) + 1} of {len(rivals)}"
    facts = " ".join(m.value for m in tester.markdown)
    params = pair.raw["candidates"][row]["params"]
    assert f"**{params:,}**" in facts
    assert f"**{100 * pair.accuracy('tuned')[row]:.1f} %**" in facts
    assert f"**{picked.bucket[row]} of 0 to {SMALL.selection.buckets - 1}**" in facts


def test_another_pair_closes_the_cell(app, computed):
    store, document = computed
    tester = look(app, store.root, "scores", cell="1-1")
    shown = widget(tester, "pair").value
    other = next(p for p in pairs_of(document) if p.name != shown)
    widget(tester, "pair").set_value(other.name).run()
    assert tester.query_params == {"pair": "~".join(other.names)}
    assert panel(tester) == ([], [])


def test_a_cell_that_the_pair_has_not_is_a_sentence(app, computed):
    tester = look(app, computed[0].root, "scores", cell="77-1")
    assert "`cell=77-1`: the pair has no such stitch" in tester.warning[0].value
    assert panel(tester) == ([], [])
    assert tester.query_params == {}


@pytest.mark.parametrize("metric", SCORED)
def test_every_score_has_its_map_its_words_and_its_order(app, computed, metric):
    store, document = computed
    pair = max(pairs_of(document), key=lambda p: p.in_space.sum())
    tester = look(app, store.root, "scores", metric=metric)
    assert not tester.warning
    best = next(d.value for d in tester.dataframe if "tuned (%)" in d.value.columns)
    values = best.iloc[:, 1].to_numpy()
    assert values == pytest.approx(sorted(pair.scores(metric)[pair.in_space])[:8])
    assert any(re.search("lower is better", s.value) for s in tester.subheader)


def test_an_address_from_before_a_choice_does_not_undo_it(app, computed):
    """A busy page may rerun with the bare address that it had when the choice was made."""
    tester = app(computed[0].root, "stitches")
    widget(tester, "tau").set_value(0.5).run()
    follow(tester)
    assert widget(tester, "tau").value == 0.5
    assert tester.query_params == {"tau": "0.5"}
