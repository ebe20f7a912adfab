"""A race through the pages: run from Stitches, watched there, taken into My list, compared."""

import base64
import copy
import json

import numpy as np
import pytest

from dashboard.report.build import study_report
from klas.jobs import process
from klas.jobs.kinds import FinetuneJob
from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.results.race_note import race_note
from klas.results.selections import choose, fair_share
from klas.results.trainings import joint_training
from klas.selection.space import name_of
from klas.study import change
from tests.conftest import SMALL
from tests.dashboard.reading import captions, look, press, table, widget
from tests.stored import key_of


@pytest.fixture(scope="module")
def pair(computed):
    return max(pairs_of(computed[1]), key=lambda p: int(p.in_space.sum()))


@pytest.fixture(scope="module")
def field(pair):
    """The selection, and who starts beside it."""
    picked = choose(pair, SMALL.selection)
    return picked, fair_share(pair, picked, "race")


@pytest.fixture(scope="module")
def raced(computed, pair, field):
    """What came of the race; the tests that need it come last."""
    picked, starts = field
    return Pipeline(SMALL, computed[0], device="cpu").finetune(pair, starts, picked.bucket)


def headings(tester):
    return [s.value for s in tester.subheader]


def notes(tester):
    return " ".join(i.value for i in tester.info)


def drawn(tester, key):
    """The figures that have a trace of such a name."""
    specs = [json.loads(c.proto.spec)["data"] for c in tester.get("plotly_chart")]
    return [traces for traces in specs if any(key in (t.get("name") or "") for t in traces)]


def points(tester):
    """The race's curve beside the choice: its heights."""
    (traces,) = drawn(tester, "race (")
    heights = next(t["y"] for t in traces if t["name"].startswith("race ("))
    return np.frombuffer(base64.b64decode(heights["bdata"]), heights["dtype"])


def test_before_a_race_stitches_offers_to_run_it(app, computed, pair, monkeypatch):
    started = []
    monkeypatch.setattr(process, "start", lambda store, study, job: started.append(job))
    tester = look(app, computed[0].root, "stitches", tier="finetuned", curves="race")
    assert "race" in next(i.value for i in tester.info if "Not trained jointly yet" in i.value)
    assert "The race" not in headings(tester)
    press(tester, "Train jointly")
    (job,) = started
    assert isinstance(job, FinetuneJob)
    assert job.pair == pair.names
    assert "race" in job.metrics


@pytest.mark.parametrize("query", [{"curves": "race"}, {"rival": "race"}])
def test_at_other_tiers_it_is_said_why_a_race_has_no_curve(app, computed, query):
    sentence = "A race is decided by joint training"
    tester = look(app, computed[0].root, "stitches", tier="tuned", **query)
    assert sentence in notes(tester)
    assert not drawn(tester, "race")
    assert sentence not in notes(look(app, computed[0].root, "stitches", tier="tuned"))


def test_my_list_says_that_a_race_is_to_be_run(app, computed):
    tester = app(computed[0].root, "my_list")
    next(s for s in tester.selectbox if s.label == "Method").set_value("race").run()
    assert not tester.exception
    assert "its training decides what is kept" in notes(tester)
    assert next(b for b in tester.button if b.label == "Add them").disabled


def test_a_race_is_watched_while_it_is_run(app, computed, pair, field):
    store = computed[0]
    picked, starts = field
    training = joint_training(pair, starts, SMALL.finetuning, picked.bucket)
    note = race_note(store, key_of(pair.document, SMALL, training))
    tester = look(app, store.root, "stitches", tier="finetuned")
    assert "The race" not in headings(tester)
    names = [name_of(place) for place in pair.places(starts)]
    note.add(3, {name: 0.5 + 0.01 * k for k, name in enumerate(names)})
    tester.run()
    assert "The race" in headings(tester)
    sizes = np.bincount(picked.bucket[starts])
    left = np.minimum(sizes, 2).sum()
    assert f"{len(names)} stitches started; {left} are left after the rung at step 3." in captions(
        tester
    )
    (traces,) = drawn(tester, "still racing")
    assert len(traces) == len(names)
    note.remove()
    assert "The race" not in headings(tester.run())


def test_what_a_race_kept_is_a_curve_beside_the_choice(app, computed, raced, field):
    tester = look(app, computed[0].root, "stitches", tier="finetuned", curves="race")
    assert sorted(points(tester)) == pytest.approx(
        sorted(100 * value for value in raced["accuracy"].values())
    )
    started = len(raced["rungs"][0]["accuracy"])
    assert "The race" in headings(tester)
    assert f"{started} stitches started, {len(raced['accuracy'])} were kept." in captions(tester)
    (traces,) = drawn(tester, "dropped out")
    assert len(traces) == started
    # Whatever score chooses beside it, the buckets and so the race are the same.
    widget(tester, "metric").set_value("theta").run()
    assert not tester.exception
    assert f"{started} stitches started" in captions(tester)


def test_my_list_takes_what_a_race_kept_with_its_accuracies(app, computed, pair, raced):
    tester = app(computed[0].root, "my_list")
    tester.multiselect[0].set_value([pair.name]).run()
    next(s for s in tester.selectbox if s.label == "Method").set_value("race").run()
    press(tester, "Add them")
    listed = table(tester, "stitch")
    known = dict(zip(listed["stitch"], listed["finetuned (%)"]))
    assert known == pytest.approx(
        {name.replace("-", " → "): 100 * v for name, v in raced["accuracy"].items()}
    )


def test_a_study_that_races_opens_with_the_race_beside_klas(app, computed, raced, tmp_path):
    tester = app(computed[0].root, "stitches")
    own = change(SMALL, "selection", metric="race")
    (tmp_path / "small.toml").write_text(own.to_toml())
    tester.run()
    assert not tester.exception
    assert widget(tester, "metric").value == "kl"
    assert "race" not in widget(tester, "metric").options
    assert "race" in widget(tester, "curves").value
    assert widget(tester, "tier").value == "finetuned"  # the best that is known of its choice
    assert len(points(tester)) == len(raced["accuracy"])
    for page in ("scores", "my_list", "compare", "anchors", "study"):
        tester.switch_page(f"views/{page}.py").run()
        assert not tester.exception


def test_compare_shows_what_a_race_kept(app, computed, pair, raced):
    tester = look(app, computed[0].root, "compare", tier="finetuned")
    assert sorted(points(tester)) == pytest.approx(
        sorted(100 * value for value in _on_test(computed, pair).values())
    )
    shown = table(tester, "method").set_index("method")
    assert shown.loc["race", "chosen"] == len(raced["accuracy"])
    assert shown.loc["race", "ρ"] == "–"


def _on_test(computed, pair):
    """Accuracies on the test split, which judges what is trained jointly."""
    from klas.results.comparison import compare
    from klas.results.comparison_view import entry_of

    entry = entry_of(compare(computed[1], SMALL, computed[0]), pair.names)
    return {
        (s["source_block"], s["target_block"]): s["accuracy"]["finetuned"]
        for s in entry["chosen"]["race"]
    }


def test_the_report_of_a_study_that_races_can_be_made(computed, raced):
    store, document = computed
    own = change(SMALL, "selection", metric="race")
    page = study_report(copy.deepcopy(document), own, own.selection, None, store).decode()
    assert "of a race what it kept" in page
