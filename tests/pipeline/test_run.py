import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from klas.errors import AnchorError, DataError, KlasError
from klas.measures.divergence import theta
from klas.networks.device import pick_device
from klas.pipeline.context import Context
from klas.pipeline.run import Pipeline
from klas.results.pair import pairs_of
from klas.results.result import Validation
from klas.results.selections import choose
from klas.study import STAGES, AnchorSpec
from tests.conftest import SMALL


class Record:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.stages = {}

    def start(self, stage, unit, total):
        self.stages[stage] = [total, 0]
        self.last = stage

    def label(self, text):
        pass

    def advance(self, amount):
        self.stages[self.last][1] += amount


def test_every_number_of_the_document_is_there(computed):
    _, document = computed
    names = [a["name"] for a in document["anchors"]]
    macs = {a["name"]: a["macs"] for a in document["anchors"]}
    pairs = [(p["source"], p["target"]) for p in document["pairs"]]
    assert set(pairs) == {(a, b) for a in names for b in names if macs[a] < macs[b]}
    for anchor in document["anchors"]:
        assert len(anchor["probe_accuracy"]) == anchor["blocks"] + 1
        assert all(anchor["probe_converged"])
    for pair in pairs_of(document):
        n_f, n_g = pair.source["blocks"], pair.target["blocks"]
        assert np.shape(pair.raw["theta"]) == (n_f + 1, n_g + 1)
        assert np.shape(pair.raw["theta_target"]) == (n_g + 1, n_g + 1)
        assert pair.in_space.sum() == n_f * (n_g - 1)
        for tier in ("zero_shot", "tuned"):
            assert np.isfinite(pair.accuracy(tier)).all()
        assert np.isfinite(pair.scores("kl")).all()


def test_gamma_is_what_theta_says(computed):
    for pair in pairs_of(computed[1]):
        for (i, j), score in zip(pair.stitches, pair.scores("kl")):
            sigma = pair.raw["theta_target"][j][j + 1]
            assert score == pytest.approx(pair.raw["theta"][i][j] / sigma, rel=1e-12)


def test_a_second_run_computes_nothing_and_says_the_same(computed):
    store, document = computed
    record = Record()
    assert Pipeline(SMALL, store, device="cpu", progress=record).run() == document
    assert all(total == 0 for total, _ in record.stages.values())


@pytest.mark.slow
def test_a_damaged_result_is_made_again_and_the_document_is_the_same(computed):
    store, document = computed
    for path in list((store.root / "objects").rglob("*.*"))[::3]:
        path.write_bytes(b"damaged")
    pipeline = Pipeline(SMALL, store, device="cpu")
    assert pipeline.run() == document
    work = [step for stage in STAGES for step in pipeline.steps(stage)]
    assert all(pipeline.context.has(result) for step in work for result in step.results)
    store.clear("finetuned")


def test_weights_that_overflow_are_refused_by_name(store, tmp_path):
    import timm
    from safetensors.torch import save_file

    state = timm.create_model("digits_vit_tiny", pretrained=True).state_dict()
    save_file({k: v * 1e30 for k, v in state.items()}, tmp_path / "w.safetensors")
    hot = AnchorSpec(name="hot", model="digits_vit_tiny", weights=str(tmp_path / "w.safetensors"))
    study = SMALL.model_copy(update={"anchors": (hot, SMALL.anchors[1])})
    with pytest.raises(AnchorError, match=r"hot: the .* are not finite"):
        Pipeline(study, store, device="cpu").run("anchors")


@pytest.mark.slow
def test_temperature_changes_the_divergences_and_not_the_accuracies(computed):
    store, document = computed
    shared = []
    for temperature in (2.0, "fitted"):
        probes = SMALL.probes.model_copy(update={"temperature": temperature})
        study = SMALL.model_copy(update={"probes": probes})
        shared.append(Pipeline(study, store, device="cpu").run("scores"))
    softer, _ = shared
    assert softer["anchors"][2]["probe_accuracy"] == document["anchors"][2]["probe_accuracy"]
    for actual in shared:
        assert not np.allclose(
            actual["pairs"][0]["theta"], document["pairs"][0]["theta"], rtol=0.01
        )


