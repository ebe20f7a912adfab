"""The trade-off page in Streamlit's own test runner: every control, and what is not measured."""

import copy
import json
import re

import numpy as np
import pytest

from dashboard.model.deployment import deployable_of_pair
from dashboard.model.list_entries import entries_of, entry_of
from dashboard.session.accuracies import best_tier
from dashboard.text.markup import plain
from klas.jobs import process
from klas.jobs.kinds import LatencyJob
from klas.pipeline.run import Pipeline
from klas.results.choice_notes import resolution_note
from klas.results.costs import costs_of
from klas.results.pair import pairs_of
from klas.results.selections import choose, fair_share
from klas.selection.curves import gain
from klas.study import METRICS, change
from tests.conftest import SMALL, method_envelope
from tests.dashboard.reading import look, press, session, widget
from tests.dashboard.timing import MACHINE, time_pairs
from tests.expected_text import METHODS
from tests.stored import training_key


@pytest.fixture
def pair(computed):
    return max(pairs_of(computed[1]), key=lambda p: int(p.in_space.sum()))


@pytest.fixture
def retold(computed):
    """Puts another document in the place of the study's until the test is over."""
    store, document = computed
    name = f"scores-{SMALL.results_key()}"
    yield lambda other: store.set_ref(name, other)
    store.set_ref(name, document)


@pytest.fixture
def timed(computed, pair):
    """Puts times of a pair into the store until the test is over."""

    def put(machine=MACHINE):
        time_pairs(computed[0], [pair], machine)

    yield put
    computed[0].set_ref(f"latency-{SMALL.results_key()}", [])


def charts(tester):
    return [json.loads(c.proto.spec) for c in tester.get("plotly_chart")]


def curve_names(tester):
    shown = charts(tester)[1]["data"]
    curves = [t for t in shown if t.get("legendgroup") and t["mode"] == "markers"]
    return {t["name"].split(" (")[0] for t in curves}


def listed(tester):
    table = next(d.value for d in tester.dataframe if "bucket" in d.value.columns)
    return set(table["stitch"])


def said(tester):
    return " ".join(said_of(tester))


def said_of(tester):
    return [m.value for m in tester.markdown]


def names_of(pair, mask):
    return {f"{i} → {j}" for i, j in pair.stitches[mask]}


def test_at_first_the_chosen_score_cka_and_snnets_set_are_drawn_with_the_anchors(app, computed):
    tester = app(computed[0].root, "stitches")
    assert curve_names(tester) == {"KLAS", "CKA", "SN-Net's set"}
    assert any(t["name"] == "anchors" for t in charts(tester)[1]["data"])


def test_every_method_can_be_drawn_and_the_address_keeps_it(app, computed):
    tester = app(computed[0].root, "stitches")
    others = [metric for metric in METRICS if metric != "kl"]
    widget(tester, "curves").set_value(others).run()
    assert not tester.exception
    # A race has stitches of its own at tier finetuned alone.
    assert curve_names(tester) == {METHODS[m].split(" (")[0] for m in METRICS if m != "race"}
    assert tester.query_params["curves"] == "~".join(others)
    widget(tester, "curves").set_value([]).run()
    assert curve_names(tester) == {"KLAS"}


def test_another_score_chooses_and_klas_becomes_its_rival(app, computed, pair):
    tester = app(computed[0].root, "stitches")
    widget(tester, "metric").set_value("cka").run()
    picked = choose(pair, SMALL.selection.model_copy(update={"metric": "cka"}))
    assert listed(tester) == names_of(pair, picked.chosen)
    assert curve_names(tester) == {"KLAS", "CKA", "SN-Net's set"}
    klas = next(t for t in charts(tester)[1]["data"] if t["name"].startswith("KLAS (Γ) ("))
    share = fair_share(pair, picked, "kl")
    assert klas["name"] == f"KLAS (Γ) ({share.sum()})"


