"""Training a list from a page: the recipe, what is started, the curves, what is taken away."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

import klas
from dashboard.controls.trained import _zip
from klas.deploy.training.log import LOG, NOTE, Log
from klas.jobs import process
from klas.jobs.kinds import EstimateJob, TrainJob
from klas.jobs.submission import job_id
from klas.results.formats import write
from klas.results.pair import pairs_of
from klas.results.stitch_list import stitch_list
from klas.storage.sealed import seal
from klas.storage.trained import LIST, training_folder
from klas.study import change
from tests.conftest import SMALL
from tests.dashboard.reading import captions, labels, look, press, said, table, widget
from tests.deploy.elastics import elastic


@pytest.fixture
def started(monkeypatch):
    """The jobs that pages start; none is really started."""
    asked = []
    monkeypatch.setattr(process, "start", lambda store, study, job: asked.append(job))
    return asked


@pytest.fixture
def pair(computed):
    """The pair that the pages show at first."""
    return max(pairs_of(computed[1]), key=lambda p: p.in_space.sum())


@pytest.fixture
def stitches(pair):
    return tuple((*pair.names, *place) for place in pair.everywhere[:2])


def address(stitches):
    """The stitches of one pair as My list has them in its address."""
    source, target = stitches[0][:2]
    return f"{source}~{target}:" + ",".join(f"{i}-{j}" for *_, i, j in stitches)


def code(tester):
    return " ".join(block.value for block in tester.code)


def folded(tester):
    return [fold for fold in tester.expander if fold.label == "Train these stitches"]


def downloads(tester):
    return [one.proto.label for one in tester.get("download_button")]


def test_the_studys_recipe_trains_the_list_and_an_estimate_says_what_it_takes(
    app, computed, stitches, started
):
    tester = look(app, computed[0].root, "my_list", list=address(stitches))
    assert len(folded(tester)) == 1
    assert widget(tester, "recipe_steps").value == SMALL.training.steps
    assert "2 stitches and 2 anchors in one network" in captions(tester)
    assert "trained for about 500 of the 2,000 steps each" in captions(tester)
    assert "scale = [1.0, 1.0]" in code(tester)
    assert "klas train stitches-small.json " in code(tester)
    assert "--steps" not in code(tester)
    press(tester, "Estimate")
    press(tester, "Train")
    job = TrainJob(stitches=stitches, recipe=SMALL.training)
    assert started == [EstimateJob(of=job), job]


def test_what_is_edited_is_in_the_job_and_in_the_command(app, computed, stitches, started):
    tester = look(app, computed[0].root, "my_list", list=address(stitches))
    widget(tester, "recipe_steps").set_value(40).run()
    assert "small.toml --steps 40 --out trained" in code(tester)
    assert not [label for label in downloads(tester) if label.endswith(".toml")]
    widget(tester, "recipe_distillation").set_value("hard").run()
    widget(tester, "recipe_validate_every").set_value(20).run()
    widget(tester, "recipe_mixes").set_value(True).run()
    assert not tester.exception
    assert "klas train stitches-small.json small-training.toml --out trained" in code(tester)
    assert "Download small-training.toml" in downloads(tester)
    press(tester, "Train")
    (job,) = started
    assert job.recipe == SMALL.training.model_copy(
        update={
            "steps": 40,
            "distillation": "hard",
            "validate_every": 20,
            "mixup": 0.8,
            "cutmix": 1.0,
        }
    )
    # It lasts from page to page, until it is taken back.
    tester.switch_page("views/study.py").run()
    tester.switch_page("views/my_list.py").run()
    assert widget(tester, "recipe_steps").value == 40
    press(tester, "Back to the study's recipe")
    assert widget(tester, "recipe_steps").value == SMALL.training.steps
    assert "Back to the study's recipe" not in labels(tester)


def test_a_recipe_that_makes_no_sense_is_a_sentence_and_nothing_can_be_started(
    app, computed, stitches
):
    tester = look(app, computed[0].root, "my_list", list=address(stitches))
    widget(tester, "recipe_lr").set_value(0.0).run()
    assert not tester.exception
    assert ["training.lr" in error.value for error in tester.error] == [True]
    assert "Train" not in labels(tester)


def test_what_is_chosen_on_stitches_is_trained_from_there_too(app, computed, pair, started):
    tester = look(app, computed[0].root, "stitches")
    assert len(folded(tester)) == 1
    press(tester, "Train")
    (job,) = started
    assert {stitch[:2] for stitch in job.stitches} == {pair.names}
    assert f"klas train stitches-{'-'.join(pair.names)}.json" in code(tester)


def begin(copied, document, stitches, recipe, *, step=4):
    """Leave what a worker leaves of a training that was begun; returns its folder."""
    job = TrainJob(stitches=tuple(sorted(stitches)), recipe=recipe)
    folder = training_folder(copied, job_id(SMALL, job))
    folder.mkdir(parents=True)
    pairs = [p for p in pairs_of(document) if p.names == stitches[0][:2]]
    wanted = {stitch[2:] for stitch in stitches}
    masks = [[place in wanted for place in p.everywhere] for p in pairs]
    spec = SMALL.selection
    listed = stitch_list(document, spec, pairs=pairs, by_hand=[np.array(m) for m in masks])
    write(listed, folder / LIST)
    (folder / NOTE).write_text(json.dumps({"recipe": recipe.model_dump(mode="json")}))
    log = Log(folder / LOG, 0)
    for k in range(1, step + 1):
        log.step(k, stitches[0][0], 1 / k, 0.1)
    log.close()
    return folder


RECIPE = change(SMALL, "training", steps=8, validate_every=2).training


def test_a_training_that_stopped_says_at_which_step_and_goes_on(
    app, copied, computed, stitches, started
):
    begin(copied, computed[1], stitches, RECIPE)
    tester = look(app, copied.root, "my_list")
    assert "Trained networks" in [s.value for s in tester.subheader]
    assert "**2 stitches, 8 steps of 128 images (unfinished)**" in said(tester)
    assert "Stopped, step 4 of 8 after" in captions(tester)
    assert "Every member is measured every 2 steps." in captions(tester)
    assert len(tester.get("plotly_chart")) == 1
    tester = look(app, copied.root, "my_list", list=address(stitches))
    widget(tester, "recipe_steps").set_value(8).run()
    widget(tester, "recipe_validate_every").set_value(2).run()
    press(tester, "Go on training")
    assert [job.recipe for job in started] == [RECIPE]


def test_members_are_drawn_as_they_are_measured(app, copied, computed, stitches):
    folder = begin(copied, computed[1], stitches, RECIPE)
    log = Log(folder / LOG, 4)
    log.accuracies(2, dict.fromkeys([stitches[0][0], "no member"], 0.5))
    log.close()
    tester = look(app, copied.root, "my_list")
    assert len(tester.get("plotly_chart")) == 2
    assert not tester.exception


def finish(folder, pair, stitches):
    """Leave the network too."""
    network = elastic({pair.names: [stitch[2:] for stitch in stitches]})
    accuracy = {m.name: 0.5 + k / 100 for k, m in enumerate(network.members)}
    network.note_accuracy("trained", accuracy)
    log = Log(folder / LOG, 8)
    log.accuracies(8, accuracy)
    log.close()
    network.save(folder)
    seal(folder)
    return network


def test_a_finished_network_shows_its_members_and_is_taken_away(
    app, copied, computed, pair, stitches, tmp_path
):
    folder = begin(copied, computed[1], stitches, RECIPE, step=8)
    network = finish(folder, pair, stitches)
    tester = look(app, copied.root, "my_list", list=address(stitches))
    members = table(tester, "trained (%)")
    assert members["member"].tolist() == [member.name for member in network.members]
    assert members["trained (%)"].tolist() == pytest.approx([50.0, 51.0, 52.0, 53.0])
    known = members.set_index("member")["pretrained (%)"]
    assert known[pair.names[0]] == pytest.approx(100 * pair.source["accuracy"])
    assert "Trained in" in captions(tester)
    said_plainly = captions(tester).replace("\\", "")
    assert f"In the cache folder it is trained/{folder.name}." in said_plainly
    assert str(copied.root) not in said(tester)
    assert any(label.startswith("Download small-trained.zip") for label in downloads(tester))
    assert 'klas.load("small-trained")\nnetwork.use(macs=' in code(tester)
    assert "klas export small-trained --member " in code(tester)
    with zipfile.ZipFile(io.BytesIO(_zip(folder, "small-trained"))) as packed:
        assert packed.testzip() is None
        packed.extractall(tmp_path / "unpacked")
    loaded = klas.load(tmp_path / "unpacked" / "small-trained")
    assert [m.name for m in loaded.members] == [m.name for m in network.members]
    # The same list with the same recipe is not offered again.
    widget(tester, "recipe_steps").set_value(8).run()
    widget(tester, "recipe_validate_every").set_value(2).run()
    assert "It is trained: see **Trained networks**" in said(tester)
    assert "Train" not in labels(tester)


def test_of_several_trainings_the_last_stands_first_and_others_anchors_have_none(
    app, copied, computed, stitches
):
    document = computed[1]
    first = begin(copied, document, stitches, RECIPE)
    os.utime(first / LIST, (1, 1))
    begin(copied, document, stitches, RECIPE.model_copy(update={"steps": 9}))
    other = begin(copied, document, stitches, RECIPE.model_copy(update={"steps": 10}))
    listed = json.loads((other / LIST).read_text())
    listed["anchors"][0]["digest"] = "0" * 64
    (other / LIST).write_text(json.dumps(listed))
    tester = look(app, copied.root, "my_list")
    options = tester.selectbox(key="widget:training").options
    assert [option.partition(", ")[2] for option in options] == [
        "9 steps of 128 images (unfinished)",
        "8 steps of 128 images (unfinished)",
    ]