@pytest.mark.slow
def test_progress_reaches_its_total_in_every_stage(store):
    record = Record()
    Pipeline(SMALL, store, device="cpu", progress=record).run()
    parts = ["anchors", "features", "probes", "scores", "fit", "zero_shot", "tuned"]
    assert list(record.stages) == parts
    assert all(done == total > 0 for total, done in record.stages.values())


def test_until_leaves_the_rest_null(store):
    pipeline = Pipeline(SMALL, store, device="cpu")
    document = pipeline.run("anchors")
    assert document["anchors"][0]["accuracy"] is not None
    assert document["anchors"][0]["probe_accuracy"] is None
    pair = document["pairs"][0]
    assert pair["theta"] is None
    assert pair["theta_output"] > 0
    assert pair["candidates"][0]["scores"]["kl"] is None
    assert pair["candidates"][0]["accuracy"] == {"zero_shot": None, "tuned": None}


@pytest.mark.slow
def test_results_do_not_depend_on_the_forward_batch(computed, store, monkeypatch):
    _, document = computed
    batches = Context.batches

    def of_77(self, *what, batch=77):
        return batches(self, *what, batch=batch)

    monkeypatch.setattr(Context, "batches", of_77)
    other = Pipeline(SMALL, store, device="cpu").run("zero_shot")
    for mine, theirs in zip(pairs_of(other), pairs_of(document)):
        assert np.allclose(mine.scores("kl"), theirs.scores("kl"), rtol=1e-3)
        assert np.abs(mine.accuracy("zero_shot") - theirs.accuracy("zero_shot")).max() <= 1 / 300


def test_theta_output_is_the_anchors_own_divergence(computed):
    store, document = computed
    pipeline = Pipeline(SMALL, store, device="cpu")
    logits = [
        torch.from_numpy(pipeline.context.read(Validation(anchor=a["name"]))["logits"].copy())
        for a in document["anchors"][:2]
    ]
    wanted = float(theta([(logits[0][None], logits[1][None])]))
    assert document["pairs"][0]["theta_output"] == pytest.approx(wanted)


@pytest.mark.slow
def test_changing_a_setting_recomputes_only_what_depends_on_it(computed, store):
    shared, _ = computed
    changed = SMALL.model_copy(update={"tuning": SMALL.tuning.model_copy(update={"steps": 5})})
    record = Record()
    Pipeline(changed, shared, device="cpu", progress=record).run("zero_shot")
    assert all(total == 0 for total, _ in record.stages.values())
    pipeline = Pipeline(changed, shared, device="cpu")
    (step,) = pipeline.steps("tuned")
    assert not any(pipeline.context.has(result) for result in step.results)


@pytest.mark.slow
def test_joint_training_is_deterministic_and_resumable(computed, monkeypatch):
    store, document = computed
    pair = pairs_of(document)[0]
    chosen = choose(pair, SMALL.selection).chosen
    straight = Pipeline(SMALL, store, device="cpu").finetune(pair, chosen)
    assert set(straight["accuracy"]) == {f"{i}-{j}" for i, j in pair.stitches[chosen]}
    assert all(0 <= a <= 1 for a in straight["accuracy"].values())

    key = next(e.digest for e in store.entries() if e.stage == "finetuned")
    store.clear("finetuned")
    assert key not in {e.digest for e in store.entries()}
    monkeypatch.setattr("klas.measures.training.CHECKPOINT_SECONDS", -1.0)  # after every step

    class Interrupt(Record):
        def advance(self, amount):
            super().advance(amount)
            if self.stages["finetuned"][1] == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pipeline(SMALL, store, device="cpu", progress=Interrupt()).finetune(pair, chosen)
    record = Record()
    resumed = Pipeline(SMALL, store, device="cpu", progress=record).finetune(pair, chosen)
    assert resumed == straight
    assert not list((store.root / "tmp").iterdir())  # the checkpoint is gone


