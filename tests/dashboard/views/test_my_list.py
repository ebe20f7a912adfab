"""The page of one's list: filling, editing, another list beside it, the files."""

import copy
import io
import json

import numpy as np
import pandas as pd
import pytest

from dashboard.charts.lists import lists_chart
from dashboard.model import list_comparison as lists
from dashboard.model.list_comparison import Listed
from dashboard.model.list_entries import entries_of, entry_of
from dashboard.text.markup import plain
from klas.errors import StoreError
from klas.results.formats import dumps, parse
from klas.results.pair import pairs_of
from klas.results.selections import choose, fair_share
from klas.results.stitch_list import stitch_list
from klas.selection.curves import envelope
from tests.conftest import SMALL, method_choice
from tests.dashboard.reading import press, session, table, widget

LOOKS = ("#123456", "circle")


def listed(tester):
    return set(zip(table(tester, "stitch")["pair"], table(tester, "stitch")["stitch"]))


def words(pair, mask):
    return {(pair.name, f"{i} → {j}") for i, j in pair.places(mask)}


@pytest.fixture
def made(computed):
    return json.loads(dumps(stitch_list(computed[1], SMALL.selection)))


def test_an_empty_list_says_what_to_do(app, computed):
    tester = app(computed[0].root, "my_list")
    assert "Nothing is picked yet" in tester.info[0].value
    assert [b.proto.label for b in tester.get("download_button")] == ["Report of the study as HTML"]
    assert next(b for b in tester.button if b.label == "Undo").disabled


def test_a_rule_fills_it_and_undo_takes_it_back(app, computed):
    store, document = computed
    first, second = [pair for pair in pairs_of(document) if pair.in_space.any()][:2]
    tester = app(store.root, "my_list")
    press(tester, "Add them")
    assert listed(tester) == words(first, choose(first, SMALL.selection).chosen)
    tester.multiselect[0].set_value([second.name]).run()
    next(s for s in tester.selectbox if s.label == "Method").set_value("cka").run()
    press(tester, "Add them")
    rivals = method_choice(second, SMALL.selection, "cka")
    both = words(first, choose(first, SMALL.selection).chosen) | words(second, rivals)
    assert listed(tester) == both
    press(tester, "Replace")
    assert listed(tester) == words(second, rivals)
    press(tester, "Undo")
    assert listed(tester) == both
    press(tester, "Empty the list")
    assert not tester.exception
    assert "Nothing is picked yet" in tester.info[0].value
    press(tester, "Undo")
    assert listed(tester) == both


def test_a_stitch_is_added_by_hand(app, computed):
    store, document = computed
    pair = next(pair for pair in pairs_of(document) if len(pair.macs))
    tester = app(store.root, "my_list")
    row = int(np.argsort(pair.macs, kind="stable")[1])
    next(s for s in tester.selectbox if s.label.startswith("Stitch")).set_value(row).run()
    press(tester, "Add")
    i, j = pair.stitches[row]
    assert listed(tester) == {(pair.name, f"{i} → {j}")}


def test_without_any_stitch_there_is_none_to_add(app, copied, computed):
    document = copy.deepcopy(computed[1])
    for pair in document["pairs"]:
        pair["candidates"] = []
    copied.set_ref(f"scores-{SMALL.results_key()}", document)
    tester = app(copied.root, "my_list")
    assert not tester.error
    assert "No pair has stitches to add." in [c.value for c in tester.caption]


def by_hand(tester):
    return next((s for s in tester.selectbox if s.label.startswith("Stitch")), None)


def test_by_hand_offers_what_is_not_listed_and_goes_on_by_cost(app, computed):
    store, document = computed
    pair = next(pair for pair in pairs_of(document) if len(pair.macs))
    order = np.argsort(pair.macs, kind="stable").tolist()
    cheapest = "{}-{}".format(*pair.stitches[order[0]])
    tester = app(store.root, "my_list", list=f"{'~'.join(pair.names)}:{cheapest}")
    assert by_hand(tester).value == order[1]
    assert not next(b for b in tester.button if b.label == "Add").disabled
    by_hand(tester).set_value(order[2]).run()
    press(tester, "Add")
    assert by_hand(tester).value == order[3]
    press(tester, "Undo")
    session(tester).choices["list"] = entries_of(pair, np.arange(len(order)) == order[3])
    tester.run()
    assert by_hand(tester).value == order[0]  # what it stood at was listed in another way
    session(tester).choices["list"] = tuple(
        entry_of(pair, row) for row in order if row != order[-1]
    )
    tester.run()
    assert by_hand(tester).value == order[-1]
    press(tester, "Add")
    assert not tester.exception
    assert by_hand(tester) is None
    assert "Every stitch of this pair is in my list." in [c.value for c in tester.caption]
    press(tester, "Empty the list")
    assert by_hand(tester).value is not None


