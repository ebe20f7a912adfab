"""A study of decoders, from texts to figures: tiny, and held to plain code."""

import json
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import klas
from klas.deploy.export.export import export
from klas.errors import AnchorError, DataError, ExportError, StudyError
from klas.measures.continuations import rouge_scores
from klas.measures.translators import Translators
from klas.networks.decoders.generation import greedy
from klas.pipeline.context import Context
from klas.pipeline.recipes.continuations import SPARE
from klas.pipeline.run import Pipeline
from klas.results.documents.scores import ScoresDocument
from klas.results.export_formats import EXPORT_FORMATS
from klas.results.pair import pairs_of
from klas.results.result import Fit, Probes
from klas.selection.scores import SCORES
from klas.selection.space import name_of
from klas.storage.store import Store
from klas.study import (
    AnchorSpec,
    DataSpec,
    EngineSpec,
    FitSpec,
    ProbesSpec,
    Study,
    TuningSpec,
    change,
    parse_study,
)
from klas.tasks.metric import TOKEN_ACCURACY
from tests.networks.decoders.decoders import CONFIGS, WORDS, configured, padded_on_the_left, texts
from tests.networks.decoders.test_load import saved, words

LENGTH = 8
SMALLER = {"num_hidden_layers": 2, "hidden_size": 16, "vocab_size": WORDS + 7}


def written(folder, name, texts, seed):
    """Texts in which a word follows from the one before, most of the time."""
    random = np.random.default_rng(seed)
    lines = []
    for number in range(texts):
        steps = random.choice([1, 2], size=29, p=[0.9, 0.1])
        text = [f"w{3 + (number + step) % 90}" for step in np.cumsum(steps)]
        prompt, reference = " ".join(text[:20]), " ".join(text[20:])
        lines.append(json.dumps({"prompt": prompt, "reference": reference}))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


def make_study(folder, **settings):
    kind, values = CONFIGS["llama"]
    cheap = configured((kind, values | SMALLER))  # with words that the other doesn't have
    anchors = (
        saved(folder / "cheap", network=cheap),
        saved(folder / "costly", "gpt2"),
    )
    return Study(
        name="counting",
        task="language",
        anchors=anchors,
        pairs="both-directions",
        **{
            "data": DataSpec(
                train=written(folder, "train", 20, 0),
                val=written(folder, "val", 10, 1),
                length=LENGTH,
            ),
            "fit": FitSpec(samples=16),
            "probes": ProbesSpec(steps=3, batch=4, lr=1e-2),
            "tuning": TuningSpec(steps=2, batch=4),
            "engine": EngineSpec(name="here"),
            **settings,
        },
    )


class Computed(NamedTuple):
    """A study whose every stage is done."""

    folder: Path
    pipeline: Pipeline
    context: Context
    document: ScoresDocument


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counting")
    study = make_study(folder)
    with Store(folder / "cache") as store:
        pipeline = Pipeline(study, store, device="cpu")
        yield Computed(folder, pipeline, pipeline.context, pipeline.run())


def windows(context):
    val = context.val
    ((tokens, following),) = context.batches(val.images, val.rows, "cheap", batch=10**6)
    return tokens, following


def test_every_stage_is_done_and_says_token_accuracy(counting):
    document = counting.document
    assert (document["task"], document["accuracy_metric"]) == ("language", "token_accuracy")
    for anchor in document["anchors"]:
        assert 0 <= anchor["accuracy"] < 1
        assert len(anchor["probe_accuracy"]) == anchor["blocks"] + 1
        assert len(anchor["probe_converged"]) == anchor["blocks"] + 1
        assert anchor["probe_accuracy"][-1] == pytest.approx(anchor["accuracy"])
    for pair in pairs_of(document):
        assert pair.task.metric is TOKEN_ACCURACY
        assert pair.raw["theta_output"] > 0
        for metric in SCORES:
            assert not np.isnan(pair.scores(metric)).any()
        for tier in ("zero_shot", "tuned"):
            accuracy = pair.accuracy(tier)[~pair.diverged]
            assert ((accuracy >= 0) & (accuracy <= 1)).all()


