import json
import pickle
import random

import pytest
from timm.data import ImageNetInfo

from klas.data.labels import Output, class_columns, columns_by_anchor, read_class_map
from klas.errors import AnchorError, DataError

IN1K = ImageNetInfo("imagenet-1k")
IDS = IN1K.label_names()
IMAGENETTE = [
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
]


def columns(names, classes, *, tagged=True, class_map=None):
    return class_columns(names, classes=classes, tagged=tagged, class_map=class_map, where="data")


def test_imagenette_gets_its_published_indices():
    """fast.ai's Imagenette: tench, English springer, cassette player, chain saw, church, …"""
    wanted = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
    assert columns(IMAGENETTE, 1000) == wanted
    names = [IN1K.index_to_description(k).split(",")[0] for k in wanted]
    assert names[:4] == ["tench", "English springer", "cassette player", "chain saw"]


@pytest.mark.parametrize(
    ("classes", "label_set"),
    [
        (1000, "imagenet-1k"),
        (11221, "imagenet-21k-miil"),
        (11821, "imagenet-12k"),
        (21841, "imagenet-22k"),
        (21842, "imagenet-22k-ms"),
        (21843, "imagenet-21k-goog"),
    ],
)
def test_a_subset_maps_into_every_label_set_of_imagenet(classes, label_set):
    own = ImageNetInfo(label_set).label_names()
    names = sorted(random.Random(0).sample(own, 100))
    assert [own[c] for c in columns(names, classes)] == names


def test_the_whole_label_set_in_order_is_the_identity():
    assert columns(IDS, 1000) is None
    assert columns(IDS[::-1], 1000) == tuple(range(999, -1, -1))


def test_folders_with_a_word_after_the_id():
    assert columns(["n02085620-Chihuahua", "n02085782-Japanese_spaniel"], 1000) == (151, 152)


def test_an_unknown_id_is_named():
    with pytest.raises(DataError, match=r"imagenet-1k.* has no class n99999999; "):
        columns([*IMAGENETTE, "n99999999"], 1000)
    with pytest.raises(DataError, match="n99999999"):  # though the counts agree
        columns([*IDS[:-1], "n99999999"], 1000)


def test_own_weights_may_be_trained_on_any_thousand_ids():
    names = sorted([*IDS[:-1], "n00005787"])
    assert columns(names, 1000, tagged=False) is None
    with pytest.raises(DataError, match="n00005787"):
        columns(names[:900], 1000, tagged=False)


def test_as_many_folders_as_outputs_are_the_outputs_in_order():
    assert columns(["ant", "bee", "cow"], 3) is None
    assert columns(IMAGENETTE, 10, tagged=False) is None


def test_another_number_of_folders_is_refused():
    with pytest.raises(DataError, match=r"have 2 classes \(ant, bee\), .*distinguishes 3; give"):
        columns(["ant", "bee"], 3)


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("count", [10, 1000])
def test_words_for_an_imagenet_head_are_refused(tagged, count):
    """A thousand folders called tench, goldfish, … would be silently wrong: sorted by name."""
    names = sorted(f"class {k}" for k in range(count))
    with pytest.raises(DataError, match=r"imagenet-1k.*class 0, class 1.*WordNet ids.*class_map"):
        columns(names, 1000, tagged=tagged)


def test_one_folder_that_is_no_id_is_named():
    with pytest.raises(DataError, match="but junk are not WordNet ids"):
        columns([*IMAGENETTE, "junk"], 1000)


def test_imagenets_own_descriptions_in_its_order_are_the_identity():
    names = IN1K.label_descriptions()
    names[134], names[517] = "crane (bird)", "crane (machine)"  # two classes share this one
    assert columns(names, 1000) is None
    with pytest.raises(DataError, match="class_map"):
        columns(sorted(names), 1000)


def test_a_class_map_goes_before_everything():
    assert columns(["bee", "ant"], 1000, class_map={"ant": 7, "bee": 3, "cow": 1}) == (3, 7)
    assert columns(["ant", "bee"], 2, class_map={"ant": 0, "bee": 1}) is None
    assert columns(IMAGENETTE[:2], 1000, class_map=dict(zip(IMAGENETTE, range(10)))) == (0, 1)


@pytest.mark.parametrize(
    ("class_map", "sentence"),
    [
        ({"ant": 0}, "lacks the classes bee"),
        ({"ant": 0, "bee": 1000}, "outputs 0 to 999, but the class_map says bee → 1000"),
        ({"ant": 5, "bee": 5}, "ant and bee are both output 5"),
    ],
)
def test_a_class_map_that_does_not_fit(class_map, sentence):
    with pytest.raises(DataError, match=sentence):
        columns(["ant", "bee"], 1000, class_map=class_map)


