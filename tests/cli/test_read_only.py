"""Every command on a read-only cache: what reads works as ever, what computes says one sentence."""

import pytest

from tests.readonly import read_only


@pytest.mark.parametrize(
    "arguments",
    [
        ["cache", "ls"],
        ["cache", "verify"],
        ["study", "show"],
        ["run"],
        ["anchors"],
        ["scores", "--out", "scores.json"],
        ["select", "--out", "stitches.json"],
        ["compare"],
    ],
    ids=" ".join,
)
def test_what_is_stored_is_shown(klas, computed, study, tmp_path, monkeypatch, arguments):
    if arguments[0] != "cache":
        arguments = [*arguments, str(study)]
    wanted = klas(*arguments)
    root = computed[0].root
    with read_only(root, monkeypatch):
        done = klas(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == wanted.stdout
    if arguments[0] != "study":
        assert f"{root} is read-only: nothing can be added or deleted\n" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["finetune"], ["latency"], ["run", "--until", "anchors", "other.toml"], ["cache", "clear"]],
    ids=" ".join,
)
def test_what_is_to_be_computed_is_refused(klas, computed, study, tmp_path, monkeypatch, arguments):
    text = study.read_text(encoding="utf-8")
    (tmp_path / "other.toml").write_text(text.replace("seed = 0", "seed = 1", 1), encoding="utf-8")
    if arguments in (["finetune"], ["latency"]):
        arguments = [*arguments, str(study)]
    with read_only(computed[0].root, monkeypatch):
        done = klas(*arguments)
    assert done.returncode == 1
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("klas: ")]
    assert "is read-only" in line
    assert "name another folder with --cache-dir" in line