def chances(context, name, cut, count):
    """(positions, words) a probe's predictions of the first words, in float64."""
    anchor, arrays = context.anchors[name], context.read(Probes(anchor=name))
    made = Translators([layout.channels for layout in anchor.info.layouts[:-1]])
    made.load_state_dict(
        {
            f"{part}.{k}": torch.from_numpy(arrays[f"cut{k}.{part}"].copy())
            for k in range(anchor.info.depth)
            for part in ("weight", "bias")
        }
    )
    tokens, _ = windows(context)
    with torch.no_grad():
        hidden = anchor.cut_activations(tokens)[cut]
        logits = anchor.head(made(hidden, cut)).flatten(0, 1)[:, :count]
    return logits.double().softmax(-1)


def test_theta_is_the_mean_over_positions_of_common_words(counting):
    context = counting.context
    pair = next(p for p in pairs_of(counting.document) if p.names == ("cheap", "costly"))
    assert [context.anchors[name].info.classes for name in pair.names] == [WORDS + 7, WORDS]
    for row, (i, j) in enumerate(pair.everywhere):
        p, q = (chances(context, n, k, WORDS) for n, k in zip(pair.names, (i, j)))
        theta = float((p * (p.log() - q.log())).sum(-1).mean())
        assert pair.scores("theta")[row] == pytest.approx(theta, rel=1e-3, abs=1e-8)
        ce = float(-(p * q.log()).sum(-1).mean())
        assert pair.scores("ce")[row] == pytest.approx(ce, rel=1e-3)
    depths = [context.anchors[name].info.depth for name in pair.names]
    p, q = (chances(context, n, k, WORDS) for n, k in zip(pair.names, depths))
    theta = float((p * (p.log() - q.log())).sum(-1).mean())
    assert pair.raw["theta_output"] == pytest.approx(theta, rel=1e-4)


def fitted_layers(context, pair):
    """Row, place, weight and bias of every stitch layer."""
    fitted = context.read(Fit(source=pair.names[0], target=pair.names[1]))
    for row, place in enumerate(pair.everywhere):
        parts = (fitted[f"{name_of(place)}.{part}"].copy() for part in ("weight", "bias"))
        yield row, place, *map(torch.from_numpy, parts)


def test_a_stitchs_figure_is_that_of_its_layers_one_after_another(counting):
    context = counting.context
    pair = pairs_of(counting.document)[0]
    tokens, following = windows(context)
    source, target = (context.anchors[name] for name in pair.names)
    for row, (i, j), weight, bias in fitted_layers(context, pair):
        with torch.inference_mode():
            hidden = source.cut_activations(tokens)[i] @ weight.T + bias
            right = target.resume(hidden, j).argmax(-1) == following
        assert pair.accuracy("zero_shot")[row] == pytest.approx(float(right.double().mean()))


def test_direct_matching_is_the_share_of_the_spread_that_is_missed(counting):
    """The positions of texts are counted, not the texts."""
    context = counting.context
    pair = pairs_of(counting.document)[0]
    tokens, _ = windows(context)
    source, target = (context.anchors[name] for name in pair.names)
    for row, (i, j), weight, bias in fitted_layers(context, pair):
        with torch.inference_mode():
            have = source.cut_activations(tokens)[i].double().flatten(0, 1)
            want = target.cut_activations(tokens)[j].double().flatten(0, 1)
        missed = (have @ weight.double().T + bias.double() - want).square().sum()
        spread = (want - want.mean(0)).square().sum()
        assert pair.scores("dm")[row] == pytest.approx(float(missed / spread), rel=1e-3)


def test_probes_are_trained_on_the_next_token_of_the_training_texts(tmp_path):
    """More steps: nearer to the optimum on the very texts."""
    study = make_study(tmp_path, probes=ProbesSpec(steps=60, batch=8, lr=1e-2))
    with Store(tmp_path / "cache") as store:
        pipeline = Pipeline(study, store, device="cpu")
        pipeline.run("probes")
        context = pipeline.context
        train = context.train
        ((tokens, following),) = context.batches(train.images, train.rows, "costly", batch=10**6)
        anchor, arrays = context.anchors["costly"], context.read(Probes(anchor="costly"))
        for cut, hidden in enumerate(anchor.cut_activations(tokens)[:-1]):
            weight, bias = (
                torch.from_numpy(arrays[f"cut{cut}.{part}"].copy()) for part in ("weight", "bias")
            )
            before, after = (
                cross_entropy(anchor.head(state).flatten(0, 1), following.flatten())
                for state in (hidden, hidden + hidden @ weight.T + bias)
            )
            assert after < before