def test_the_address_brings_a_list_and_strangers_in_it_are_counted(app, computed):
    store, document = computed
    pair = pairs_of(document)[0]
    (i, j), (k, m) = pair.stitches[:2]
    source, target = pair.names
    said = f"{source}~{target}:{i}-{j},{k}-{m},99-99"
    tester = app(store.root, "my_list", list=said)
    assert listed(tester) == {(pair.name, f"{i} → {j}"), (pair.name, f"{k} → {m}")}
    assert tester.warning[0].value.startswith("One stitch of the list is not in this study")


def test_the_two_lists_stand_side_by_side(app, computed, made):
    store, _ = computed
    tester = app(store.root, "my_list")
    press(tester, "Add them")
    tester.file_uploader[0].set_value(("theirs.json", dumps(made), "application/json")).run()
    assert not tester.exception
    figures = next(d.value for d in tester.dataframe if "list" in d.value.columns)
    assert list(figures["list"]) == ["my list", "theirs.json"]
    assert list(figures["stitches"]) == [len(table(tester, "stitch")), len(made["stitches"])]
    assert set(figures["in both"]) == {len(table(tester, "stitch"))}
    assert any("At equal cost" in m.value for m in tester.markdown)
    assert not any("Of its" in c.value for c in tester.caption)
    press(tester, f"Add its {len(made['stitches'])} stitches to mine")
    assert len(table(tester, "stitch")) == len(made["stitches"])
    press(tester, "Close the file")
    assert not tester.exception
    assert "in both" not in next(d.value for d in tester.dataframe if "list" in d.value.columns)


BROKEN = [
    (lambda made: b'{"format": "klas-st', "is not complete JSON"),
    (lambda made: b"\xff\xfe\x00", "is not text"),
    (lambda made: dumps(made | {"version": 99}), "has version 99"),
    (lambda made: dumps({"format": "klas-scores", "version": 1}), "is not a klas-stitches file"),
    (lambda made: b"[" * 100_000, "cannot be a klas-stitches file"),
]


@pytest.mark.parametrize(("damage", "said"), BROKEN)
def test_a_file_that_is_no_list_is_a_sentence(app, computed, made, damage, said):
    tester = app(computed[0].root, "my_list")
    tester.file_uploader[0].set_value(("<b>x</b>.json", damage(made), "application/json")).run()
    assert not tester.exception
    shown = tester.error[0].value.replace("\\", "")
    assert said in shown
    assert "<b>x</b>.json" in shown


@pytest.mark.parametrize("metric", ["newer", "*[x](y)*", ""])
def test_a_list_by_an_unknown_method_has_its_name_as_text(app, computed, made, metric):
    made["selection"]["metric"] = metric
    tester = app(computed[0].root, "my_list")
    press(tester, "Add them")
    tester.file_uploader[0].set_value(("theirs.json", dumps(made), "application/json")).run()
    assert not tester.exception
    (shown,) = [m.value for m in tester.markdown if "theirs" in m.value]
    by = plain(metric) or "an unnamed method"
    assert shown.endswith(f": {len(made['stitches'])} stitches, by {by}.")
    press(tester, f"Add its {len(made['stitches'])} stitches to mine")


def test_a_list_of_other_anchors_is_shown_as_text_and_called_so(app, computed, made):
    evil = "<img src=x onerror=alert(1)>"
    for anchor in made["anchors"]:
        anchor["digest"] = "0" * 64
    old = made["anchors"][1]["name"]
    made["anchors"][1]["name"] = evil
    for stitch in made["stitches"]:
        for role in ("source", "target"):
            stitch[role] = evil if stitch[role] == old else stitch[role]
    made["data"]["val"]["fingerprint"] = "another"
    made["precision"] = "bfloat16"
    tester = app(computed[0].root, "my_list")
    tester.file_uploader[0].set_value(("theirs.json", dumps(made), "application/json")).run()
    assert not tester.exception
    shown = tester.warning[0].value.replace("\\", "")
    assert f"anchors that this study lacks ({evil})" in shown
    names = [a["name"] for a in made["anchors"] if a["name"] != evil]
    assert f"with other weights ({', '.join(names)})" in shown
    assert "other images" in shown
    assert "bfloat16" in shown
    assert not tester.get("plotly_chart")  # nothing of it has a place beside these anchors
    assert not any("<img" in m.value.replace("\\", "") for m in tester.markdown)
    assert "None of its stitches is known" in [b.label for b in tester.button]
    n = len(made["stitches"])
    told = f"Of its {n} stitches, {n} are of anchors that are not this study's: neither drawn nor"
    assert any(c.value.startswith(told) for c in tester.caption)


