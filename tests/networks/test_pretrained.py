"""timm's tags with and without a network connection."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

from klas.networks import pretrained
from klas.networks.anchor import tensors_digest
from klas.networks.weights import load_model
from tests.networks.loading import TAG, assert_loaded, refusal, spec, state_of

default_cfgs = generate_default_cfgs(
    {
        "klas_test_address": {
            "input_size": (3, 16, 16),
            "classifier": "head",
            "num_classes": 10,
            "url": "http://127.0.0.1:9/folder/klas_test_address.pth",
        }
    }
)


@register_model
def klas_test_address(pretrained=False, **kwargs):
    shape = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1}
    return build_model_with_cfg(
        VisionTransformer, "klas_test_address", pretrained, **(shape | kwargs)
    )


class Hub:
    """The part of a hub that one download needs, and a record of what was asked of it."""

    def __init__(self, status, content=b""):
        self.requests = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                hub.requests.append(f"{self.command} {self.path}")
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", '"0123456789abcdef"')
                self.send_header("X-Repo-Commit", "a" * 40)
                self.end_headers()

            def do_GET(self):
                self.do_HEAD()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Call it with a status and content to put such a hub, and an empty cache, in place."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    started = []

    def start(status, content=b""):
        started.append(Hub(status, content))
        place(started[-1].address)
        return started[-1]

    def place(address):
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    start.place = place
    yield start
    for each in started:
        each.server.shutdown()
        each.server.server_close()


def test_a_tag_is_downloaded_once_and_then_needs_no_hub(hub):
    right = state_of("test_vit")
    online = hub(200, save(right))
    model, origin = load_model(spec(model=TAG))
    assert_loaded(model, right)
    assert origin == {"tag": TAG}
    assert "GET /timm/test_vit.r160_in1k/resolve/main/model.safetensors" in online.requests
    away = hub(503)
    again, _ = load_model(spec(model=TAG))
    assert tensors_digest(again) == tensors_digest(model)
    assert away.requests == []


def test_a_hub_that_is_down_is_asked_once(hub):
    down = hub(503)
    message = refusal(None, TAG)
    assert f"the weights of {TAG} are not on this machine and 127.0.0.1" in message
    assert "status 503" in message
    assert len(down.requests) == 1


def test_no_connection_at_all(hub):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses connections
        hub.place(f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert "cannot be reached (Connect" in refusal(None, TAG)


def test_a_network_that_swallows_everything(hub, monkeypatch):
    monkeypatch.setattr(pretrained, "CONNECT_SECONDS", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hub.place(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "Timeout" in refusal(None, TAG)


def test_the_hubs_own_offline_switch_is_respected(hub, monkeypatch):
    online = hub(200, save(state_of("test_vit")))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached (OfflineModeIsEnabled)" in refusal(None, TAG)
    assert online.requests == []


def test_a_hub_without_the_tag(hub):
    hub(404)
    assert f"timm's weights of {TAG} cannot be loaded" in refusal(None, TAG)


def test_weights_at_a_plain_address(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    assert "127.0.0.1:9 cannot be reached" in refusal(None, "klas_test_address")
    right = state_of("klas_test_address")
    folder = tmp_path / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(right, folder / "klas_test_address.pth")
    assert_loaded(load_model(spec(model="klas_test_address"))[0], right)