def test_a_study_names_its_task_and_what_is_for_images_is_refused(tmp_path):
    study = make_study(tmp_path)
    assert 'task = "language"' in study.to_toml()
    assert parse_study(tomllib.loads(study.to_toml()), "there") == study
    plain = study.content()
    for changed, sentence in [
        ({"probes": {"pool": "prefix"}}, "probes: pool is for probes of images"),
        ({"probes": {"trainer": "probenet"}}, "probes: trainer is for probes of images"),
        ({"data": plain["data"] | {"class_map": {"a": 0}}}, "data: class_map is for images"),
        (
            {"anchors": [plain["anchors"][0] | {"fused": True}, plain["anchors"][1]]},
            "cheap: fused is for networks of images",
        ),
    ]:
        with pytest.raises(StudyError, match=sentence):
            parse_study(plain | changed, "there")


@pytest.mark.parametrize(
    ("spoil", "kind", "sentence"),
    [
        (lambda f: (f / "val.jsonl").write_text('{"text": "w5"}'), DataError, "too few for one"),
        (lambda f: (f / "val.jsonl").write_text("w5"), DataError, "line 1 is no JSON"),
        (
            lambda f: words(w5=6, w6=5).save_pretrained(f / "costly"),
            AnchorError,
            "its tokenizer is not that of cheap",
        ),
    ],
)
def test_what_is_wrong_with_texts_is_one_sentence(tmp_path, spoil, kind, sentence):
    study = make_study(tmp_path)
    spoil(tmp_path)
    with Store(tmp_path / "cache") as store, pytest.raises(kind, match=sentence) as refusal:
        _ = Pipeline(study, store, device="cpu").context.anchors
    assert "\n" not in str(refusal.value)


def test_a_folder_is_no_name_of_the_hub(tmp_path):
    study = make_study(tmp_path)
    spec = AnchorSpec(name="there", model=str(tmp_path / "cheap"))
    study = study.model_copy(update={"anchors": (spec, study.anchors[1])})
    with Store(tmp_path / "cache") as store, pytest.raises(AnchorError, match="give a folder as"):
        _ = Pipeline(study, store, device="cpu").context.anchors


@pytest.fixture(scope="module")
def listed(counting):
    """A list of the chosen stitches with their tuned layers, as the command writes it."""
    folder, study = counting.folder, counting.folder / "study.toml"
    study.write_text(counting.context.study.to_toml(), encoding="utf-8")
    command(folder, "select", study, "--out", folder / "list.json", "--weights", folder / "w.st")
    return folder / "list.json"


def command(folder, *arguments):
    from klas.cli.main import main

    words = [str(word) for word in arguments]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--cache-dir", str(folder / "cache"), "--device", "cpu"])
    assert not ended.value.code


def test_a_stitched_decoder_loads_with_its_figures(counting, listed):
    command(counting.folder, "check", listed)
    tokens, following = windows(counting.context)
    stitches = json.loads(listed.read_text())["stitches"]
    assert stitches
    for index, stitch in enumerate(stitches):
        network = klas.load_stitch(listed, index)
        with torch.inference_mode():
            right = network(tokens).argmax(-1) == following
        wanted = stitch["accuracy"]["tuned"]
        assert wanted is None or float(right.double().mean()) == pytest.approx(wanted)


def continued(network, **cached):
    prompts = texts(3, 6)
    mask = padded_on_the_left(prompts)
    return greedy(network.continuation(**cached), prompts, mask, tokens=5)


