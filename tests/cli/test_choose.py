"""``klas select`` and ``klas check``."""

from klas.results.formats import read


def test_select_check_and_load_agree(klas, study, tmp_path):
    for name in ("a", "b"):
        done = klas(
            "select", study, "--tau", 0.1, "--out", f"{name}.json", "--weights", "w.safetensors"
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    stitches = read(tmp_path / "a.json", "klas-stitches")["stitches"]
    checked = klas("check", "a.json")
    assert checked.returncode == 0, checked.stderr
    assert f"{len(stitches)} stitches rebuilt as stated" in checked.stdout


def test_select_of_a_tier_that_was_not_computed_says_what_to_run(klas, study, tmp_path):
    done = klas(
        "select", study, "--tau", 0.77, "--out", "o.json", "--weights", "w.safetensors",
        "--tier", "finetuned",
    )  # fmt: skip
    assert done.returncode == 1
    assert "klas finetune" in done.stderr
    assert list(tmp_path.glob("*.safetensors")) == []