def chart(tester):
    (actual,) = [json.loads(c.proto.spec) for c in tester.get("plotly_chart")]
    return actual


def test_stitches_of_other_anchors_leave_the_chart_as_it_is(app, computed, made):
    store, document = computed
    pair = next(p for p in pairs_of(document) if p.in_space.any())
    strange = next(a for a in made["anchors"] if a["name"] not in pair.names)
    strange["digest"] = "0" * 64
    for stitch in made["stitches"]:
        if strange["name"] in (stitch["source"], stitch["target"]):
            stitch["macs"] *= 1000
            stitch["accuracy"] = dict.fromkeys(stitch["accuracy"], 0.999)
    ours = [s for s in made["stitches"] if strange["name"] not in (s["source"], s["target"])]
    assert 0 < len(ours) < len(made["stitches"])
    absent = next(s for s in ours if s["source"] == pair.names[0])
    absent["target_block"] = 0  # of these anchors, but no candidate
    drawn = []
    for form in (made | {"stitches": ours}, made):
        tester = app(store.root, "my_list")
        press(tester, "Add them")
        tester.file_uploader[0].set_value(("theirs.json", dumps(form), "application/json")).run()
        assert not tester.exception
        drawn.append(chart(tester))
    assert drawn[0] == drawn[1]
    figures = next(d.value for d in tester.dataframe if "list" in d.value.columns)
    assert figures["stitches"].tolist()[1] == len(ours)
    assert f"Add its {len(ours) - 1} stitches to mine" in [b.label for b in tester.button]
    (told,) = [c.value for c in tester.caption if c.value.startswith("Of its")]
    gone = len(made["stitches"]) - len(ours)
    assert f"{gone} {'is' if gone == 1 else 'are'} of anchors that are not this study's" in told
    assert "1 is no candidate of this study's pairs: not added" in told
    press(tester, f"Add its {len(ours) - 1} stitches to mine")
    assert f"Its {len(ours) - 1} stitches are in mine" in [b.label for b in tester.button]


def test_a_list_without_stitches_is_called_empty(app, computed, made):
    tester = app(computed[0].root, "my_list")
    assert any(c.value.startswith("JSON, up to 5 MB") for c in tester.caption)
    empty = dumps(made | {"stitches": []})
    tester.file_uploader[0].set_value(("theirs.json", empty, "application/json")).run()
    assert not tester.exception
    assert any("The list in this file is empty" in i.value for i in tester.info)
    assert not any("not measured" in i.value for i in tester.info)
    assert not tester.get("plotly_chart")
    press(tester, "Add them")
    assert len([t for t in chart(tester)["data"] if "measured" in t.get("name", "")]) == 1


def test_equal_lists_are_called_the_same(app, computed):
    store, document = computed
    pair = next(pair for pair in pairs_of(document) if pair.in_space.any())
    own = dumps(stitch_list(document, SMALL.selection, pairs=[pair]))
    tester = app(store.root, "my_list")
    press(tester, "Add them")
    tester.file_uploader[0].set_value(("same.json", own, "application/json")).run()
    said = " ".join(m.value for m in tester.markdown)
    assert "At equal cost both lists reach the **same** accuracy." in said
    assert "At equal accuracy both lists cost the **same**." in said
    assert "0.00" not in said


def test_what_is_known_of_a_list(computed, made):
    _, document = computed
    assert lists.differences(document, made) == []
    assert lists.known_entries(document, made) == lists.entries_in(made)
    made["stitches"][0]["source_block"] = 99
    assert lists.known_entries(document, made) == lists.entries_in(made)[1:]


