import argparse
import os
import pickle

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file, save_model

from klas.errors import AnchorError
from klas.networks.factory import build
from klas.networks.load import load_anchor
from klas.networks.weights import load_model
from klas.study import AnchorSpec
from tests.networks.loading import TINY, assert_loaded, refusal, spec, state_of
from tests.networks.nets import Plain


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
    assert "not a torch checkpoint" in refusal(file)
    torch.save([1, 2], file)
    assert "holds a list" in refusal(file)
    torch.save({"network": state_of(), "epoch": 3}, file)
    assert "where it has 'network', 'epoch'" in refusal(file)
    torch.save({}, file)
    assert "holds no weights" in refusal(file)


class Tied(Plain):
    """Two blocks with one weight between them."""

    def __init__(self):
        super().__init__(width=4, depth=3)
        self.pretrained_cfg = {"input_size": (3, 32, 32)}
        self.layers[2].conv.weight = self.layers[1].conv.weight


def tied():
    torch.manual_seed(5)
    return Tied()


def untied():
    torch.manual_seed(6)
    return Plain(width=4, depth=3)


@pytest.mark.parametrize("named", ["by the file", "by the network"])
def test_a_shared_weight_that_safetensors_keeps_once_is_loaded_under_both_names(tmp_path, named):
    right, file = tied(), tmp_path / "w.safetensors"
    with torch.no_grad():
        for parameter in right.parameters():
            parameter.add_(1)
    if named == "by the file":
        save_model(right, str(file))
    else:  # as transformers' save_pretrained does
        save_file(
            {k: v for k, v in right.state_dict().items() if k != "layers.2.conv.weight"}, file
        )
    assert "layers.2.conv.weight" not in load_file(file)
    spec = AnchorSpec(name="mine", model=f"{__name__}:tied", weights=str(file))
    net = load_anchor(spec, crop=1.0, interpolation="bilinear", allow_code=True)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(images), right.eval()(images))


def test_a_network_with_two_weights_takes_the_one_of_the_file_for_both(tmp_path):
    right, file = tied(), tmp_path / "w.safetensors"
    save_model(right, str(file))
    spec = AnchorSpec(name="mine", model=f"{__name__}:untied", weights=str(file))
    model, _ = build(spec)
    assert_loaded(model, right.state_dict())


def test_a_weight_that_nothing_else_holds_is_still_missing(tmp_path):
    file = tmp_path / "w.safetensors"
    state = tied().state_dict()
    del state["layers.1.conv.weight"], state["layers.2.conv.weight"]
    save_file(state, file)
    spec = AnchorSpec(name="mine", model=f"{__name__}:tied", weights=str(file))
    with pytest.raises(AnchorError, match=r"do not fit.*layers\.1\.conv\.weight"):
        build(spec)