@pytest.mark.parametrize("rival", ["snnet", "theta", "theta_ce", "random"])
def test_the_sentence_follows_tau_and_the_rival(app, computed, pair, rival):
    tester = app(computed[0].root, "stitches")
    widget(tester, "rival").set_value(rival).run()
    for tau in (0.1, 0.9):
        widget(tester, "tau").set_value(tau).run()
        spec = SMALL.selection.model_copy(update={"tau": tau})
        picked, accuracy = choose(pair, spec), pair.accuracy("tuned")
        cheap, costly = pair.cheap_and_costly
        won = gain(
            method_envelope(pair, picked.chosen, accuracy),
            method_envelope(pair, fair_share(pair, picked, rival), accuracy),
            cheap["macs"],
            costly["macs"],
        )
        if won.mean == won.greatest == 0:
            assert f"KLAS (Γ) and {METHODS[rival]} reach the **same** accuracy" in said(tester)
        else:
            words = f"**{100 * won.mean:+.2f} points** relative to {METHODS[rival]}"
            assert words in said(tester)


def test_a_range_of_cost_limits_the_table_the_curves_and_what_is_added(app, computed, pair):
    tester = app(computed[0].root, "stitches")
    widget(tester, "tau").set_value(1.0).run()
    whole = choose(pair, SMALL.selection.model_copy(update={"tau": 1.0})).chosen
    slider = widget(tester, "range")
    low, high = slider.value
    middle = round((low + high) / 2 / slider.step) * slider.step
    slider.set_value((low, middle)).run()
    kept = whole & (pair.macs / pair.unit.scale <= middle)
    assert 0 < kept.sum() < whole.sum()
    assert listed(tester) == names_of(pair, kept)
    klas = next(t for t in charts(tester)[1]["data"] if t["name"].startswith("KLAS (Γ) ("))
    assert klas["name"] == f"KLAS (Γ) ({kept.sum()})"
    assert f"**{kept.sum()}** of the chosen lie in the range" in " ".join(
        c.value for c in tester.caption
    )
    press(tester, f"Add these {kept.sum()} to my list")
    assert set(session(tester).choices["list"]) == set(entries_of(pair, kept))
    assert "range" in tester.query_params
    slider = widget(tester, "range")
    slider.set_value((low, high)).run()
    assert "range" not in tester.query_params
    assert listed(tester) == names_of(pair, whole)


def test_all_that_is_chosen_goes_to_my_list_once(app, computed, pair):
    tester = app(computed[0].root, "stitches")
    chosen = choose(pair, SMALL.selection).chosen
    press(tester, f"Add these {chosen.sum()} to my list")
    assert session(tester).choices["list"] == tuple(entries_of(pair, chosen))
    done = next(b for b in tester.button if b.label == "All are in my list")
    assert done.disabled


def test_the_stitch_of_the_address_is_open_and_can_be_listed_and_closed(app, computed, pair):
    row = int(np.flatnonzero(pair.in_space)[3])
    i, j = pair.stitches[row]
    tester = app(computed[0].root, "stitches")
    session(tester).choices["cell"] = (int(i), int(j))
    tester.run()
    assert f"Stitch **{i} → {j}**: {pair.macs[row] / pair.unit.scale:.4g} MMACs" in said(tester)
    tester.button(key="list:line").click().run()
    assert session(tester).choices["list"] == (entry_of(pair, row),)
    assert tester.button(key="list:line").label == "Remove from my list"
    tester.button(key="list:line").click().run()
    assert "list" not in session(tester).choices
    tester.button(key="close:cell").click().run()
    assert "Click a stitch on a curve" in " ".join(c.value for c in tester.caption)


def budget_table(tester):
    return next(d.value for d in tester.dataframe if "network" in d.value.columns)


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_a_budget_gets_the_most_accurate_network_that_it_pays(app, computed, pair, cost):
    tester = app(computed[0].root, "stitches")
    widget(tester, "cost").set_value(cost).run()
    costs, accuracy = costs_of(pair, cost), pair.accuracy("tuned")
    networks = [
        *((f"{i} → {j}", c, a) for (i, j), c, a in zip(pair.stitches, costs.stitches, accuracy)),
        *((a["name"], a[cost], a["accuracy"]) for a in pair.cheap_and_costly),
    ]
    for budget in (float(np.median(costs.stitches)), 1.01 * max(c for _, c, _ in networks)):
        shown = float(f"{budget / costs.unit.scale:.6g}")
        widget(tester, "budget").set_value(shown).run()
        able = [n for n in networks if n[1] <= shown * costs.unit.scale]
        best = max(able, key=lambda n: (n[2], -n[1]))
        table = budget_table(tester).set_index("")
        assert table["network"]["within the budget"] == best[0]
        assert table["top-1 (%)"]["within the budget"] == pytest.approx(100 * best[2])
        assert f"Of the {len(able)} measured networks" in said(tester)
    assert "next better" not in table.index


