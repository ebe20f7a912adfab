"""What is written is there whole or not at all, whatever the format."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from klas.deploy.export import export as module
from klas.deploy.export.export import about_seconds, export, refuse_ending
from klas.deploy.export.notes import notes
from klas.errors import ExportError, StoreError
from klas.results.documents.exports import FORMATS
from klas.results.formats import parse
from tests.deploy.export.stitches import CLASSES, stitched

ENDINGS = {"safetensors": "", "torch": ".pt2", "onnx": ".onnx", "timm": ""}


@pytest.fixture(scope="module")
def network():
    return stitched("resnet", 2, "vit", 1)


@pytest.mark.parametrize("to", FORMATS)
def test_the_lines_of_python_load_what_was_written(network, tmp_path, to):
    path = tmp_path / f"net{ENDINGS[to]}"
    made = export(network, to, path)
    assert made.difference <= 1e-5
    assert made.milliseconds > 0
    picture = Image.new("RGB", (40, 50), (200, 100, 0))
    known = {"picture": picture, "images": torch.zeros(2, 3, 32, 32).numpy()}
    exec("\n".join(made.lines), known)
    assert known["how"] if to != "safetensors" else known["logits"].shape == (1, 10)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("to", FORMATS)
def test_what_differs_is_not_kept(network, tmp_path, monkeypatch, to):
    form = module._FORMATS[to]

    def wrong(path, allow_code):
        run = form.read(path, allow_code)
        return lambda images: run(images) + 0.1

    monkeypatch.setitem(module._FORMATS, to, replace(form, read=wrong))
    with pytest.raises(ExportError, match=r"they differ by up to 0\.1 at batch 1"):
        export(network, to, tmp_path / f"net{ENDINGS[to]}")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_found_before_the_work(network, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for to, place in (("torch", "file/n.pt2"), ("timm", "full")):
        form = replace(module._FORMATS[to], write=lambda network, path: pytest.fail("began"))
        monkeypatch.setitem(module._FORMATS, to, form)
        with pytest.raises(StoreError):
            export(network, to, tmp_path / place)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


class OnlyBatch(nn.Module):
    """A block that no export can follow with a batch of any size."""

    def forward(self, x):
        return x * len(x) / len(x)


def test_what_torch_cannot_follow_is_one_sentence(tmp_path):
    network = stitched("resnet", 2, "vit", 1)
    network.back.append(OnlyBatch())
    for to in ("torch", "onnx"):
        with pytest.raises(ExportError, match="with a batch of any size") as caught:
            export(network, to, tmp_path / f"n{ENDINGS[to]}")
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_endings():
    for to, ending in ENDINGS.items():
        refuse_ending(to, Path(f"net{ending}"))
    with pytest.raises(ExportError, match=r"net\.bin: what is exported to torch ends in \.pt2"):
        refuse_ending("torch", Path("net.bin"))


def test_more_layers_take_longer(network):
    deeper = nn.ModuleList([network, network.back])
    for to in FORMATS:
        assert about_seconds(network, to) > 0
    assert about_seconds(nn.Sequential(*deeper, nn.ReLU()), "onnx") > about_seconds(network, "onnx")


def test_the_notes_are_a_document_with_a_schema(network):
    stated = notes(network)
    assert parse(json.dumps(stated).encode(), "notes", "klas-export") == stated
    assert stated["class_names"] == list(CLASSES)
    assert stated["preprocessing"]["resize"] == [32, 32]