def test_figures_of_two_lists(computed, made):
    """Against a slow obvious version."""
    _, document = computed
    pair = next(pair for pair in pairs_of(document) if pair.in_space.sum() > 2)
    only = json.loads(dumps(stitch_list(document, SMALL.selection, pairs=[pair])))
    ours, theirs = Listed("a", only, *LOOKS), Listed("b", made, *LOOKS)
    first, second = lists.comparison_rows(document, [ours, theirs], "tuned")
    entries = [set(lists.entries_in(x)) for x in (only, made)]
    assert first["in both"] == second["in both"] == len(entries[0] & entries[1])
    assert second["only here"] == len(entries[1] - entries[0])
    top1 = [s["accuracy"]["tuned"] for s in made["stitches"]]
    assert second["mean tuned (%)"] == pytest.approx(100 * sum(top1) / len(top1))
    anchors = lists.own_anchors(document, [ours])
    assert {a["name"] for a in anchors} == set(pair.names)
    steps = lists.curve(ours, anchors, "tuned")
    points = [(s["macs"], s["accuracy"]["tuned"]) for s in only["stitches"]]
    points += [(a["macs"], a["accuracy"]) for a in anchors]
    slow = envelope([c for c, _ in points], [t for _, t in points])
    for cost in np.linspace(slow.costs[0], slow.costs[-1], 50):
        assert steps.at(cost) == max(t for c, t in points if c <= cost)
    assert lists.gain_and_saving(document, ours, ours, "tuned") == (0, 1)


@pytest.fixture
def kept(monkeypatch):
    """What every download button would give, by its label."""
    actual = {}

    def catch(label, data, **_):
        actual[label] = data() if callable(data) else data

    monkeypatch.setattr("streamlit.delta_generator.DeltaGenerator.download_button", catch)
    monkeypatch.setattr("streamlit.download_button", catch)
    return actual


def test_the_downloads_are_the_list(app, computed, kept):
    """JSON as `klas select` writes it while nothing was edited; then it says that it was."""
    store, document = computed
    pair = next(pair for pair in pairs_of(document) if pair.in_space.any())
    tester = app(store.root, "my_list")
    press(tester, "Add them")
    assert kept["List as JSON"] == dumps(stitch_list(document, SMALL.selection, pairs=[pair]))
    assert b">The list</h2>" in kept["Report of the study as HTML"]
    row = int(np.flatnonzero(~choose(pair, SMALL.selection).chosen)[0])
    session(tester).choices["list"] += (entry_of(pair, row),)
    tester.run()
    edited = parse(kept["List as JSON"], "it", "klas-stitches")
    assert edited["selection"]["edited"]
    assert len(edited["stitches"]) == len(table(tester, "stitch"))
    assert len(pd.read_csv(io.BytesIO(kept["List as CSV"]))) == len(edited["stitches"])


def test_the_score_that_chose_is_remembered(app, computed, kept):
    """From Stitches to the table, its caption and the export."""
    store, document = computed
    tester = app(store.root, "stitches", metric="mse")
    next(b for b in tester.button if b.label.endswith("to my list")).click().run()
    tester.switch_page("views/my_list.py").run()
    assert not tester.exception
    pair = max(pairs_of(document), key=lambda p: p.in_space.sum())
    spec = SMALL.selection.model_copy(update={"metric": "mse"})
    assert listed(tester) == words(pair, choose(pair, spec).chosen)
    assert kept["List as JSON"] == dumps(stitch_list(document, spec, pairs=[pair]))
    assert not {"score", "Γ"} & set(table(tester, "stitch").columns)
    scores = dict(zip(pair.everywhere, pair.scores("mse")))
    for stitch, shown in zip(table(tester, "stitch")["stitch"], table(tester, "stitch")["MSE"]):
        assert shown == scores[tuple(int(n) for n in stitch.split(" → "))]
    said = " ".join(c.value for c in tester.caption)
    assert "The list is what MSE chooses with τ = 0.05 (relative)" in said
    assert "MSE, the score that chooses on **Stitches**, and the buckets are worked out" in said

    # Picked under one score, looked at under another: the list says that no rule made it.
    session(tester).choices["metric"] = "cka"
    tester.run()
    assert not tester.exception
    assert (choose(pair, spec).chosen != method_choice(pair, SMALL.selection, "cka")).any()
    edited = parse(kept["List as JSON"], "it", "klas-stitches")["selection"]
    assert (edited["metric"], edited.get("edited")) == ("cka", True)
    assert "1 − CKA" in table(tester, "stitch").columns
    said = " ".join(c.value for c in tester.caption)
    assert "The list is edited by hand, not what CKA chooses" in said


def test_a_rule_starts_from_the_score_stitch_values(app, computed):
    """That score chooses by τ, and the others as much as it, as Stitches has it."""
    store, document = computed
    pair = next(pair for pair in pairs_of(document) if pair.in_space.any())
    spec = SMALL.selection.model_copy(update={"metric": "dm", "tau": 0.5})
    ours = choose(pair, spec)
    tester = app(store.root, "my_list", metric="dm", tau="0.5")
    press(tester, "Add them")
    assert listed(tester) == words(pair, ours.chosen)
    next(s for s in tester.selectbox if s.label == "Method").set_value("kl").run()
    press(tester, "Replace")
    assert listed(tester) == words(pair, fair_share(pair, ours, "kl"))