def test_a_budget_below_the_cheapest_network_is_a_sentence(app, computed, pair):
    tester = app(computed[0].root, "stitches")
    widget(tester, "budget").set_value(0.0).run()
    assert not tester.exception
    assert "Nothing costs as little as 0 MMACs" in said(tester)
    cheapest = min(pair.macs.min(), pair.cheap_and_costly[0]["macs"])
    assert f"**{cheapest / 1e6:.4g} MMACs**" in said(tester)


def test_without_accuracies_the_budget_goes_by_score_and_says_so(app, computed, pair, retold):
    document = copy.deepcopy(computed[1])
    for entry in document["pairs"]:
        for candidate in entry["candidates"]:
            candidate["accuracy"] = {"zero_shot": None, "tuned": None}
    retold(document)
    tester = app(computed[0].root, "stitches")
    assert curve_names(tester) == set()
    assert any("Not measured at tier zero_shot" in i.value for i in tester.info)
    assert "a guess by the score alone" in said(tester)
    picked, scores = choose(pair, SMALL.selection), pair.scores("kl")
    budget = widget(tester, "budget").value * pair.unit.scale
    able = [
        (-picked.bucket[r], scores[r], pair.macs[r], r)
        for r in range(len(scores))
        if pair.macs[r] <= budget and picked.bucket[r] >= 0
    ]
    i, j = pair.stitches[min(able)[3]]
    assert f"**the stitch {i} → {j}**" in said(tester)
    widget(tester, "budget").set_value(0.0).run()
    assert "No stitch in a bucket costs at most 0 MMACs" in said(tester)


def unscored(document, pair):
    """A copy as an interrupted stage leaves it: one pair has no scores."""
    copied = copy.deepcopy(document)
    entry = copied["pairs"][pair.index]
    entry["theta"] = entry["theta_target"] = None
    for candidate in entry["candidates"]:
        candidate["scores"] = dict.fromkeys(candidate["scores"])
    return copied


@pytest.fixture(params=["the first", "the last"])
def silent(computed, request):
    """The pair that has no scores."""
    able = [pair for pair in pairs_of(computed[1]) if pair.in_space.any()]
    return able[0 if request.param == "the first" else -1]


@pytest.mark.parametrize("metric", ["kl", "random", "cka"])
def test_a_pair_without_scores_is_a_sentence_and_a_button(app, computed, silent, retold, metric):
    retold(unscored(computed[1], silent))
    word = "~".join(silent.names)
    tester = look(app, computed[0].root, "stitches", pair=word, metric=metric)
    assert not tester.error
    (note,) = [i.value for i in tester.info if "not computed" in i.value]
    assert note.startswith("Scores not computed yet: ")
    assert "Run the stage **scores**" in note
    assert "Compute up to scores" in [b.label for b in tester.button]
    assert not tester.get("plotly_chart")


@pytest.mark.parametrize("metric", ["kl", "random"])
def test_all_pairs_draw_those_that_have_scores_and_name_the_others(
    app, computed, silent, retold, metric
):
    retold(unscored(computed[1], silent))
    tester = look(app, computed[0].root, "stitches", pair="all", metric=metric)
    assert not tester.error
    (note,) = [i.value for i in tester.info if "not computed" in i.value]
    assert all(name.replace("_", "\\_") in note or name in note for name in silent.names)
    drawn = {t["name"].rpartition(" (")[0] for t in charts(tester)[0]["data"]}
    others = {p.name for p in pairs_of(computed[1]) if p.index != silent.index}
    assert others <= drawn
    assert silent.name not in drawn
    # What is written for all pairs waits for all.
    assert not tester.get("download_button")
    assert any("once all scores are computed" in c.value for c in tester.caption)


