"""``klas train``: from a list to a folder that klas.load reads."""

import json

import numpy as np
import pytest

import klas as package
from klas.deploy.training import loop
from klas.deploy.training.log import read_log
from klas.results.formats import read
from tests.conftest import SMALL

PAIR = ("digits_vit_tiny", "digits_vit_small")
QUICK = '[training]\nsteps = 4\nbatch = 16\nvalidate_every = 2\naa = ""\nmixup = 0\ncutmix = 0\n'


@pytest.fixture
def listed(klas, study):
    """A list of one pair, and the study with a short recipe."""
    done = klas("select", study, "--pair", *PAIR, "--out", "list.json")
    assert done.returncode == 0, done.stderr
    text = SMALL.to_toml().partition("[training]")[0] + QUICK
    study.write_text(text)
    return "list.json", study


def test_a_list_becomes_a_network_whose_accuracies_are_its_own(klas, listed, tmp_path):
    path, study = listed
    done = klas("train", path, study, "--out", "trained", "--json")
    assert done.returncode == 0, done.stderr
    assert "about " in done.stderr
    trained = json.loads(done.stdout)["trained"]
    elastic = package.load(tmp_path / "trained")
    assert elastic.tier == trained["tier"] == "trained"
    assert [member.to_json() for member in elastic.members] == trained["members"]
    stitches = read(tmp_path / path, "klas-stitches")["stitches"]
    assert len(elastic.members) == len(stitches) + 2
    last = {
        row["member"]: float(row["accuracy"])
        for row in read_log(tmp_path / "trained" / "log.csv")
        if row["accuracy"]
    }
    for member in elastic.members:
        assert last[member.name] == pytest.approx(member.accuracy["trained"], abs=1e-5)
    # On the very images that the list was made on, by a plain loop over pictures.
    images = package.Pipeline(SMALL, package.Store(tmp_path / "other")).context.val
    network = elastic.use(elastic.members[0].name)
    right = [
        int(network(network.prepare(images.images.image(row))[None]).argmax())
        == images.images.labels[row]
        for row in images.rows
    ]
    assert np.mean(right) == pytest.approx(network.member.accuracy["trained"])
    assert not (tmp_path / "trained" / loop.CHECKPOINT).exists()
    steps = [row["step"] for row in read_log(tmp_path / "trained" / "log.csv") if row["loss"]]
    assert steps == ["4"]  # every tenth, and the last


def test_a_finished_training_is_read_and_another_refused(klas, listed, tmp_path):
    path, study = listed
    first = klas("train", path, study, "--out", "trained", "--json")
    again = klas("train", path, study, "--out", "trained", "--json")
    assert first.stdout == again.stdout
    assert "about " not in again.stderr
    other = klas("train", path, study, "--out", "trained", "--steps", 5)
    assert other.returncode == 1
    assert "trained: holds a training with steps = 4, not 5; name another" in other.stderr


def test_interrupted_it_goes_on(klas, listed, tmp_path, monkeypatch):
    path, study = listed
    study.write_text(study.read_text() + "checkpoint_seconds = 0\n")
    straight = klas("train", path, study, "--out", "straight", "--json")

    class Stop:
        def __init__(self, *_):
            pass

        def step(self, *_):
            raise KeyboardInterrupt

        def accuracies(self, *_):
            pass

        def close(self):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Log", Stop)
        study.write_text(study.read_text() + "log_every = 3\n")
        assert klas("train", path, study, "--out", "again").returncode == 130
    assert (tmp_path / "again" / loop.CHECKPOINT).exists()
    assert not (tmp_path / "again" / "config.json").exists()
    again = klas("train", path, study, "--out", "again", "--json")
    assert again.returncode == 0, again.stderr
    members = [json.loads(done.stdout)["trained"]["members"] for done in (straight, again)]
    assert members[0] == members[1]
    for name in ("straight", "again"):
        assert (tmp_path / name / "model.safetensors").exists()
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("straight", "again")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("epochs = 3\n", "unknown key 'training.epochs'"),
        ('aa = "luck"\n', "aa = 'luck': timm doesn't know it"),
        ('opt = "luck"\n', "opt = 'luck': is no optimiser of timm's"),
        ("accumulate = 7\n", "batch = 16: is taken in 7 parts"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_in_a_sentence(
    klas, listed, tmp_path, recipe, words
):
    path, study = listed
    study.write_text(study.read_text().replace('aa = ""\n', "") + recipe)
    done = klas("train", path, study, "--out", "trained")
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert not (tmp_path / "trained").exists()


def test_a_training_that_fails_leaves_its_folder_free_for_another_recipe(klas, listed, tmp_path):
    path, study = listed
    good = study.read_text()
    study.write_text(good + "lr = 1e30\nwarmup = 0\nclip = 0\nlog_every = 1\n")
    done = klas("train", path, study, "--out", "trained")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "diverged at step 2, member digits_vit" in said
    assert sorted(p.name for p in (tmp_path / "trained").iterdir()) == ["log.csv"]
    study.write_text(good)
    assert klas("train", path, study, "--out", "trained").returncode == 0
    assert read_log(tmp_path / "trained" / "log.csv")[0]["lr"] != "1e+30"


def test_a_folder_that_is_a_file_is_refused(klas, listed, tmp_path):
    path, study = listed
    for out in (path, f"{path}/trained"):
        done = klas("train", path, study, "--out", out)
        assert done.returncode == 1
        assert f"{out}: is no folder, or lies in none" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("free", [10**6, None])
def test_a_batch_for_which_memory_will_not_do_is_refused_before_it_is_loaded(
    klas, listed, tmp_path, monkeypatch, free
):
    path, study = listed
    monkeypatch.setattr("klas.deploy.training.expected.available_memory_bytes", lambda: free)
    done = klas("train", path, study, "--out", "trained")
    if free is None:  # where nobody says how much there is
        assert done.returncode == 0
        return
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "not enough memory for 16 images at once; lower [training] batch" in said
    assert not (tmp_path / "trained").exists()


def test_the_images_must_be_those_of_the_list_unless_a_study_names_others(klas, listed, tmp_path):
    path, _ = listed
    document = json.loads((tmp_path / path).read_text())
    document["data"]["train"]["fingerprint"] = "0" * 64
    (tmp_path / "moved.json").write_text(json.dumps(document))
    done = klas("train", "moved.json", "--out", "trained", "--steps", 1)
    assert done.returncode == 1
    assert (
        "klas/digits:train: the images are not those that moved.json was made with" in done.stderr
    )


def test_a_list_without_stitches_or_without_a_file(klas, listed, tmp_path):
    path, _ = listed
    document = json.loads((tmp_path / path).read_text()) | {"stitches": []}
    (tmp_path / "none.json").write_text(json.dumps(document))
    assert "has no stitches" in klas("train", "none.json", "--out", "trained").stderr
    assert "cannot be read" in klas("train", "nowhere.json", "--out", "trained").stderr
    assert not (tmp_path / "trained").exists()
