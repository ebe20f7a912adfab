"""Weights from anywhere: timm's tags with and without a network connection, and local files."""

import argparse
import os
import pickle
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save, save_file
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

from klas.errors import AnchorError
from klas.networks import weights
from klas.networks.anchor import tensors_digest
from klas.networks.load import check_model_name
from klas.networks.weights import load_model
from klas.study import AnchorSpec

TINY = "digits_vit_tiny"
TAG = "test_vit.r160_in1k"  # timm's own network for tests


def spec(file=None, model=TINY):
    return AnchorSpec(name="mine", model=model, weights=str(file) if file else None)


def state_of(model=TINY, **kwargs):
    torch.manual_seed(1)
    return timm.create_model(model, **kwargs).state_dict()


def assert_loaded(model, state):
    assert model.state_dict().keys() == state.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


def refusal(file, model=TINY):
    with pytest.raises(AnchorError) as caught:
        load_model(spec(file, model))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Local files.


@pytest.mark.parametrize(
    ("entry", "worse"),
    [
        ("state_dict", ("model",)),
        ("model", ()),
        ("state_dict_ema", ("state_dict", "model")),
        ("model_ema", ("model",)),
    ],
)
def test_a_training_checkpoint_gives_its_best_entry_and_says_which(tmp_path, entry, worse):
    right = state_of()
    wrong = {k: v + 1 for k, v in right.items()}
    file = tmp_path / "checkpoint.pth"
    torch.save(
        {entry: right, "epoch": 3, "args": argparse.Namespace(lr=1e-3)}
        | dict.fromkeys(worse, wrong),
        file,
    )
    model, origin = load_model(spec(file))
    assert_loaded(model, right)
    assert origin == {"file": str(file), "entry": entry}
    assert not model.training


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."]
)
def test_prefixes_of_parallel_and_compiled_training(tmp_path, prefix):
    right = state_of()
    file = tmp_path / "checkpoint.pt"
    torch.save({prefix + k: v for k, v in right.items()}, file)
    model, origin = load_model(spec(file))
    assert_loaded(model, right)
    assert origin == {"file": str(file)}


def test_the_model_does_not_keep_the_file_a_second_time(tmp_path):
    save_file(state_of(), tmp_path / "w.safetensors")
    model, _ = load_model(spec(tmp_path / "w.safetensors"))
    assert "state_dict" not in model.pretrained_cfg


def test_a_file_trained_on_own_classes_keeps_its_head(tmp_path):
    right = state_of(num_classes=7)
    save_file(right, tmp_path / "w.safetensors")
    model, _ = load_model(spec(tmp_path / "w.safetensors"))
    assert model.num_classes == 7
    assert_loaded(model, right)


def test_batchnorm_without_its_counter_is_an_old_file_not_a_broken_one(tmp_path):
    right = state_of("test_resnet")
    old = {k: v for k, v in right.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")
    model, _ = load_model(spec(tmp_path / "w.pth", "test_resnet"))
    assert_loaded(model, right)


class Bomb:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return (os.mkdir, (str(self.flag),))


@pytest.mark.parametrize("how", ["beside weights", "bare", "old format"])
def test_code_in_a_pickle_is_never_run(tmp_path, how):
    flag, file = tmp_path / "ran", tmp_path / "w.pth"
    content = {"state_dict": state_of(), "hook": Bomb(flag)}
    if how == "bare":
        file.write_bytes(pickle.dumps(Bomb(flag)))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "beside weights")
    message = refusal(file)
    assert "was not run" in message
    assert ("mkdir" in message) == (how != "bare")  # torch does not read that far
    assert not flag.exists()


def test_a_whole_pickled_module_is_code_too(tmp_path):
    torch.save(timm.create_model(TINY), tmp_path / "w.pth")
    assert "VisionTransformer) and was not run" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("size", [0, 500, -100])
def test_a_cut_off_file(tmp_path, suffix, size):
    file = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state_of(), file)
    file.write_bytes(file.read_bytes()[:size])
    assert "cannot be loaded, it is" in refusal(file)


def test_a_file_of_something_else(tmp_path):
    file = tmp_path / "w.pth"
    file.write_text("<html>404</html>")
    assert "no torch checkpoint" in refusal(file)
    torch.save([1, 2], file)
    assert "holds a list" in refusal(file)
    torch.save({"network": state_of(), "epoch": 3}, file)
    assert "where it has 'network', 'epoch'" in refusal(file)
    torch.save({}, file)
    assert "holds no weights" in refusal(file)


