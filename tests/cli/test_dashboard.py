"""`klas dashboard`, and who may talk to the app that it starts."""

import base64
import contextlib
import os
import socket
import subprocess
import sys

import pytest

from klas.cli.main import main
from tests.dashboard.reverse_proxy import PASSWORD, ReverseProxy
from tests.dashboard.server import ROOT

RUN = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py"]


def command_of(*arguments, monkeypatch):
    """What `klas dashboard` starts."""
    started = []
    monkeypatch.setattr(subprocess, "call", lambda command, **_: started.append(command) or 0)
    with pytest.raises(SystemExit) as left:
        main(["dashboard", *arguments])
    assert left.value.code == 0
    return started[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(params=["its configuration", "klas dashboard"])
def port(request, monkeypatch, tmp_path):
    """The app's port, started in a checkout, or by the command where there is no checkout."""
    port = free_port()
    command, folder = RUN, ROOT
    if request.param == "klas dashboard":
        command, folder = command_of(monkeypatch=monkeypatch), tmp_path
    with running(command, folder, port, tmp_path):
        yield port


@contextlib.contextmanager
def running(command, folder, port, tmp_path):
    environment = os.environ | {
        "KLAS_CACHE_DIR": str(tmp_path / "cache"),
        "STREAMLIT_SERVER_HEADLESS": "true",
        "STREAMLIT_SERVER_PORT": str(port),
    }
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if "URL:" in line:
                break
        yield
        process.terminate()
        process.communicate()


def status(port, path, host, **headers):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in headers.items())]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = connection.recv(64)
    return int(answer.split()[1])


def websocket(port, host, origin=None, path="", **headers):
    """The answer to a page of that name that opens the app's WebSocket."""
    key = base64.b64encode(bytes(16)).decode()
    return status(
        port, f"{path}/_stcore/stream", host, Origin=origin or f"http://{host}",
        Connection="Upgrade", Upgrade="websocket",
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}, **headers,
    )  # fmt: skip


@pytest.mark.slow
def test_the_app_answers_to_its_own_names_alone(port):
    for host in ("localhost", "127.0.0.1", f"localhost:{port}", f"127.0.0.1:{port}"):
        assert status(port, "/", host) == 200
        assert websocket(port, host) == 101
    for host in ("rebound.example", f"rebound.example:{port}", "localhost.rebound.example", "[::]"):
        assert websocket(port, host) == 403


@pytest.mark.slow
def test_behind_a_reverse_proxy_only_who_has_the_password_comes_in_by_its_name_and_path(tmp_path):
    port, host, origin = free_port(), "klas.example", "https://klas.example"  # TLS ends there
    allowed = ["--server.baseUrlPath", "klas", "--server.allowedHosts", host]
    with running([*RUN, *allowed], ROOT, port, tmp_path):
        proxy = ReverseProxy(port)
        for known, page, stream in (({}, 401, 401), ({"Authorization": PASSWORD}, 200, 101)):
            for path in ("/klas/", "/klas/stitches", "/klas/_stcore/health"):
                assert status(proxy.port, path, host, **known) == page
            assert websocket(proxy.port, host, origin, "/klas", **known) == stream
        for other in (("evil.example", origin), (host, "https://evil.example"), ("localhost",)):
            assert websocket(proxy.port, *other[:2], path="/klas", **known) == 403
        assert status(proxy.port, "/", host, **known) == 404
        proxy.shutdown()
        proxy.server_close()


def test_the_command_refuses_a_broken_study_before_it_starts(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: pytest.fail("it was started"))
    broken = tmp_path / "broken.toml"
    broken.write_text("anchors = 3")
    with pytest.raises(SystemExit) as left:
        main(["dashboard", str(broken)])
    assert left.value.code == 1
    assert str(broken) in capsys.readouterr().err
