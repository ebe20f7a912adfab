"""Exporting from a page: what is offered, what is started, what is shown once it is done."""

import time

import pytest
import streamlit as st

from dashboard.model.exports import Training, exportable_anchor, exportable_stitch
from klas.jobs import process
from klas.jobs.kinds import ExportJob
from klas.jobs.status import ExportAnswer, Status
from klas.jobs.submission import Submission, job_id
from klas.pipeline.run import Pipeline
from klas.results.export_formats import EXPORT_FORMATS
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.storage.exports import storing_export
from tests.conftest import SMALL
from tests.dashboard.reading import captions, labels, look, press, said, widget


@pytest.fixture
def started(monkeypatch):
    """The studies and jobs that pages start; none is really started."""
    asked = []
    monkeypatch.setattr(process, "start", lambda store, study, job: asked.append((study, job)))
    return asked


@pytest.fixture
def pair(computed):
    """The pair that the pages show at first."""
    return max(pairs_of(computed[1]), key=lambda p: p.in_space.sum())


@pytest.fixture
def place(pair):
    return pair.places(choose(pair, SMALL.selection).chosen)[0]


def member(pair, place):
    (source, target), (i, j) = pair.names, place
    return f"{source}:{i}-{target}:{j}"


def formats(tester):
    return next(radio for radio in tester.radio if radio.label == "Format")


def export_popover(tester):
    return next(p for p in tester.get("popover") if p.proto.popover.label == "Export")


def finish(store, job, content=b"a network"):
    """Leave what a worker leaves of an export."""
    name, now = job_id(SMALL, job), time.time()
    folder = store.root / "jobs" / name
    folder.mkdir()
    plain = SMALL.model_dump(mode="json")
    asked = Submission(study=plain, task=job.model_dump(mode="json"), submitted=now, device="cpu")
    (folder / "job.json").write_text(asked.model_dump_json())
    answer = ExportAnswer(
        difference=1.5e-6,
        milliseconds=0.25,
        machine="a machine",
        macs=93_000,
        params=5042,
        python=("import onnxruntime", "session = …"),
    )
    status = Status(state="done", pid=1, started=now, updated=now, answer=answer)
    (folder / "status.json").write_bytes(status.to_bytes())
    with storing_export(store, name) as fresh:
        (fresh / "small.onnx").write_bytes(content)


def test_the_card_exports_the_best_stored_tier_in_any_format(app, computed, pair, place, started):
    tester = look(app, computed[0].root, "scores", cell="{}-{}".format(*place))
    tuned = pair.accuracy("tuned")[pair.everywhere.index(place)]
    assert f"Exported at tier **tuned** ({100 * tuned:.1f} %), the best tier" in captions(tester)
    assert formats(tester).options == list(EXPORT_FORMATS)
    assert not tester.checkbox  # nothing in it can be fused
    assert "Takes about" in captions(tester)
    for to in EXPORT_FORMATS:
        formats(tester).set_value(to).run()
        assert f"--member {member(pair, place)} --tier tuned --to {to} --out model" in " ".join(
            code.value for code in tester.code
        )
        press(tester, f"Export to {to}")
    expected = {"member": member(pair, place), "pair": pair.names, "tier": "tuned"}
    assert [job for _, job in started] == [ExportJob(**expected, to=to) for to in EXPORT_FORMATS]
    tier = next(g for g in tester.button_group if g.label == "Weights of tier")
    tier.set_value("zero_shot").run()
    assert "at tier **zero_shot**" in captions(tester)
    assert "not tuned, the best that is stored" in captions(tester)


def test_a_missing_extra_is_a_sentence_before_anything_is_started(
    app, computed, place, monkeypatch
):
    monkeypatch.setitem(EXPORT_FORMATS["onnx"].needs, "no-such-package", (1,))
    tester = look(app, computed[0].root, "scores", cell="{}-{}".format(*place))
    assert "Export to safetensors" in labels(tester)
    formats(tester).set_value("onnx").run()
    (warning,) = (w.value for w in tester.warning)
    assert warning == (
        'onnx: no-such-package is lacking; install it with `pip install -e ".[onnx]"`.'
    )
    assert not [label for label in labels(tester) if label.startswith("Export to")]