@pytest.fixture
def partial(copied, computed):
    """The study with a pair without scores and another without one of them."""
    document = copy.deepcopy(computed[1])
    some = [pair.index for pair in pairs_of(document) if pair.in_space.any()]
    bare, without = (document["pairs"][k] for k in some[:2])
    bare["theta"] = bare["theta_target"] = None
    for candidate in bare["candidates"]:
        candidate["scores"] = dict.fromkeys(candidate["scores"])
        candidate["accuracy"] = dict.fromkeys(candidate["accuracy"])
    for candidate in without["candidates"]:
        candidate["scores"]["dm"] = None
    # The pages look at the first pair to see whether there are scores.
    document["pairs"].sort(key=lambda pair: pair["theta"] is None)
    copied.set_ref(f"scores-{SMALL.results_key()}", document)
    by_name = {pair.name: pair for pair in pairs_of(document)}
    names = (f"{p['source']} → {p['target']}" for p in (bare, without))
    return copied, *(by_name[name] for name in names)


def test_a_pair_without_scores_is_said_and_the_rest_works(app, partial, kept):
    store, bare, without = partial
    row = without.stitches[0].tolist()
    said = ";".join(
        f"{'~'.join(pair.names)}:{'-'.join(map(str, pair.stitches[0]))}" for pair in (bare, without)
    )
    tester = app(store.root, "my_list", list=said)
    assert listed(tester) == {(without.name, "{} → {}".format(*row))}
    (left_out,) = [i.value for i in tester.info if "left out here" in i.value]
    assert plain(bare.name) in left_out
    assert not tester.warning
    assert bare.name not in tester.multiselect[0].options
    assert any(
        c.value == f"The report leaves out {plain(bare.name)}: not scored yet."
        for c in tester.caption
    )
    report = kept["Report of the study as HTML"].decode()
    assert f"not computed yet: {bare.name}." in report
    assert f">{bare.name}</h3>" not in report
    assert f">{without.name}</h3>" in report


def test_a_score_that_is_not_computed_gives_way_to_gamma(app, partial, kept):
    store, _, without = partial
    i, j = without.stitches[0]
    said = f"{'~'.join(without.names)}:{i}-{j}"
    tester = app(store.root, "my_list", metric="dm", list=said)
    assert any(f"is not computed for {plain(without.name)}" in i.value for i in tester.info)
    assert "Γ" in table(tester, "stitch").columns
    assert any("Γ and the buckets are worked out" in c.value for c in tester.caption)
    written = parse(kept["List as JSON"], "it", "klas-stitches")
    assert (written["selection"]["metric"], written["selection"]["edited"]) == ("kl", True)
    tester.multiselect[0].set_value([without.name]).run()
    next(s for s in tester.selectbox if s.label == "Method").set_value("dm").run()
    assert not tester.exception
    assert any("dm scores are not computed" in e.value for e in tester.error)


def test_a_store_that_fails_gives_a_report_that_says_so(app, computed, kept, monkeypatch):
    def fail(*_):
        raise StoreError("the index cannot be read")

    monkeypatch.setattr("dashboard.report.pair.finetuned_accuracy", fail)
    app(computed[0].root, "my_list")
    assert (
        b"The report could not be made: the index cannot be read."
        in kept["Report of the study as HTML"]
    )


@pytest.mark.parametrize(("pairs", "kind"), [(1, None), (6, "log")])
def test_many_anchors_stand_on_a_logarithmic_axis(computed, pairs, kind):
    _, document = computed
    some = pairs_of(document)[:pairs]
    made = stitch_list(document, SMALL.selection, pairs=some)
    chart = lists_chart(document, [Listed("a", made, *LOOKS)], "tuned")
    assert chart.layout.xaxis.type == kind
    assert ("logarithmic" in chart.layout.xaxis.title.text) == (kind == "log")


def test_the_camera_of_every_figure_saves_what_was_picked(app, computed):
    def formats(tester):
        actual = [json.loads(c.proto.config) for c in tester.get("plotly_chart")]
        return {config["toImageButtonOptions"]["format"] for config in actual}

    tester = app(computed[0].root, "scores")
    assert formats(tester) == {"png"}
    tester.switch_page("views/my_list.py").run()
    widget(tester, "picture").set_value("svg").run()
    tester.switch_page("views/scores.py").run()
    assert formats(tester) == {"svg"}
    assert "picture" not in tester.query_params