def test_missing_and_unexpected_tensors_are_named_and_counted(tmp_path):
    state = state_of()
    file = tmp_path / "w.safetensors"
    save_file({k: v for k, v in state.items() if not k.startswith("blocks.1.")}, file)
    message = refusal(file)
    assert "do not fit digits_vit_tiny" in message
    assert "it lacks 'blocks.1.norm1.weight', 'blocks.1.norm1.bias'" in message
    assert f"({sum(k.startswith('blocks.1.') for k in state)} in all)" in message
    save_file(state | {"ema.decay": torch.ones(1)}, file)
    assert "no place for its 'ema.decay'" in refusal(file)
    save_file({k: v for k, v in state.items() if not k.startswith("head.")}, file)
    assert "it lacks 'head.weight', 'head.bias'" in refusal(file)


def test_a_tensor_of_another_shape_is_named_with_both(tmp_path):
    state = state_of() | {"blocks.0.norm1.weight": torch.ones(5)}
    save_file(state, tmp_path / "w.safetensors")
    assert "'blocks.0.norm1.weight' is (5) there and (8) in the model" in refusal(
        tmp_path / "w.safetensors"
    )


# Networks of which timm asks more than of the digits: a filter that renames, a lenient load,
# no head, weights at an address.

SHAPE = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1}
CONFIG = {"input_size": (3, 16, 16), "classifier": "head", "num_classes": 10}
default_cfgs = generate_default_cfgs(
    {
        "klas_test_renaming": CONFIG,
        "klas_test_lenient": CONFIG,
        "klas_test_headless": CONFIG | {"num_classes": 0},
        "klas_test_address": CONFIG | {"url": "http://127.0.0.1:9/folder/klas_test_address.pth"},
    }
)


@register_model
def klas_test_renaming(pretrained=False, **kwargs):
    def rename(state, model):
        return {k.replace("classify.", "head."): v for k, v in state.items()}

    return build_model_with_cfg(
        VisionTransformer,
        "klas_test_renaming",
        pretrained,
        pretrained_filter_fn=rename,
        **(SHAPE | kwargs),
    )


@register_model
def klas_test_lenient(pretrained=False, **kwargs):
    return build_model_with_cfg(
        VisionTransformer,
        "klas_test_lenient",
        pretrained,
        pretrained_strict=False,
        **(SHAPE | kwargs),
    )


@register_model
def klas_test_headless(pretrained=False, **kwargs):
    return build_model_with_cfg(
        VisionTransformer, "klas_test_headless", pretrained, **(SHAPE | kwargs)
    )


@register_model
def klas_test_address(pretrained=False, **kwargs):
    return build_model_with_cfg(
        VisionTransformer, "klas_test_address", pretrained, **(SHAPE | kwargs)
    )


@pytest.mark.parametrize("classes", [10, 7])
def test_timms_filter_applies_and_own_classes_survive_it(tmp_path, classes):
    right = state_of("klas_test_renaming", num_classes=classes)
    save_file(
        {k.replace("head.", "classify."): v for k, v in right.items()}, tmp_path / "w.safetensors"
    )
    model, _ = load_model(spec(tmp_path / "w.safetensors", "klas_test_renaming"))
    assert_loaded(model, right)


def test_a_lenient_model_is_not_left_with_random_tensors(tmp_path):
    right = state_of("klas_test_lenient")
    file = tmp_path / "w.safetensors"
    save_file(right, file)
    assert_loaded(load_model(spec(file, "klas_test_lenient"))[0], right)
    save_file({k: v for k, v in right.items() if k != "norm.weight"}, file)
    assert "it lacks 'norm.weight'" in refusal(file, "klas_test_lenient")


def test_a_head_that_the_model_has_not_by_default(tmp_path):
    right = state_of("klas_test_headless", num_classes=7)
    save_file(right, tmp_path / "w.safetensors")
    model, _ = load_model(spec(tmp_path / "w.safetensors", "klas_test_headless"))
    assert_loaded(model, right)


# timm's tags.


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
    monkeypatch.setattr(weights, "CONNECT_SECONDS", 0.05)
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


def test_a_model_without_weights_and_a_tag_that_is_none():
    assert "timm has no weights for klas_test_renaming" in refusal(None, "klas_test_renaming")
    with pytest.raises(AnchorError, match=r"no tag 'a2_in1k' of test_vit; there are r160_in1k"):
        check_model_name(spec(model="test_vit.a2_in1k"))
    check_model_name(spec(model=TAG))