def test_a_stitched_decoder_generates_with_its_own_cache_and_without_and_saves(listed, tmp_path):
    stitches = json.loads(listed.read_text())["stitches"]
    for index, stitch in enumerate(stitches):
        network = klas.load_stitch(listed, index)
        made = continued(network)
        assert made.shape == (3, 5)
        assert torch.equal(made, continued(network, cached=False))
        if stitch["source_block"] == 2:  # the same decoders every time
            network.save(tmp_path / str(index))
            again = klas.load(tmp_path / str(index))
            ids = texts(2, LENGTH)
            with torch.inference_mode():
                assert torch.equal(again(ids), network(ids))
            assert torch.equal(continued(again), made)


@pytest.mark.parametrize("to", EXPORT_FORMATS)
def test_an_export_says_that_it_takes_images_and_writes_nothing(listed, tmp_path, to):
    with pytest.raises(ExportError, match=r"takes texts, .* its method save writes it as a folder"):
        export(klas.load_stitch(listed, 0), to, tmp_path / f"out{EXPORT_FORMATS[to].ending}")
    assert not list(tmp_path.iterdir())


def test_a_list_of_decoders_is_an_elastic_network(listed, tmp_path):
    elastic = klas.elastic_of_list(listed)
    elastic.save(tmp_path / "elastic")
    again, ids = klas.load(tmp_path / "elastic"), texts(2, LENGTH)
    for member in elastic.members:
        with torch.inference_mode():
            assert torch.equal(elastic.use(member.name)(ids), again.use(member.name)(ids))


def test_joint_training_and_the_comparison_run_on_texts(counting, listed, capsys):
    study = change(counting.context.study, "finetuning", steps=2, batch=4, distillation=True)
    file = counting.folder / "joint.toml"
    file.write_text(study.to_toml(), encoding="utf-8")
    command(counting.folder, "finetune", file, "--pair", "cheap", "costly")
    command(counting.folder, "compare", file)
    shown = capsys.readouterr().out
    assert "token accuracy" in shown
    assert "top-1" not in shown


def test_rouge_is_that_of_transformers_own_continuations(counting):
    """An anchor's, prompt by prompt and without padding; and every chosen stitch has its own."""
    pipeline, document = counting.pipeline, counting.document
    (pair,) = (p for p in pairs_of(document) if p.names == ("cheap", "costly"))
    chosen = pair.in_space
    made = pipeline.continuations(pair, chosen, "tuned")
    diverged = {name_of(p) for p in pair.places(pair.diverged)}
    assert {*made} | diverged == {*pair.names, *map(name_of, pair.places(chosen))}
    assert all(0 <= value <= 1 for each in made.values() for value in each)
    assert made == pipeline.continuations(pair, chosen, "tuned")
    network = configured(CONFIGS["gpt2"])
    tokenizer, scores = words(), []
    for line in (counting.folder / "val.jsonl").read_text().splitlines():
        text = json.loads(line)
        ids = torch.tensor([tokenizer(text["prompt"])["input_ids"]])
        told = network.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=9 + SPARE
        )
        told = tokenizer.decode(told[0, ids.shape[1] :], skip_special_tokens=True)
        scores.append(rouge_scores([told], [text["reference"]])[0])
    assert made["costly"] == pytest.approx(np.mean(scores, 0).tolist())


def test_texts_without_references_have_no_rouge(tmp_path):
    study = make_study(tmp_path)
    lines = (tmp_path / "val.jsonl").read_text().splitlines()
    plain = [{"text": json.loads(line)["prompt"]} for line in lines]
    (tmp_path / "val.jsonl").write_text("\n".join(map(json.dumps, plain)))
    with Store(tmp_path / "cache") as store:
        pipeline = Pipeline(study, store, device="cpu")
        pair = pairs_of(pipeline.run("zero_shot"))[0]
        with pytest.raises(DataError, match="has no references to compare continuations with"):
            pipeline.continuations(pair, pair.in_space, "zero_shot")


def test_the_command_prints_rouge_beside_costs(counting, listed, capsys):
    command(counting.folder, "rouge", counting.folder / "study.toml", "--pair", "cheap", "costly")
    shown = capsys.readouterr().out
    assert "ROUGE-L" in shown
    assert "per token" in shown