def test_anchors_of_two_label_sets_share_folders_named_by_ids():
    outputs = {
        "small": Output(1000, True),
        "large": Output(21843, True),
        "features": Output(0, True),
    }
    actual = columns_by_anchor(outputs, IMAGENETTE, where="data")
    assert actual.keys() == {"small", "large"}
    goog = ImageNetInfo("imagenet-21k-goog").label_names()
    assert [IDS[c] for c in actual["small"]] == IMAGENETTE
    assert [goog[c] for c in actual["large"]] == IMAGENETTE


def test_anchors_of_two_label_sets_are_refused_where_nothing_joins_them():
    outputs = {"small": Output(1000, True), "mine": Output(3, False)}
    with pytest.raises(AnchorError, match=r"small: imagenet-1k, mine: 3 classes\).*WordNet ids"):
        columns_by_anchor(outputs, ["ant", "bee", "cow"], where="data")
    with pytest.raises(AnchorError, match="one class_map cannot serve"):
        columns_by_anchor(outputs, ["ant"], class_map={"ant": 1}, where="data")


def test_headless_anchors_alone_need_nothing():
    assert columns_by_anchor({"a": Output(0, True)}, ["ant"], where="data") == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.txt", "ant\n bee \n\ncow ant\n\n"),
        ("map.csv", 'class,index\nant,0\n"cow ant",3\nbee, 1\n'),
        ("map.csv", "ant,0\nbee,1\ncow ant,3\n"),
        ("map.json", json.dumps({"ant": 0, "bee": 1, "cow ant": 3})),
    ],
)
def test_class_maps_in_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_class_map(tmp_path / name) == {"ant": 0, "bee": 1, "cow ant": 3}
    assert read_class_map(str(tmp_path / name)) == {"ant": 0, "bee": 1, "cow ant": 3}


def test_timms_form_is_read_as_timm_reads_it(tmp_path):
    from timm.data.readers.class_map import load_class_map

    (tmp_path / "map.txt").write_text("\n".join(IDS) + "\n")
    assert read_class_map(tmp_path / "map.txt") == load_class_map(str(tmp_path / "map.txt"))


def test_tables_and_none():
    assert read_class_map(None) is None
    assert read_class_map({"ant": 2}) == {"ant": 2}


class Planted:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_a_pickle_is_never_opened(tmp_path):
    (tmp_path / "map.pkl").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(DataError, match="pickles are not opened"):
        read_class_map(tmp_path / "map.pkl")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("map.txt", b"ant\nbee\nant\n", "'ant' occurs twice"),
        ("map.txt", b"\n\n", "holds no class"),
        ("map.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("map.csv", b"ant,0\nbee,one\n", "'bee' needs a column number"),
        ("map.csv", b"ant,0,1\n", "a line of a class map is class,column"),
        ("map.csv", b"ant,-1\nbee,1\n", "'ant' needs a column number"),
        ("map.json", b"[0, 1]", "is not a JSON object"),
        ("map.json", b"{", "not valid JSON"),
        ("map.json", b'{"ant": true}', "'ant' needs a column number"),
        ("map.json", b'{"ant": 1, "ant": 2}', "'ant' occurs twice"),
        ("map.json", b"[" * 100_000, "not valid JSON"),
    ],
)
def test_class_maps_that_are_refused(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read_class_map(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_absent_class_map_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt: cannot be read"):
        read_class_map(tmp_path / "gone.txt")


def test_a_study_takes_a_class_map_from_its_own_folder(tmp_path):
    from klas.study import load_study, parse_study

    text = 'name = "s"\nanchors = ["a", "b"]\n[data]\ntrain = "x"\nval = "y"\nclass_map = '
    (tmp_path / "map.txt").write_text("ant\n")
    (tmp_path / "study.toml").write_text(text + '"map.txt"')
    assert load_study(tmp_path / "study.toml").data.class_map == str(tmp_path / "map.txt")
    (tmp_path / "study.toml").write_text(text + "{ant = 1, bee = 0}")
    study = load_study(tmp_path / "study.toml")
    assert study.data.class_map == {"ant": 1, "bee": 0}
    (tmp_path / "again.toml").write_text(study.to_toml())
    assert load_study(tmp_path / "again.toml") == study
    assert parse_study(study.model_dump(mode="json"), "raw") == study