def test_all_pairs_without_any_score_of_a_method_say_so_alone(app, computed, retold):
    document = copy.deepcopy(computed[1])
    for entry in document["pairs"]:
        for candidate in entry["candidates"]:
            candidate["scores"]["dm"] = None
    retold(document)
    tester = look(app, computed[0].root, "stitches", pair="all", metric="dm")
    assert not tester.error
    assert any(i.value.startswith("DM not computed yet: ") for i in tester.info)
    assert not tester.get("plotly_chart")


def test_a_curve_without_its_score_is_told_from_one_without_its_accuracies(
    app, computed, pair, retold
):
    document = copy.deepcopy(computed[1])
    for candidate in document["pairs"][pair.index]["candidates"]:
        candidate["scores"]["cka"] = None
    retold(document)
    tester = app(computed[0].root, "stitches")
    (note,) = [i.value for i in tester.info if "so not drawn" in i.value]
    assert note == (
        "Score not computed, so not drawn: CKA. Run the stage **scores** on the **Study** page."
    )
    widget(tester, "tier").set_value("finetuned").run()
    notes = [i.value for i in tester.info]
    assert sum("CKA" in n for n in notes) == 1  # it cannot be trained without its score
    assert any("Not trained jointly" in n and "CKA" not in n for n in notes)


def test_every_symbol_and_control_is_explained_with_its_formula(app, computed):
    tester = app(computed[0].root, "stitches")
    assert "score ≤ (1 + τ) · lowest" in widget(tester, "tau").help
    assert "score ≤ τ" in widget(tester, "tau_mode").help
    assert "w = (high − low) / B" in widget(tester, "buckets").help
    assert "quantiles" in widget(tester, "binning").help
    (title,) = [s for s in tester.subheader if "stitches chosen" in s.value]
    assert "Γ(i, j) = Ω / Σ" in title.help
    (curves_title,) = [s for s in tester.subheader if s.value == "Accuracy against cost"]
    for formula in ("Γ = Ω / Σ", "Ω = Θ(", "Σ = Θ(", "Θ(P, Q) = mean KL(P ‖ Q)"):
        assert formula in curves_title.help
    column = next(d for d in tester.dataframe if "bucket" in d.value.columns)
    assert "Γ(i, j) = Ω / Σ" in json.loads(column.proto.columns)["Γ"]["help"]
    widget(tester, "tau_mode").set_value("absolute").run()
    assert "score ≤ τ" in widget(tester, "tau").help
    assert "(1 + τ)" not in widget(tester, "tau").help


def test_an_offer_never_mixes_tiers(pair):
    tuned, none = pair.accuracy("tuned"), np.full(len(pair.macs), np.nan)
    some = none.copy()
    some[2] = 0.99
    tiers = {"zero_shot": tuned, "tuned": some, "finetuned": None}
    assert best_tier(tiers) == "tuned"
    actual = deployable_of_pair(pair, costs_of(pair, "macs"), tiers, "tuned")
    assert np.isfinite(actual.accuracies).sum() == 1 + len(pair.measured_anchors)
    assert best_tier({"zero_shot": none, "tuned": none, "finetuned": None}) is None


def test_untimed_latency_offers_the_job_and_timed_it_is_an_axis(app, computed, pair, timed):
    tester = app(computed[0].root, "stitches")
    widget(tester, "cost").set_value("latency").run()
    assert not tester.exception
    assert "Measure latency" in [b.label for b in tester.button]
    (note,) = [c.value for c in tester.caption if "Not timed yet" in c.value]
    assert "**MACs** are shown meanwhile" in note
    assert "MMACs" in charts(tester)[1]["layout"]["xaxis"]["title"]["text"]
    assert "ms" not in next(d.value for d in tester.dataframe if "bucket" in d.value.columns)
    # A budget and a range of MACs are no times.
    low, high = widget(tester, "range").value
    widget(tester, "range").set_value((low, high / 2)).run()
    widget(tester, "budget").set_value(1.0).run()
    assert {"budget", "range"} < set(tester.query_params)
    timed()
    tester.run()
    assert tester.query_params == {"cost": "latency"}
    assert "Measure latency" not in [b.label for b in tester.button]
    assert "Measure on this machine" in [b.label for b in tester.button]
    assert charts(tester)[1]["layout"]["xaxis"]["title"]["text"].endswith("batch 1 (ms)")
    table = next(d.value for d in tester.dataframe if "bucket" in d.value.columns)
    expected = [10.0 * int(s.split()[0]) + int(s.split()[2]) for s in table["stitch"]]
    assert table["ms"].tolist() == expected
    widget(tester, "budget").set_value(14.0).run()
    able = [
        (a, -(10 * i + j), f"{i} → {j}")
        for (i, j), a in zip(pair.stitches, pair.accuracy("tuned"))
        if 10 * i + j <= 14
    ]
    able += [(a["accuracy"], -5, a["name"]) for a in pair.cheap_and_costly]
    assert budget_table(tester).set_index("")["network"]["within the budget"] == max(able)[2]


