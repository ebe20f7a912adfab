"""Whatever holds the output, no command fails for a letter that it cannot hold."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from klas.cli.main import main
from klas.cli.printing import json_for, prints_anywhere

COMMANDS = [
    ["--help"],
    ["run", "--help"],
    ["study", "show"],
    ["anchors"],
    ["run"],
    ["scores", "--out", "scores.json"],
    ["select"],
    ["compare"],
    ["cache", "ls"],
]


@pytest.fixture
def printed(computed, study, tmp_path, monkeypatch):
    """Run the command in this process, with output in an encoding; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KLAS_CACHE_DIR", str(computed[0].root))
    handler = signal.getsignal(signal.SIGTERM)

    def run(arguments, encoding):
        first = next((k for k, a in enumerate(arguments) if a.startswith("-")), len(arguments))
        named = [] if arguments[0] == "cache" or "--help" in arguments else [str(study)]
        words = [*arguments[:first], *named, *arguments[first:]]
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as left:
                main(words)
        for stream in streams:
            stream.flush()
        text, said = (stream.buffer.getvalue().decode(encoding) for stream in streams)
        assert left.value.code == 0, said
        return text

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_encoding_gets_the_whole_output(printed, command, encoding):
    text = printed(command, encoding)
    whole = printed(command, "utf-8")
    assert len(text.splitlines()) == len(whole.splitlines())
    if encoding != "utf-8":
        assert "→" not in text
        assert ("->" in text) == ("→" in whole)
        assert ("tau" in text) >= ("τ" in whole)


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--help" not in c], ids=" ".join)
def test_json_says_the_same_in_every_encoding(printed, command):
    ascii_, western, whole = (
        printed([*command, "--json"], e) for e in ("ascii", "cp1252", "utf-8")
    )
    assert json.loads(ascii_) == json.loads(western) == json.loads(whole)


def test_a_letter_that_a_document_has_is_escaped_and_not_spelled():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    prints_anywhere(stream)
    print(json_for(stream, {"name": "a → b ü"}), file=stream, flush=True)
    assert json.loads(stream.buffer.getvalue()) == {"name": "a → b ü"}
    broken = "caf\udce9.png"  # a file name that is no text
    assert json.loads(json_for(io.TextIOWrapper(io.BytesIO(), "utf-8"), [broken])) == [broken]


def test_a_letter_without_a_spelling_is_masked():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    prints_anywhere(stream)
    print("Γ(i → j): 猫\udce9", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"Gamma(i -> j): ??\n"


@pytest.mark.parametrize("arguments", [["--help"], ["study", "show"], ["run", "absent.toml"]])
@pytest.mark.parametrize("streams", [("stdout",), ("stdout", "stderr")], ids=" and ".join)
def test_a_reader_who_leaves_a_process_in_another_locale_gets_no_traceback(
    tmp_path, arguments, streams
):
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"KLAS_CACHE_DIR": str(tmp_path), "LC_ALL": "C"}
    environment |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | dict.fromkeys(streams, writing)
    done = subprocess.run(
        [sys.executable, "-m", "klas", *arguments], **pipes, env=environment, timeout=60
    )
    os.close(writing)
    assert done.returncode in (0, 1)
    assert b"Traceback" not in (done.stderr or b"")
    assert b"Exception" not in (done.stderr or b"")
