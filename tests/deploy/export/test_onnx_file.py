"""ONNX, of stitches across families."""

import json
from importlib.metadata import PackageNotFoundError

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from klas.deploy.export import onnx_file
from klas.deploy.export.export import export
from klas.deploy.export.notes import notes
from klas.errors import ExportError
from klas.results import export_formats
from tests.deploy.export.stitches import STITCHES, images, stitched

FIRST, *REST = STITCHES


def outputs(path, x):
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(None, {"images": np.asarray(x)})[0])


@pytest.mark.slow
@pytest.mark.parametrize("stitch", STITCHES, ids=str)
def test_onnxruntime_gives_the_networks_outputs_at_any_batch(stitch, tmp_path):
    network, path = stitched(*stitch), tmp_path / "n.onnx"
    made = export(network, "onnx", path)
    assert made.difference <= 1e-5
    for batch in (1, 5):
        x = images(network, batch)
        with torch.no_grad():
            assert (outputs(path, x) - network(x)).abs().max() <= 1e-5
    assert [entry.name for entry in tmp_path.iterdir()] == ["n.onnx"]


@pytest.fixture(scope="module")
def network():
    return stitched(*FIRST)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "n.onnx"
    export(network, "onnx", path)
    return path


def test_what_a_file_says_of_itself(network, file):
    session = onnxruntime.InferenceSession(file)
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["klas"]) == notes(network)
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("images", ["batch", 3, 32, 32])
    assert (result.name, result.shape) == ("logits", ["batch", 10])
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": onnx_file.OPSET}


def test_a_file_names_nothing_of_the_machine_that_made_it(file):
    data = file.read_bytes()
    for folder in (onnx_file.__file__, torch.__file__):
        assert folder.rpartition("/")[0].encode() not in data


def test_weights_that_do_not_fit_into_one_file_lie_beside_it(network, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 10_000)
    path = tmp_path / "n.onnx"
    assert export(network, "onnx", path).difference <= 1e-5
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["n.onnx", "n.onnx.data"]
    x = images(network, 2)
    with torch.no_grad():
        assert torch.allclose(outputs(path, x), network(x), atol=1e-5)


@pytest.mark.parametrize(
    ("have", "words"),
    [
        ({}, "onnx is lacking"),
        ({"onnx": "1.18.0", "onnxscript": "0.7.1"}, r"onnxscript 0\.7\.1 is too old .*0\.7\.2"),
        ({"onnx": "1.18.0", "onnxscript": "0.8.dev3"}, "onnxruntime is lacking"),
    ],
)
def test_a_package_that_is_missing_or_too_old(network, tmp_path, monkeypatch, have, words):
    def version(name):
        if name not in have:
            raise PackageNotFoundError(name)
        return have[name]

    monkeypatch.setattr(export_formats, "version", version)
    with pytest.raises(ExportError, match=rf'{words}.*pip install -e "\.\[onnx\]"'):
        export(network, "onnx", tmp_path / "n.onnx")
    assert list(tmp_path.iterdir()) == []
