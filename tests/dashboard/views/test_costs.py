"""What pages say of anchors' options, of fused forms, and of costs that are lower bounds."""

import json
import shutil

import pytest

from klas.results.pair import pairs_of
from tests.conftest import SMALL
from tests.dashboard.reading import captions, look, table
from tests.marked_costs import MIX, mark_costs


@pytest.fixture(scope="module")
def root(computed, tmp_path_factory):
    """A copy of the store with such a document."""
    store, document = computed
    folder = tmp_path_factory.mktemp("marked") / "cache"
    shutil.copytree(store.root, folder)
    text = json.dumps(mark_costs(document))
    (folder / "refs" / f"scores-{SMALL.results_key()}.json").write_text(text)
    return folder


def unescaped(text):
    return text.replace("\\", "")


def test_the_anchors_have_their_deployed_costs_and_notes(app, root):
    page = look(app, root, None)
    anchors = table(page, "deployed parameters").set_index("anchor")
    assert anchors["deployed parameters"].dropna().to_dict() == {"digits_convnet": 56_789}
    assert anchors["deployed MMACs"]["digits_convnet"] == pytest.approx(1.234)
    assert anchors["pixels"].to_dict()["digits_convnet"] == "16 × 24"
    said = unescaped(captions(page))
    assert "digits_vit_small: how it takes images is said by mine/config.json" in said
    assert f"there is no formula for {MIX}" in said
    assert "Buckets, budgets and axes of cost are of the trained form" in said


def test_the_chosen_stitches_have_their_deployed_costs(app, root):
    page = look(app, root, "stitches", pair="digits_convnet~digits_vit_base")
    chosen = table(page, "SN-Net's too")
    assert set(chosen["deployed parameters"]) == {98_765}


def test_a_stitch_says_what_it_costs_deployed_and_what_is_not_counted(app, root, computed):
    pair = next(p for p in pairs_of(computed[1]) if p.source["name"] == "digits_convnet")
    i, j = pair.stitches[pair.in_space][0]
    page = look(app, root, "scores", pair="~".join(pair.names), cell=f"{i}-{j}")
    said = unescaped(captions(page))
    assert "Deployed, with its parts fused: **4.32** MMACs, **98,765** parameters" in said
    assert f"MACs are a lower bound, because there is no formula for {MIX}." in said
    assert any(m.value.startswith("**≥ ") for m in page.markdown)
