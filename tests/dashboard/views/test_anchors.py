"""Making, saving, opening and duplicating a study in the app."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.session.state import KEY, Draft, Session
from klas.jobs import process
from klas.jobs.kinds import CatalogueJob
from klas.storage.saved_studies import open_study, save_study, saved_studies
from klas.storage.store import Store
from klas.study import DIGITS, built_in_studies, load_study
from tests.conftest import SMALL
from tests.dashboard.reading import session, widget
from tests.small_catalogue import NETWORKS, put_catalogue

TAGS = [n.tag for n in NETWORKS]


def field(tester, label):
    """The one text or number input of that label."""
    (actual,) = [w for w in [*tester.text_input, *tester.number_input] if w.label == label]
    return actual


def button(tester, label):
    (actual,) = [b for b in tester.button if b.label == label]
    return actual


def shown(tester):
    return tester.dataframe[0].value["network"].tolist()


def picked(*tags):
    return [{"name": t, "model": t, "weights": None} for t in tags]


@pytest.fixture
def root(tmp_path):
    """A cache folder with a catalogue."""
    store = Store(tmp_path / "cache")
    put_catalogue(store)
    store.close()
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path):
    for name in ("train", "val"):
        (tmp_path / name / "cat").mkdir(parents=True)
    return tmp_path


def fill(tester, images, name="zoo"):
    field(tester, "Name").set_value(name)
    field(tester, "Training images").set_value(str(images / "train"))
    field(tester, "Validation images").set_value(str(images / "val"))


def test_without_a_catalogue_a_button_starts_the_worker_that_builds_it(app, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(process, "start", lambda store, *job: started.append(job))
    tester = app(tmp_path / "empty", "anchors")
    assert not tester.dataframe
    button(tester, "Build the catalogue").click().run()
    assert started == [(None, CatalogueJob())]
    assert not tester.exception


def test_the_catalogue_is_found_once_it_is_there(app, tmp_path):
    tester = app(tmp_path / "cache", "anchors")
    assert not tester.dataframe
    store = Store(tmp_path / "cache")
    put_catalogue(store)
    store.close()
    tester.run()
    assert shown(tester) == TAGS


def test_the_table_follows_text_family_cost_and_size(app, root):
    tester = app(root, "anchors")
    assert shown(tester) == TAGS
    assert "ValueError: no" in tester.dataframe[0].value["not counted because"].tolist()
    tester.text_input(key="find:text").set_value("SWIN tiny").run()
    assert shown(tester) == [TAGS[3]]
    tester.text_input(key="find:text").set_value("").run()
    tester.multiselect(key="find:families").set_value(["levit", "odd"]).run()
    assert shown(tester) == TAGS[:2]
    tester.multiselect(key="find:families").set_value([]).run()
    tester.select_slider(key="find:gmacs").set_value((1, 5)).run()
    assert shown(tester) == TAGS[2:]
    tester.selectbox(key="find:size").set_value(288).run()
    assert shown(tester) == [TAGS[2]]
    tester.text_input(key="find:text").set_value("swin").run()
    assert not tester.dataframe
    assert "No network fits" in tester.info[0].value
    assert not tester.exception


def mirrored(picks, networks, selected):
    def script():
        import streamlit as st

        from dashboard.session import draft

        draft.follow_table(st.session_state["networks"], st.session_state["selected"])

    tester = AppTest.from_function(script)
    tester.session_state[KEY] = Session(draft=Draft(anchors=picks))
    tester.session_state["networks"] = networks
    tester.session_state["selected"] = selected
    tester.run()
    return [p["name"] for p in session(tester).draft.anchors]


def test_what_is_selected_is_picked_and_what_is_not_shown_stays_picked():
    local = {"name": "mine", "model": "a", "weights": "w.pth"}
    assert mirrored([], ["a", "b"], ["b"]) == ["b"]
    assert mirrored(picked("a", "b"), ["a", "b"], ["b"]) == ["b"]
    assert mirrored(picked("z", "a"), ["a", "b"], ["b"]) == ["z", "b"]
    assert mirrored([local, *picked("a")], ["a", "mine"], []) == ["mine"]


def test_a_picked_anchor_is_shown_with_its_cost_and_can_be_removed(app, root):
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    assert "2 anchors picked" in [s.value for s in tester.subheader]
    assert any("0.305 GMACs" in m.value.replace("\\", "") for m in tester.markdown)
    tester.button(key=f"drop:{TAGS[0]}").click().run()
    assert [p["name"] for p in session(tester).draft.anchors] == [TAGS[2]]


def test_picks_and_folders_become_a_study_that_is_opened(app, root, images):
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    fill(tester, images)
    field(tester, "Training images to use").set_value(400)
    button(tester, "Make study").click().run()
    assert not tester.exception
    assert not tester.error
    study = load_study(root / "studies" / "zoo.toml")
    assert [a.model for a in study.anchors] == [TAGS[0], TAGS[2]]
    assert study.data.train == str(images / "train")
    assert study.data.train_samples == 400
    assert study.tuning == type(study.tuning)()
    assert session(tester).study_name == "zoo"
    assert session(tester).draft.anchors == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, images: field(t, "Name").set_value("a/b"), "name"),
        (lambda t, images: field(t, "Name").set_value("digits"), "built-in"),
        (
            lambda t, images: field(t, "Training images").set_value(str(images / "absent")),
            "there is no folder",
        ),
        (lambda t, images: field(t, "Validation images").set_value(""), "name a folder"),
        (lambda t, images: field(t, "Central crop").set_value(1.5), "crop"),
        (lambda t, images: setattr(session(t).draft, "anchors", picked(TAGS[0])), "at least two"),
    ],
)
def test_a_slip_is_a_sentence_under_the_form_and_nothing_is_saved(app, root, images, change, words):
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    fill(tester, images)
    change(tester, images)
    button(tester, "Make study").click().run()
    assert not tester.exception
    assert [words in e.value for e in tester.error] == [True]
    assert not (root / "studies").exists()
    assert field(tester, "Training images to use").value == 100_000


@pytest.fixture
def label_maps(tmp_path):
    for name in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / name / folder).mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    return tmp_path


def picks_task(tester, task):
    next(s for s in tester.selectbox if s.label == "The networks predict").set_value(task).run()


def test_a_study_of_label_maps_says_what_their_numbers_mean(app, root, label_maps):
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    assert "Class names" not in [w.label for w in tester.text_input]
    picks_task(tester, "segmentation")
    assert "Class map" not in [w.label for w in tester.text_input]
    fill(tester, label_maps)
    field(tester, "Class names").set_value(str(label_maps / "classes.txt"))
    field(tester, "Void").set_value(11)
    button(tester, "Make study").click().run()
    assert not tester.exception
    assert not tester.error
    study = load_study(root / "studies" / "zoo.toml")
    assert study.task == "segmentation"
    assert (study.data.classes, study.data.void) == (str(label_maps / "classes.txt"), 11)
    assert study.data.crop == 1.0


def test_a_file_of_class_names_that_is_not_there_is_a_sentence(app, root, label_maps):
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    picks_task(tester, "segmentation")
    fill(tester, label_maps)
    field(tester, "Class names").set_value(str(label_maps / "absent.txt"))
    button(tester, "Make study").click().run()
    assert not tester.exception
    assert [e.value for e in tester.error if "absent.txt does not exist" in e.value]
    assert not (root / "studies").exists()


def test_a_taken_name_is_refused_until_it_may_be_replaced(app, root, images):
    store = Store(root)
    save_study(store, SMALL)
    store.close()
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    fill(tester, images, "small")
    button(tester, "Make study").click().run()
    assert "already" in tester.error[0].value
    assert load_study(root / "studies" / "small.toml") == SMALL
    next(c for c in tester.checkbox if c.label.startswith("Replace")).check()
    button(tester, "Make study").click().run()
    assert not tester.error
    assert [a.model for a in load_study(root / "studies" / "small.toml").anchors] == [
        TAGS[0],
        TAGS[2],
    ]


def test_a_local_checkpoint_joins_the_picks(app, root, tmp_path):
    tester = app(root, "anchors")
    next(s for s in tester.selectbox if s.label == "Network that it fits").set_value(TAGS[0])
    button(tester, "Add").click().run()
    assert "give a name and the file" in tester.error[0].value
    next(s for s in tester.selectbox if s.label == "Network that it fits").set_value(TAGS[0])
    field(tester, "Name of this anchor").set_value("mine")
    field(tester, "Weights file").set_value("/w.safetensors")
    button(tester, "Add").click().run()
    assert session(tester).draft.anchors == [
        {"name": "mine", "model": TAGS[0], "weights": "/w.safetensors"}
    ]


@pytest.fixture
def saved(root):
    """A cache folder with a catalogue and a saved study."""
    store = Store(root)
    save_study(store, SMALL.model_copy(update={"name": "mine", "seed": 3}))
    store.close()
    return root


def test_a_link_opens_the_study_that_it_names(app, saved):
    tester = app(saved, study="mine")
    assert [s.value for s in tester.subheader] == ["Study: mine"]
    assert widget(tester, "study").options == ["small.toml", *built_in_studies(), "mine"]


def test_the_chooser_opens_any_study_on_any_page(app, saved):
    tester = app(saved)
    assert [s.value for s in tester.subheader] == ["Study: small"]
    widget(tester, "study").set_value("digits").run()
    assert [s.value for s in tester.subheader] == [f"Study: {DIGITS.name}"]
    widget(tester, "study").set_value("mine").run()
    assert "seed = 3" in tester.code[-1].value


@pytest.mark.parametrize("name", ["absent", "../../etc/passwd", "<b>x</b>"])
def test_a_link_to_no_study_says_so_and_shows_the_default(app, saved, name):
    tester = app(saved, study=name)
    assert "There is no study" in tester.warning[0].value
    assert [s.value for s in tester.subheader] == ["Study: small"]


def test_a_choice_made_with_one_study_does_not_reach_the_next(app, computed, tmp_path):
    store, _ = computed
    twin = SMALL.model_copy(update={"name": "twin"})
    save_study(store, twin)  # another name for the same results
    try:
        tester = app(store.root, "stitches")
        widget(tester, "tau").set_value(0.8).run()
        widget(tester, "study").set_value("twin").run()
        assert not tester.exception
        assert widget(tester, "tau").value == SMALL.selection.tau
    finally:
        (store.root / "studies" / "twin.toml").unlink()


def test_a_duplicate_is_saved_and_opened(app, saved):
    tester = app(saved, study="mine")
    field(tester, "Name of the copy").set_value("second")
    button(tester, "Save the copy").click().run()
    assert not tester.exception
    store = Store(saved)
    assert saved_studies(store) == ["mine", "second"]
    assert open_study(store, "second").seed == 3
    store.close()
    assert session(tester).study_name == "second"
    field(tester, "Name of the copy").set_value("mine")
    button(tester, "Save the copy").click().run()
    assert "already" in tester.error[0].value


def test_another_like_it_starts_from_its_anchors_and_settings(app, saved):
    tester = app(saved, study="mine")
    button(tester, "Make another like it").click().run()
    assert [p["name"] for p in session(tester).draft.anchors] == [a.name for a in SMALL.anchors]
    assert field(tester, "Training images").value == SMALL.data.train
    assert field(tester, "Training images to use").value == SMALL.data.train_samples
    button(tester, "Make study").click().run()
    assert not tester.error
    made = load_study(saved / "studies" / "mine 2.toml")
    assert made == SMALL.model_copy(update={"name": "mine 2", "seed": 3})


def test_a_pick_has_options_that_reach_the_study(app, root, images):
    tester = app(root, "anchors")
    session(tester).draft.anchors = picked(TAGS[0], TAGS[2])
    tester.run()
    tester.number_input(key=f"height:{TAGS[0]}").set_value(160)
    tester.button(key=f"set:{TAGS[0]}").click().run()
    assert session(tester).draft.anchors[0]["image_size"] == [160, 160]
    tester.number_input(key=f"width:{TAGS[0]}").set_value(192)
    tester.checkbox(key=f"fused:{TAGS[0]}").check()
    tester.button(key=f"set:{TAGS[0]}").click().run()
    said_of_it = next(m.value for m in tester.markdown if TAGS[0] in m.value.replace("\\", ""))
    assert "runs at 160 × 192 pixels · fused" in said_of_it.replace("\\", "")
    fill(tester, images)
    button(tester, "Make study").click().run()
    assert not tester.exception
    assert not tester.error
    first, second = load_study(root / "studies" / "zoo.toml").anchors
    assert (first.image_size, first.fused) == ((160, 192), True)
    assert (second.image_size, second.fused) == (None, False)


def test_another_like_it_keeps_the_options_until_they_are_taken_back(app, root):
    store = Store(root)
    first, *rest = SMALL.anchors
    given = first.model_copy(update={"image_size": (16, 24), "fused": True})
    save_study(store, SMALL.model_copy(update={"name": "mine", "anchors": (given, *rest)}))
    store.close()
    tester = app(root, study="mine")
    button(tester, "Make another like it").click().run()
    pick = session(tester).draft.anchors[0]
    assert (pick["image_size"], pick["fused"]) == ([16, 24], True)
    tester.number_input(key=f"height:{first.name}").set_value(None)
    tester.number_input(key=f"width:{first.name}").set_value(None)
    tester.checkbox(key=f"fused:{first.name}").uncheck()
    tester.button(key=f"set:{first.name}").click().run()
    assert session(tester).draft.anchors[0] == first.model_dump(mode="json")


def test_a_folder_of_weights_is_taken_and_an_absent_one_refused(app, root, images):
    (images / "mine").mkdir()
    tester = app(root, "anchors")
    for weights, words in ((images / "absent", "does not exist"), (images / "mine", None)):
        local = {"name": "mine", "model": TAGS[0], "weights": str(weights)}
        session(tester).draft.anchors = [local, *picked(TAGS[2])]
        tester.run()
        fill(tester, images)
        button(tester, "Make study").click().run()
        assert [words in e.value for e in tester.error] == ([True] if words else [])
    assert load_study(root / "studies" / "zoo.toml").anchors[0].weights == str(images / "mine")
