"""What stands between a study and a Ray cluster: one sentence each, and soon. No cluster here."""

import http.server
import importlib.util
import socket
import threading

import pytest

from klas.cli.main import main
from klas.errors import WorkerError
from klas.pipeline.engines import ray_connection
from klas.pipeline.engines.ray_connection import connected, refusal, running_address


def test_ray_is_not_installed(monkeypatch, tmp_path, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find(name, *a)
    )
    with pytest.raises(WorkerError, match=r"Ray is not installed here; .*\[ray\]"), connected(None):
        pass
    with pytest.raises(SystemExit) as status:
        main(["run", "--engine", "ray", "--cache-dir", str(tmp_path)])
    assert status.value.code == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("klas: engine ray: Ray is not installed here")


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:0", "host:70000", "a:b"])
def test_what_is_no_address(address):
    with pytest.raises(WorkerError, match=r"is no address of a Ray cluster; give HOST:PORT"):
        running_address(address)


def test_rays_client_is_refused_with_what_to_do_instead():
    with pytest.raises(WorkerError, match=r"ray start --address=head:6379 --num-cpus=0"):
        running_address("ray://head:10001")


def test_nobody_answers():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WorkerError, match=rf"^127.0.0.1:{port}: no Ray cluster answers there \("):
        running_address(f"127.0.0.1:{port}")


def test_somebody_is_silent(monkeypatch):
    monkeypatch.setattr(ray_connection, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(WorkerError, match=r"no Ray cluster answers there .no answer in time"):
            running_address(address)


def test_somebody_else_answers():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(WorkerError, match="what answers there is no Ray cluster"):
                running_address(f"127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()


def test_the_environment_names_the_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(WorkerError, match="'nonsense' is no address"):
        running_address(None)
    with pytest.raises(WorkerError, match="'other' is no address"):
        running_address("other")


def test_another_version_of_ray_or_python():
    utils = pytest.importorskip("ray._private.utils")
    with pytest.raises(RuntimeError) as error:
        utils.check_version_info({"ray_version": "1.0", "python_version": "3.8.1"}, "this process")
    said = refusal("host:6379", error.value)
    assert said.startswith("host:6379: is a cluster of another Ray or Python (Version mismatch")
    assert "Ray: 1.0; Python: 3.8.1" in said
    assert said.endswith("install the same here")
    assert "\n" not in said


def test_another_refusal_is_quoted():
    said = refusal("host:6379", ConnectionError("it hung up\nand more"))
    assert said == "host:6379: Ray could not connect (ConnectionError: it hung up)"


def test_an_address_is_for_engine_ray(tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main(["run", "--address", "a:1", "--engine", "here", "--cache-dir", str(tmp_path)])
    assert status.value.code == 1
    assert "--address a:1: is for engine ray, and this is here" in capsys.readouterr().err


def test_what_a_crashed_cluster_left_behind_is_no_cluster(monkeypatch):
    services = pytest.importorskip("ray._private.services")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        left = f"127.0.0.1:{free.getsockname()[1]}"
    for found in (left, None):
        monkeypatch.setattr(
            services, "get_ray_address_from_environment", lambda *a, found=found: found
        )
        assert running_address(None) is None
