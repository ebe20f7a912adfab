"""``klas export``, from a list of the small study."""

import json

import pytest
import torch

from klas.results.export_formats import EXPORT_FORMATS
from klas.results.formats import read


@pytest.fixture
def listed(klas, study, tmp_path):
    done = klas(
        "select", study, "--pair", "digits_vit_tiny", "digits_convnet",
        "--out", "l.json", "--weights", "w.safetensors",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return read(tmp_path / "l.json", "klas-stitches")


def test_it_says_what_it_takes_what_it_wrote_and_how_to_load_it(klas, listed, tmp_path):
    done = klas("export", "l.json", "--index", 0, "--to", "torch", "--out", "n.pt2")
    assert done.returncode == 0, done.stderr
    stitch = listed["stitches"][0]
    name = f"{stitch['source']}:{stitch['source_block']}-{stitch['target']}:"
    assert done.stderr.startswith(name)
    assert f"{stitch['params']:,} parameters; writing and comparing it takes about" in done.stderr
    assert f"wrote n.pt2: {name}" in done.stdout
    assert "largest difference from the network, at batches 1 and 5: " in done.stdout
    assert "    network = torch.export.load('n.pt2', extra_files=notes).module()" in done.stdout
    network = torch.export.load(tmp_path / "n.pt2").module()
    assert network(torch.zeros(7, 1, 16, 16)).shape == (7, 10)


def test_a_budget_and_json(klas, listed):
    most = max(stitch["macs"] for stitch in listed["stitches"])
    done = klas("export", "l.json", "--macs", most, "--to", "safetensors", "--out", "n", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["path"] == "n"
    assert said["to"] == "safetensors"
    assert said["notes"]["macs"] <= most
    assert said["notes"]["class_names"] == list("0123456789")
    assert said["difference"] == 0
    assert said["milliseconds"] > 0
    assert said["python"][1] == "network = klas.load('n')"
    again = klas("export", "n", "--to", "timm", "--out", "t")
    assert again.returncode == 0, again.stderr
    twice = klas("export", "n", "--to", "timm", "--out", "t")
    assert twice.returncode == 1
    assert "is a folder that holds something" in twice.stderr


BAD = [
    (["--member", "nobody", "--to", "torch", "--out", "n.pt2"], "has no member 'nobody'"),
    (["--macs", 1, "--to", "torch", "--out", "n.pt2"], "more than 1 MACs; the cheapest, "),
    (["--to", "torch", "--out", "n.pt2"], "say which by --member NAME"),
    (["--index", 99, "--to", "torch", "--out", "n.pt2"], "stitch 99 was asked for"),
    (["--index", 0, "--to", "torch", "--out", "n.bin"], "ends in .pt2"),
    (["--index", 0, "--to", "torch", "--out", "w.safetensors/n.pt2"], "cannot be written"),
    (["--index", 0, "--to", "timm", "--out", "full"], "holds something"),
    (["--index", 0, "--tier", "tuned", "--to", "timm", "--out", "n"], "is for a budget"),
    (["--index", 0, "--fuse", "--to", "timm", "--out", "n"], "leave --fuse out"),
    (["--index", 0, "--to", "onnx", "--out", "n.onnx"], 'pip install -e ".[onnx]"'),
]


def test_what_cannot_be_is_one_sentence_and_leaves_nothing(klas, listed, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPORT_FORMATS["onnx"].needs, "no-such-package", (1,))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for arguments, words in BAD:
        done = klas("export", "l.json", *arguments)
        assert done.returncode == 1, arguments
        assert words in done.stderr.splitlines()[-1]
        assert done.stderr.count("klas: ") == 1
        assert sorted(path.name for path in tmp_path.rglob("*")) == before, arguments


def test_one_member_is_asked_for_in_one_way(klas, listed):
    done = klas("export", "l.json", "--index", 0, "--macs", 9, "--to", "timm", "--out", "n")
    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr


def test_a_network_of_a_study_needs_no_list(klas, study, tmp_path):
    name = "digits_vit_tiny:1-digits_convnet:1"
    done = klas("export", study, "--member", name, "--to", "safetensors", "--out", "n", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notes"]["tier"] == "tuned"
    lower = ("--member", name, "--tier", "zero_shot", "--to", "safetensors", "--out", "z", "--json")
    assert json.loads(klas("export", study, *lower).stdout)["notes"]["tier"] == "zero_shot"
    for arguments, words in [
        (["--member", "nobody"], "study small: has no network 'nobody'"),
        (["--macs", 9], "say which network by --member"),
        (["--member", name, "--tier", "finetuned"], "the store holds no layers of tier finetuned"),
    ]:
        done = klas("export", study, *arguments, "--to", "timm", "--out", "t")
        assert done.returncode == 1
        assert words in done.stderr.splitlines()[-1]
        assert not (tmp_path / "t").exists()
    done = klas("export", "no-such-list", "--member", name, "--to", "timm", "--out", "t")
    assert done.returncode == 1
    assert "no-such-list" in done.stderr