def test_what_is_done_is_downloaded_with_its_figures_and_its_lines(
    app, copied, computed, pair, place
):
    job = ExportJob(member=member(pair, place), pair=pair.names, tier="tuned", to="onnx")
    finish(copied, job)
    tester = look(app, copied.root, "scores", cell="{}-{}".format(*place))
    formats(tester).set_value("onnx").run()
    assert not tester.exception
    assert "Export to onnx" not in labels(tester)
    assert "Download small.onnx" in [b.proto.label for b in tester.get("download_button")]
    text = said(tester)
    assert "**1.5e-06**" in text
    assert "**0.093** MMACs, **5,042** parameters, **0.25** ms an image on a machine" in text
    assert "import onnxruntime\nsession = …" in [code.value for code in tester.code]
    # Another format is another file; and of what was cleared there is none.
    formats(tester).set_value("torch").run()
    assert "Export to torch" in labels(tester)
    next((copied.root / "exports").glob("*/small.onnx")).unlink()
    formats(tester).set_value("onnx").run()
    assert "Export to onnx" in labels(tester)


def test_the_budgets_answer_is_exported_at_its_tier_and_so_is_an_anchor(app, copied, pair, started):
    chosen = choose(pair, SMALL.selection).chosen
    Pipeline(SMALL, copied, device="cpu").finetune(pair, chosen)
    tester = look(app, copied.root, "stitches", tier="tuned")
    field = widget(tester, "budget")
    field.set_value(max(pair.target["macs"], pair.source["macs"]) / pair.unit.scale).run()
    assert not tester.exception
    press(tester, "Export to safetensors")
    tester = look(app, copied.root, "stitches", tier="finetuned")
    best = max(pair.macs[chosen]) / pair.unit.scale
    widget(tester, "budget").set_value(float(best)).run()
    press(tester, "Export to safetensors")
    for _, job in started:
        if job.pair is None:
            assert job.member in pair.names
            assert job.tier is None
        else:
            assert job.pair == pair.names
            assert job.tier in ("tuned", "finetuned")
            assert job.trained == (tuple(pair.places(chosen)) if job.tier == "finetuned" else ())
    assert len(started) == 2


def test_my_list_exports_the_one_line_that_is_marked(app, computed, pair, place):
    word = "~".join(pair.names)
    tester = look(app, computed[0].root, "my_list", list=f"{word}:{place[0]}-{place[1]}")
    assert export_popover(tester).proto.popover.disabled
    assert not [radio for radio in tester.radio if radio.label == "Format"]


def test_the_marked_line_is_the_one_that_is_exported(
    app, computed, pair, place, started, monkeypatch
):
    shown = st.dataframe

    def marked(rows, **options):
        shown(rows, **options)
        return {"selection": {"rows": [0]}}

    word = "~".join(pair.names)
    monkeypatch.setattr(st, "dataframe", marked)
    tester = look(app, computed[0].root, "my_list", list=f"{word}:{place[0]}-{place[1]}")
    assert not export_popover(tester).proto.popover.disabled
    press(tester, "Export to safetensors")
    ((_, job),) = started
    assert (job.member, job.tier) == (member(pair, place), "tuned")


def test_what_a_stitch_can_take_its_weights_from(computed, pair):
    chosen = choose(pair, SMALL.selection).chosen
    row = int(chosen.nonzero()[0][0])
    accuracy = chosen * 0.5
    training = Training(chosen=chosen, racing=pair.macs.astype(int), accuracy=accuracy, own=True)
    network = exportable_stitch(pair, row, training)
    assert list(network.tiers) == ["zero_shot", "tuned", "finetuned"]
    job = network.job("onnx", "finetuned", fused=False)
    assert job.trained == tuple(pair.places(chosen))
    assert job.racing == tuple(int(n) for n in pair.macs[chosen])
    assert network.job("onnx", "tuned", fused=False).trained == ()
    i, j = pair.everywhere[row]
    assert network.blocks == i + pair.target["blocks"] - j
    assert network.about_seconds("onnx") > network.about_seconds("safetensors")


def test_the_fused_form_is_offered_where_it_is_another_one(computed):
    entry = computed[1]["anchors"][0]
    assert exportable_anchor(entry).fused is None
    same = {"macs": entry["macs"], "params": entry["params"]}
    assert exportable_anchor({**entry, "deployed": same}).fused is None
    less = {"macs": 1, "params": 2}
    network = exportable_anchor({**entry, "deployed": less})
    assert network.fused == less
    assert network.about_bytes(fused=True) == 8
    assert network.job("timm", None, fused=True).fused
