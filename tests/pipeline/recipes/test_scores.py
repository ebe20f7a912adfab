"""With too few samples for CKA there is none, and everybody is told why."""

import pytest

from klas.cli.tables.study import anchor_tables
from klas.errors import SelectionError
from klas.pipeline.run import Pipeline
from klas.results.comparison import compare
from klas.results.formats import write
from klas.results.notes import why_no_cka
from klas.results.pair import pairs_of
from klas.results.selections import choose
from klas.study import AnchorSpec, change
from tests.conftest import SMALL

TWO = ("digits_vit_tiny", "digits_vit_small")
STUDY = SMALL.model_copy(
    update={"anchors": tuple(AnchorSpec(name=name, model=name) for name in TWO)}
)


@pytest.mark.parametrize(("samples", "said"), [(1, "there is 1"), (3, "there are 3")])
def test_fewer_than_four_samples_give_no_cka_and_a_sentence(store, tmp_path, samples, said):
    study = change(STUDY, "data", val_samples=samples, train_samples=100)
    document = Pipeline(study, store, device="cpu").run()
    write(document, tmp_path / "scores.json")
    (pair,) = pairs_of(document)
    assert {c["scores"]["cka"] for c in pair.raw["candidates"]} == {None}
    assert None not in {c["scores"]["theta"] for c in pair.raw["candidates"]}
    reason = why_no_cka(document)
    assert reason is not None
    assert f"4 validation samples or more, but {said}; raise [data] val_samples" in reason
    assert reason in anchor_tables(document)
    assert choose(pair, study.selection).chosen.any()
    for ask in (
        lambda: choose(pair, study.selection.model_copy(update={"metric": "cka"})),
        lambda: compare(document, study, store),
    ):
        with pytest.raises(SelectionError, match="CKA needs 4 validation samples") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_four_samples_are_enough(store):
    study = change(STUDY, "data", val_samples=4, train_samples=100)
    document = Pipeline(study, store, device="cpu").run("scores")
    (pair,) = pairs_of(document)
    assert why_no_cka(document) is None
    assert None not in {c["scores"]["cka"] for c in pair.raw["candidates"]}


def test_before_the_scores_nothing_is_said(store):
    study = change(STUDY, "data", val_samples=3, train_samples=100)
    assert why_no_cka(Pipeline(study, store, device="cpu").run("anchors")) is None