def test_joint_training_leaves_the_pretrained_anchors_alone(computed):
    store, document = computed
    pipeline = Pipeline(SMALL, store, device="cpu")
    pair = pairs_of(document)[2]
    before = {n: [p.clone() for p in a.parameters()] for n, a in pipeline.context.anchors.items()}
    pipeline.finetune(pair, choose(pair, SMALL.selection).chosen)
    for name, anchor in pipeline.context.anchors.items():
        assert all(torch.equal(p, q) for p, q in zip(anchor.parameters(), before[name]))


def test_diverging_training_names_its_step(computed, store):
    hot = SMALL.model_copy(update={"finetuning": SMALL.finetuning.model_copy(update={"lr": 1e30})})
    shared, document = computed
    pair = pairs_of(document)[0]
    with pytest.raises(KlasError, match=r"diverged at step \d+"):
        Pipeline(hot, shared, device="cpu").finetune(pair, choose(pair, SMALL.selection).chosen)


def test_both_directions_and_explicit_pairs(computed):
    store, _ = computed
    both = Pipeline(SMALL.model_copy(update={"pairs": "both-directions"}), store, device="cpu")
    assert len(both.context.pairs) == 12
    one = SMALL.model_copy(update={"pairs": (("digits_vit_base", "digits_vit_tiny"),)})
    assert Pipeline(one, store, device="cpu").context.pairs == [
        ("digits_vit_base", "digits_vit_tiny")
    ]


def test_equal_costs_are_stitched_in_both_directions(store):
    twins = tuple(AnchorSpec(name=n, model="digits_vit_tiny") for n in ("one", "two"))
    pipeline = Pipeline(SMALL.model_copy(update={"anchors": twins}), store, device="cpu")
    assert pipeline.context.pairs == [("one", "two"), ("two", "one")]


def test_anchors_with_different_classes_are_refused(store, tmp_path):
    weights = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), weights)
    other = AnchorSpec(name="other", model="test_vit", weights=str(weights))
    anchors = (SMALL.anchors[0], other)
    study = SMALL.model_copy(update={"anchors": anchors})
    with pytest.raises(AnchorError, match=r"different label sets.*other: imagenet-1k"):
        Pipeline(study, store, device="cpu").context.open()


@pytest.fixture
def folders(tmp_path):
    """Training and validation folders with a folder of PNG files per class."""
    from PIL import Image

    from klas.digits.scenes import make_scenes

    for split in ("train", "val"):
        for k, (pixels, label) in enumerate(zip(*make_scenes(split, 120))):
            folder = tmp_path / split / f"digit-{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{k}.png")
    return SMALL.data.model_copy(
        update={"train": str(tmp_path / "train"), "val": str(tmp_path / "val"), "test": None}
    )


@pytest.mark.slow
def test_a_folder_of_images_goes_the_whole_way(store, folders):
    study = SMALL.model_copy(
        update={"data": folders, "pairs": (("digits_vit_tiny", "digits_vit_small"),)}
    )
    document = Pipeline(study, store, device="cpu").run()
    assert document["data"]["train"]["samples"] == 120
    (pair,) = pairs_of(document)
    assert np.isfinite(pair.accuracy("tuned")).all()
    assert document["anchors"][2]["accuracy"] > 0.8


def test_other_classes_in_validation_than_in_training(store, folders):
    from pathlib import Path

    (Path(folders.val) / "digit-3").rename(Path(folders.val) / "digit-x")
    with pytest.raises(DataError, match="digit-3, digit-x"):
        Pipeline(SMALL.model_copy(update={"data": folders}), store, device="cpu").context.open()


@pytest.mark.parametrize("ref", ["/no/such/folder", "klas/digits:holiday"])
def test_data_that_is_not_there(store, ref):
    study = SMALL.model_copy(update={"data": SMALL.data.model_copy(update={"val": ref})})
    with pytest.raises(DataError, match=ref):
        Pipeline(study, store, device="cpu").context.open()


def test_a_device_that_is_not_there():
    with pytest.raises(KlasError, match="'abacus' is not available"):
        pick_device("abacus")