def test_times_of_another_machine_do_not_bar_those_of_this_one(
    app, computed, pair, timed, monkeypatch
):
    """Whether this device is timed only a job can tell: what is timed before is found again."""
    started = []
    monkeypatch.setattr(process, "start", lambda store, study, job: started.append(job))
    timed({**MACHINE, "device": "another one"})
    tester = app(computed[0].root, "stitches")
    assert "Measure on this machine" not in [b.label for b in tester.button]
    widget(tester, "cost").set_value("latency").run()
    assert not [c for c in tester.caption if "Not timed yet" in c.value]
    press(tester, "Measure on this machine")
    assert started == [LatencyJob(pairs=(pair.names,))]


def test_several_machines_are_told_apart(app, computed, timed):
    timed({**MACHINE, "device": "another one"})
    timed()
    tester = app(computed[0].root, "stitches")
    where = tester.selectbox(key="widget:machine")
    assert where.options == [
        "this processor, 1 thread, torch 2.0",
        "another one, 1 thread, torch 2.0",
    ]
    where.set_value(where.options[1]).run()
    assert not tester.exception


def test_the_view_of_an_address_is_shown_and_nonsense_is_named(app, computed, pair):
    root = computed[0].root
    tester = look(app, root, "stitches", cost="params", rival="mse", curves="mse", budget="70")
    assert widget(tester, "cost").value == "params"
    assert widget(tester, "rival").value == "mse"
    assert curve_names(tester) == {"KLAS", "MSE"}
    assert widget(tester, "budget").value == 70
    tester = look(app, root, "stitches", cost="euros", range="b~a", curves="x", budget="-4")
    warned = " ".join(w.value for w in tester.warning)
    assert all(f"`{name}=" in warned for name in ("cost", "range", "curves", "budget"))
    assert listed(tester) == names_of(pair, choose(pair, SMALL.selection).chosen)


def test_what_is_not_trained_jointly_is_named_and_not_drawn(app, computed):
    tester = app(computed[0].root, "stitches")
    widget(tester, "tier").set_value("finetuned").run()
    assert not tester.exception
    assert curve_names(tester) == set()
    (note,) = [i.value for i in tester.info if "Not trained jointly" in i.value]
    assert all(METHODS[m] in note for m in ("kl", "cka", "snnet"))
    assert "Train jointly" in [b.label for b in tester.button]


def test_what_is_trained_and_what_is_not_stand_side_by_side(app, computed, pair):
    chosen = choose(pair, SMALL.selection).chosen
    trained = Pipeline(SMALL, computed[0], device="cpu").finetune(pair, chosen)
    tester = app(computed[0].root, "stitches")
    assert widget(tester, "tier").value == "finetuned"  # the best there is
    assert curve_names(tester) == {"KLAS"}
    (note,) = [i.value for i in tester.info if "Not trained jointly" in i.value]
    assert METHODS["cka"] in note
    assert METHODS["kl"] not in note
    # What is missing, what is chosen and its training can be computed, and estimated first.
    labels = [b.label for b in tester.button]
    assert labels.count("Estimate") == 3
    assert "Train jointly" in labels
    # The budget's pick comes from what was trained, and from the anchors.
    widget(tester, "budget").set_value(1e6).run()
    networks = {i.replace("-", " → "): a for i, a in trained["accuracy"].items()}
    networks |= {a["name"]: a["accuracy"] for a in pair.cheap_and_costly}
    best = budget_table(tester).set_index("")["top-1 (%)"]["within the budget"]
    assert best == pytest.approx(100 * max(networks.values()))


