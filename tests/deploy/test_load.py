import json

import numpy as np
import pytest
import torch

import klas
from klas.deploy.load import check_stitch_list
from klas.deploy.weights_file import save_layers
from klas.errors import AnchorError, FormatError
from klas.measures.accuracy import network_outcomes
from klas.pipeline.run import Pipeline
from klas.results.accuracies import finetuned_accuracy
from klas.results.formats import write
from klas.results.pair import pairs_of
from klas.results.result import ZeroShot
from klas.results.selections import choose
from klas.results.stitch_list import stitch_list
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def pipeline(computed):
    return Pipeline(SMALL, computed[0], device="cpu")


def export(pipeline, computed, folder, tier):
    """A list of one pair's stitches; with a tier, with its weights file."""
    pair = pairs_of(computed[1])[1]
    chosen = choose(pair, SMALL.selection).chosen
    if tier == "finetuned":
        pipeline.finetune(pair, chosen)
    weights = None
    if tier is not None:
        weights = save_layers(pipeline, [(pair, chosen, None)], tier, folder / "w.safetensors")
    made = stitch_list(
        computed[1],
        SMALL.selection,
        pairs=[pair],
        finetuned=lambda p, c: finetuned_accuracy(computed[0], p, c, SMALL),
        weights_file=weights,
    )
    write(made, folder / "s.json")
    return made


def measured(pipeline, network, source):
    return float(outcomes(pipeline, network, source).mean())


def outcomes(pipeline, network, source):
    context, val = pipeline.context, pipeline.context.val
    batches = context.batches(val.images, val.rows, source)
    return network_outcomes(network, batches, objective=context.objective)


@pytest.mark.parametrize("tier", ["zero_shot", "tuned", "finetuned"])
def test_a_network_from_its_weights_file_has_its_stated_accuracy_exactly(
    pipeline, computed, tmp_path, tier
):
    made = export(pipeline, computed, tmp_path, tier)
    assert made["weights_file"]["tier"] == tier
    for index, stitch in enumerate(made["stitches"]):
        network = klas.load_stitch(tmp_path / "s.json", index)
        assert measured(pipeline, network, stitch["source"]) == stitch["accuracy"][tier]
    check_stitch_list(tmp_path / "s.json")


def test_a_network_from_the_training_data_has_its_zero_shot_accuracy(pipeline, computed, tmp_path):
    made = export(pipeline, computed, tmp_path, None)
    for index, stitch in enumerate(made["stitches"]):
        network = klas.load_stitch(tmp_path / "s.json", index)
        actual = measured(pipeline, network, stitch["source"])
        assert actual == pytest.approx(stitch["accuracy"]["zero_shot"], abs=1e-3)


def test_a_loaded_network_trains_and_saves_like_any_module(pipeline, computed, tmp_path):
    export(pipeline, computed, tmp_path, "tuned")
    network = klas.load_stitch(tmp_path / "s.json", 0).train()
    network(torch.randn(2, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    again = klas.load_stitch(tmp_path / "s.json", 0)
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["stitches"][0].update(macs=d["stitches"][0]["macs"] + 1), "macs is stated"),
        (lambda d: d["stitches"][1].update(params=1), "params is stated"),
        (lambda d: d["anchors"][0].update(digest="0" * 64), "has other weights now"),
        (lambda d: d["anchors"][1].update(macs=1), "macs is stated as 1"),
        (lambda d: d["stitches"][0]["stitch_layer"].update(out=7), "stitch_layer is stated"),
        (lambda d: d["weights_file"].update(sha256="0" * 64), "not the weights file"),
        (lambda d: d["weights_file"].update(name="../../etc/passwd"), "weights_file"),
        (lambda d: d["weights_file"].update(name="gone.safetensors"), "cannot be read"),
        (lambda d: d["anchors"][0]["transform"].update(mean=[9.0]), "transform is stated"),
        (lambda d: d["anchors"][0].update(splitter="other"), "splitter is stated"),
        (lambda d: d["stitches"][0].update(source_block=2.0), "2.0 is not of type 'integer'"),
        (lambda d: d["anchors"].append(d["anchors"][0]), "same name"),
        (lambda d: d["anchors"][0].update(model=""), "anchors"),
    ],
)
def test_check_finds_what_is_not_as_stated(pipeline, computed, tmp_path, change, words):
    export(pipeline, computed, tmp_path, "tuned")
    document = json.loads((tmp_path / "s.json").read_text())
    change(document)
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=words):
        check_stitch_list(tmp_path / "s.json")


@pytest.mark.parametrize("spoil", ["nan", "int32"])
def test_weights_that_are_no_numbers_are_refused(pipeline, computed, tmp_path, spoil):
    from safetensors.torch import load_file, save_file

    from klas.results.formats import file_sha256

    export(pipeline, computed, tmp_path, "tuned")
    tensors = load_file(tmp_path / "w.safetensors")
    name = next(n for n in tensors if n.endswith("weight"))
    if spoil == "nan":
        tensors[name][0, 0] = float("nan")
    else:
        tensors[name] = tensors[name].to(torch.int32)
    save_file(tensors, tmp_path / "w.safetensors")
    document = json.loads((tmp_path / "s.json").read_text())
    document["weights_file"]["sha256"] = file_sha256(tmp_path / "w.safetensors")
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="not finite float32"):
        check_stitch_list(tmp_path / "s.json")


def test_weights_of_other_stitches_do_not_fit(pipeline, computed, tmp_path):
    export(pipeline, computed, tmp_path, "tuned")
    document = json.loads((tmp_path / "s.json").read_text())
    first = document["stitches"][0]
    first["target_block"] = first["target_block"] % 7 + 1
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        check_stitch_list(tmp_path / "s.json")


def test_an_index_out_of_range(pipeline, computed, tmp_path):
    made = export(pipeline, computed, tmp_path, None)
    with pytest.raises(FormatError, match="stitch 99 was asked for"):
        klas.load_stitch(tmp_path / "s.json", 99)
    assert len(made["stitches"]) < 99


def test_an_anchor_that_is_gone(pipeline, computed, tmp_path):
    export(pipeline, computed, tmp_path, None)
    document = json.loads((tmp_path / "s.json").read_text())
    document["anchors"][0]["weights"] = {
        "file": str(tmp_path / "gone.safetensors"),
        "sha256": document["anchors"][0]["weights"]["sha256"],
    }
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(AnchorError, match="does not exist"):
        klas.load_stitch(tmp_path / "s.json", 0)


def test_stitched_hits_are_the_networks_own(pipeline, computed, tmp_path):
    """One pass for all stitches gives each the very answers of the network on its own."""
    made = export(pipeline, computed, tmp_path, "zero_shot")
    names = (made["stitches"][0]["source"], made["stitches"][0]["target"])
    arrays = pipeline.context.read(ZeroShot(source=names[0], target=names[1]))
    for index, stitch in enumerate(made["stitches"]):
        stored = arrays[f"{stitch['source_block']}-{stitch['target_block']}.hits"]
        own = outcomes(pipeline, klas.load_stitch(tmp_path / "s.json", index), names[0])
        assert (np.unpackbits(stored, count=len(own)).astype(bool) == own).all()
