import pytest

from klas.errors import StudyError
from klas.study import (
    DIGITS,
    AnchorSpec,
    Study,
    built_in_studies,
    change,
    load_study,
    parse_study,
)

GOOD = """
name = "mine"
anchors = ["a", { name = "b", model = "m", weights = "w.safetensors" }]
[data]
train = "t"
val = "v"
"""


def written(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_minimal_file_gets_every_default(tmp_path):
    study = load_study(written(tmp_path, GOOD))
    assert study.selection.buckets == 20
    assert study.selection.tau == 0.05
    assert study.fit.samples == 100
    assert study.data.val_samples == 5000
    assert study.anchors[0].model == "a"


def test_without_a_file_it_is_the_digits_study():
    assert load_study(None) is DIGITS


@pytest.mark.parametrize("name", built_in_studies())
def test_a_built_in_study_is_opened_by_its_name_unless_a_file_has_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_study(name) is built_in_studies()[name]
    (tmp_path / name).write_text(DIGITS.to_toml().replace('name = "digits"', 'name = "other"'))
    assert load_study(name).name == "other"


def test_saved_and_loaded_again_it_is_equal(tmp_path):
    again = load_study(written(tmp_path, DIGITS.to_toml()))
    assert again == DIGITS


def test_relative_paths_are_taken_from_the_files_folder(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "w.safetensors").touch()
    study = load_study(written(tmp_path, GOOD))
    assert study.data.train == str(tmp_path / "t")
    assert study.data.val == "v"  # nothing of that name lies there
    assert study.anchors[1].weights == str(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("[data]", "colour = 1\n[data]"), "unknown key 'colour'"),
        (GOOD + "colour = 1", "unknown key 'data.colour'"),
        (GOOD.replace('train = "t"', ""), "'data.train' is missing"),
        (
            GOOD.replace(', { name = "b", model = "m", weights = "w.safetensors" }', ""),
            "at least two",
        ),
        (GOOD.replace('name = "b"', 'name = "a"'), "named twice"),
        (GOOD.replace("[data]", 'pairs = [["a", "c"]]\n[data]'), "'c' is not an anchor"),
        (GOOD.replace("[data]", 'pairs = [["a", "a"]]\n[data]'), "to itself"),
        (GOOD.replace("[data]", "pairs = []\n[data]"), "is empty"),
        (GOOD.replace("[data]", 'pairs = "sideways"\n[data]'), "pairs"),
        (GOOD + "[selection]\ntau = -1", "selection.tau = -1"),
        (GOOD + "[selection]\ntau = nan", "selection.tau"),
        (GOOD + "[selection]\nbuckets = 0", "selection.buckets = 0"),
        (GOOD + '[selection]\nmetric = "luck"', "selection.metric"),
        (GOOD + "train_samples = 0", "data.train_samples = 0"),
        (GOOD + 'val_samples = "many"', "data.val_samples"),
        (GOOD + "[training]\nepochs = 3", "unknown key 'training.epochs'"),
        (GOOD + "[training]\nlr = 0", "training.lr = 0"),
        (GOOD + '[training]\nsched = "sideways"', "training.sched"),
        (GOOD + "[training]\nscale = [0.9, 0.1]", "the first number must not be the greater"),
        (GOOD + "[training]\nscale = [0.1, 1.5]", "is a share of the image's area"),
        ("name = [[[", "not valid TOML"),
        ("name = 3", "name = 3: input should be a valid string"),
        (
            GOOD.replace('"mine"', '"mine, too"'),
            'name = "mine, too": use letters, digits, spaces and the signs . + - _ alone',
        ),
    ],
)
def test_each_mistake_gets_one_sentence_that_names_file_and_place(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert words in message
    assert "\n" not in message


def test_an_absent_file(tmp_path):
    with pytest.raises(StudyError, match=r"none\.toml: cannot be read"):
        load_study(tmp_path / "none.toml")


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="UTF-8"):
        load_study(path)


def test_change_validates_and_leaves_the_original():
    assert change(DIGITS, "selection", tau=0.2, buckets=None).selection.tau == 0.2
    assert DIGITS.selection.tau == 0.05
    with pytest.raises(StudyError, match=r"selection\.tau = -1"):
        change(DIGITS, "selection", tau=-1)


def test_equal_studies_have_equal_keys_and_different_ones_do_not():
    again = Study.model_validate_json(DIGITS.model_dump_json())
    assert DIGITS.results_key() == again.results_key()
    assert DIGITS.results_key() != DIGITS.model_copy(update={"seed": 1}).results_key()


def test_how_stitches_are_chosen_is_no_part_of_the_results_key():
    other = change(change(DIGITS, "selection", tau=0.9), "finetuning", steps=7)
    assert other.results_key() == DIGITS.results_key()
    stem = change(DIGITS, "selection", space="with-stem")
    assert stem.results_key() != DIGITS.results_key()


def test_how_a_list_is_trained_later_is_no_part_of_what_is_stored():
    other = change(DIGITS, "training", steps=7, distillation="soft")
    assert other.training != DIGITS.training
    assert other.results_key() == DIGITS.results_key()
    assert other.content() == DIGITS.content()
    assert "training" not in DIGITS.content()


def test_a_recipe_is_read_and_written(tmp_path):
    text = GOOD + '[training]\nsteps = 9\nscale = [0.5, 1]\naa = ""\ndistillation = "hard"'
    study = load_study(written(tmp_path, text))
    recipe = study.training
    assert (recipe.steps, recipe.scale, recipe.aa, recipe.distillation) == (9, (0.5, 1), "", "hard")
    assert "[training]" in study.to_toml()
    assert load_study(written(tmp_path, study.to_toml())).training == recipe


def test_options_of_an_anchor_are_read_and_written(tmp_path):
    sized = {"name": "a", "model": "m", "image_size": 160}
    given = [sized, {"name": "b", "model": "m", "image_size": [160, 192], "fused": True}]
    raw = {"name": "s", "anchors": given, "data": {"train": "t", "val": "v"}}
    study = parse_study(raw, "here")
    assert [a.image_size for a in study.anchors] == [(160, 160), (160, 192)]
    assert [a.fused for a in study.anchors] == [False, True]
    (tmp_path / "s.toml").write_text(study.to_toml(), encoding="utf-8")
    assert load_study(tmp_path / "s.toml") == study
    assert parse_study(study.model_dump(mode="json"), "document") == study


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "160", [160], [1, 2, 3], [160, "a"], 10**6])
def test_a_size_that_is_none_is_refused(size):
    anchors = ["x", {"name": "a", "model": "m", "image_size": size}]
    raw = {"name": "s", "anchors": anchors, "data": {"train": "t", "val": "v"}}
    with pytest.raises(StudyError, match=r"here: anchors: image_size = .*\[height, width\]"):
        parse_study(raw, "here")


def test_options_that_are_not_given_leave_a_studys_digest_as_it_was():
    anchors = DIGITS.model_dump(mode="json")["anchors"]
    assert all(anchor.keys() == {"name", "model", "weights"} for anchor in anchors)
    first, *rest = DIGITS.anchors
    for option in ({"image_size": (24, 24)}, {"fused": True}):
        other = DIGITS.model_copy(
            update={"anchors": (AnchorSpec(**(first.model_dump() | option)), *rest)}
        )
        assert other.results_key() != DIGITS.results_key()


def test_a_byte_order_mark_before_a_study_is_passed_over(tmp_path):
    (tmp_path / "marked.toml").write_text(DIGITS.to_toml(), encoding="utf-8-sig")
    assert load_study(tmp_path / "marked.toml") == DIGITS