def test_it_is_said_where_the_choice_hangs_on_changes_of_resolution(app, computed):
    pair = pairs_of(computed[1])[1]  # its target is a network in stages
    tester = look(app, computed[0].root, "stitches", pair="~".join(pair.names))
    seen = set()
    for tau in (0.05, 1.0):
        widget(tester, "tau").set_value(tau).run()
        picked = choose(pair, change(SMALL, "selection", tau=tau).selection)
        note = resolution_note(pair, picked, "kl")
        seen.add(note is None)
        assert [w.value for w in tester.warning] == ([] if note is None else [f"{plain(note)}."])
        short = [c for c in tester.caption if "hangs on changes of resolution" in c.value]
        assert len(short) == (note is not None)
    assert seen == {False, True}
    widget(tester, "metric").set_value("theta").run()
    assert not tester.warning


def test_one_pair_with_one_candidate_in_one_bucket(app, computed, retold, tmp_path):
    document = copy.deepcopy(computed[1])
    entry = document["pairs"][0]
    document["pairs"] = [entry]
    own = pairs_of(document)[0]
    cheap, costly = (a["macs"] for a in own.cheap_and_costly)
    inside = [c for c in entry["candidates"] if c["in_space"] and cheap <= c["macs"] <= costly]
    entry["candidates"] = [{**inside[0], "snnet": False}]
    retold(document)
    tester = app(computed[0].root, "stitches")
    widget(tester, "buckets").set_value(1).run()
    assert not tester.exception
    assert len(listed(tester)) == 1
    assert "SN-Net's set is empty for this pair." in said(tester)
    press(tester, "Add the one to my list")
    assert len(session(tester).choices["list"]) == 1


def test_the_table_shows_its_rows_up_to_twenty_or_says_that_it_scrolls(app, computed, pair):
    tester, formats = app(computed[0].root, "stitches"), []
    for tau, scrolls in ((0.0, False), (1.0, True)):
        widget(tester, "tau").set_value(tau).run()
        count = int(choose(pair, SMALL.selection.model_copy(update={"tau": tau})).chosen.sum())
        assert (count > 20) == scrolls
        notes = [c.value for c in tester.caption if "the table scrolls" in c.value]
        assert notes == ([f"{count} rows: the table scrolls."] if scrolls else [])
        table = next(d for d in tester.dataframe if "bucket" in d.value.columns)
        columns = json.loads(table.proto.columns)
        formats.append([columns[n]["type_config"]["format"] for n in ("MMACs", "Γ")])
        assert all(re.fullmatch(r"%\.\df", form) for form in formats[-1])
    assert formats[0] == formats[1]  # τ leaves the digits as they are


def test_tau_never_moves_the_tier(app, computed, copied, pair):
    """What τ lets through may not be trained jointly, though the study's own choice is."""
    chosen = choose(pair, SMALL.selection).chosen
    key = training_key(pair, chosen, SMALL)
    names = [f"{i}-{j}" for i, j in pair.places(chosen)]
    said = {"accuracy": dict.fromkeys(names, 0.5), "anchors": dict.fromkeys(pair.names, 0.6)}
    copied.put(key, said | {"steps": SMALL.finetuning.steps})
    tester = app(copied.root, "stitches")
    control = widget(tester, "tier")
    assert control.value == "finetuned"
    tester.query_params["cell"] = names[0]
    tester.run()
    (opened,) = [m for m in said_of(tester) if m.startswith("Stitch **")]
    assert opened.endswith("50.0 % with the choice of KLAS (Γ) (finetuned)")
    widget(tester, "tau").set_value(1.0).run()
    assert not tester.exception
    assert widget(tester, "tier").value == "finetuned"
    assert any("Not trained jointly yet, so not drawn: KLAS" in i.value for i in tester.info)


def test_anchors_of_equal_cost_choose_nothing_and_the_page_says_why(app, computed, retold):
    document = copy.deepcopy(computed[1])
    for anchor in document["anchors"]:
        anchor["macs"] = 1000
    retold(document)
    reason = plain("its anchors cost the same, so no stitch costs between them")
    tester = app(computed[0].root, "stitches")
    assert not tester.exception
    assert any(reason in caption.value for caption in tester.caption)
    every = app(computed[0].root, "stitches", pair="all")
    assert not every.exception
    assert any(reason in info.value for info in every.info)
