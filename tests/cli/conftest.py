"""The command, called in this process, with what it prints and its exit status."""

import signal
from dataclasses import dataclass

import pytest

from klas.cli.main import main
from tests.conftest import SMALL
from tests.jobs.workers import hold, no_worker_left, on_cpu

__all__ = ["hold", "klas", "no_worker_left", "on_cpu", "study"]


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def study(tmp_path):
    """The file of the small study, which is computed."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL.to_toml())
    return path


@pytest.fixture
def klas(computed, tmp_path, monkeypatch, capsys):
    """Run the command in the folder ``tmp_path``, on a cache in which the small study is."""
    store, _ = computed
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments, cache=store.root):
        monkeypatch.setenv("KLAS_CACHE_DIR", str(cache))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return Done(returncode=exit_.value.code, stdout=streams.out, stderr=streams.err)

    yield run
    signal.signal(signal.SIGTERM, handler)
