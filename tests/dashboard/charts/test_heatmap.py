import copy
import json

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboard.charts.blocks import block_names
from dashboard.charts.heatmap import cell_map
from dashboard.charts.theme import ANCHOR
from dashboard.model.ranks import best_of_bucket
from dashboard.text.quantities import SHOWN, field, quantity
from klas.results.pair import pairs_of
from klas.results.selections import choose
from tests.conftest import SMALL

EVIL = '<a href="http://evil.example">x</a>'


@pytest.fixture(params=[0, 1, 2])
def pair(request, computed):
    """A pair of one's own."""
    return pairs_of(copy.deepcopy(computed[1]))[request.param]


@pytest.fixture
def one(computed):
    return pairs_of(copy.deepcopy(computed[1]))[1]


def drawn(pair, name="kl", metric="kl", cell=None, *, numbers=False, **values):
    spec = SMALL.selection.model_copy(update={"metric": metric, **values})
    return cell_map(pair, choose(pair, spec), metric, name, cell, buckets=numbers)


def printed(figure):
    """(i, j) of every cell with a number: the number, bold or not."""
    texts = figure.data[3]
    assert texts.mode == "text"
    return dict(zip(zip(texts.y, texts.x), texts.text, strict=True))


def named(figure, start):
    return next(t for t in figure.data if (t.name or "").startswith(start))


def squares(figure):
    return figure.data[1]


def bars(figure):
    return [t for t in figure.data if t.type == "bar"]


def chosen_by(pair, metric="kl"):
    return choose(pair, SMALL.selection.model_copy(update={"metric": metric}))


@pytest.mark.parametrize("name", SHOWN[1:])
def test_the_map_shows_a_quantity_of_every_cell(pair, name):
    jointly = pair.accuracy("tuned") if name == "finetuned" else None
    figure = cell_map(pair, chosen_by(pair), "kl", name, jointly=jointly)
    go.Figure(figure.to_dict())  # Plotly's own check, left out where the figure is made
    shown, cells = field(pair, name, jointly), figure.data[0]
    known = shown.values[np.isfinite(shown.values)]
    log = name != "cka" and known.min() > 0 and known.max() / known.min() > 10
    assert (cells.colorbar.ticktext is not None) == log
    assert np.array(cells.z) == pytest.approx(np.log10(shown.values) if log else shown.values)
    assert (list(cells.x), list(cells.y)) == (list(shown.columns), list(shown.rows or (0,)))
    higher = quantity(name, pair).reading.startswith("higher")
    assert cells.reversescale == (not higher)  # the best is bright
    assert cells.hoverinfo == "skip"


@pytest.mark.parametrize("metric", ["kl", "dm"])
@pytest.mark.parametrize("name", ["kl", "cuts", "tuned"])
def test_the_chosen_are_framed_and_the_best_of_each_bucket_has_a_dot(pair, metric, name):
    figure, picked = drawn(pair, name, metric), chosen_by(pair, metric)
    frames = named(figure, "chosen")
    corners = np.column_stack([frames.y, frames.x]).reshape(-1, 6, 2)
    assert np.isnan(corners[:, 5]).all()
    middles = (corners[:, 0] + corners[:, 2]) / 2
    assert middles == pytest.approx(pair.stitches[picked.chosen])
    assert (corners[:, 0] == corners[:, 4]).all()

    scores, best = pair.scores(metric), set()
    for bucket in set(picked.bucket) - {-1}:
        rows = [r for r in range(len(scores)) if picked.bucket[r] == bucket]
        best.add(tuple(pair.stitches[min(rows, key=lambda r: scores[r])]))
    dots = named(figure, "best of its bucket")
    assert {(round(y), round(x)) for y, x in zip(dots.y, dots.x)} == best
    assert dots.unselected.marker.opacity == 1  # also while another cell is open


def test_equals_share_the_place_and_infinite_scores_have_none(one):
    scores = np.array([2.0, 1.0, 1.0, np.inf, 0.5])
    picked = chosen_by(one)
    picked = type(picked)(
        edges=np.arange(4.0),
        bucket=np.array([0, 0, 0, 1, -1]),
        chosen=np.zeros(5, bool),
        lowest=np.array([1.0, np.inf, np.nan]),
    )
    assert best_of_bucket(picked, scores).tolist() == [False, True, True, False, False]


def test_snnets_set_waits_in_the_legend(one):
    marks = named(drawn(one), "SN-Net")
    assert marks.visible == "legendonly"
    places = [(round(y), round(x)) for y, x in zip(marks.y, marks.x)]
    assert sorted(places) == sorted(map(tuple, one.stitches[one.snnet & one.in_space]))


def test_cells_that_are_no_candidates_can_be_read_but_not_opened(pair):
    figure = drawn(pair, "cuts")
    open_to_click = {(f[0], f[1]) for f in squares(figure).customdata}
    assert open_to_click == set(map(tuple, pair.stitches[pair.in_space]))
    others = figure.data[2]
    assert others.customdata is None
    assert others.selected.marker.opacity == 0
    n, m = pair.source["blocks"], pair.target["blocks"]
    every = {(i, j) for i in range(n + 1) for j in range(m + 1)}
    assert set(zip(others.y, others.x)) == every - open_to_click
    told = dict(zip(zip(others.y, others.x), others.text))
    assert f"{pair.raw['theta'][0][m]:.4g}" in told[0, m]
    assert pair.target["cuts"][m] in told[0, m]
    assert "no candidate" in told[0, m]


def test_a_row_says_its_values_and_opens_nothing(one):
    figure = drawn(one, "sigma")
    assert len(squares(figure).x) == 0
    own = one.raw["theta_target"]
    told = {(0, j): f"{own[j][j + 1]:.3g}" for j in range(len(own) - 1)}
    assert printed(figure) == told == printed(drawn(one, "sigma", numbers=True))
    assert [t.type for t in figure.data].count("bar") == 1
    assert not any(t.name == "chosen" for t in figure.data)


def test_scores_that_span_decades_get_logarithmic_colours_unless_one_is_not_positive(one):
    for k, candidate in enumerate(one.raw["candidates"]):
        candidate["scores"]["dm"] = candidate["scores"]["cka"] = 10.0**k
    z = np.array(drawn(one, "dm").data[0].z, dtype=float)
    assert np.nanmax(z) == len(one.raw["candidates"]) - 1
    assert np.nanmax(np.array(drawn(one, "cka").data[0].z)) > 1e3
    one.raw["candidates"][0]["scores"]["dm"] = 0.0
    again = pairs_of(one.document)[one.index]  # a pair reads its document once
    assert np.nanmax(np.array(drawn(again, "dm").data[0].z)) > 1e3


def test_the_ring_is_on_the_cell_that_is_open_alone(pair):
    assert squares(drawn(pair)).marker.opacity == 0
    assert squares(drawn(pair)).selectedpoints is None
    i, j = pair.stitches[pair.in_space][2]
    ringed = squares(drawn(pair, cell=(int(i), int(j))))
    assert [(ringed.y[k], ringed.x[k]) for k in ringed.selectedpoints] == [(i, j)]


def test_the_hover_explains_every_number(pair):
    figure, picked = drawn(pair, "dm"), chosen_by(pair)
    rows = np.flatnonzero(pair.in_space)
    for row, facts in zip(rows, squares(figure).customdata):
        i, j = int(facts[0]), int(facts[1])
        assert (i, j) == tuple(pair.stitches[row])
        bucket = picked.bucket[row]
        assert facts[2].startswith("outside" if bucket < 0 else f"bucket {bucket}")
        assert ("chosen" in facts[2]) == picked.chosen[row]
        assert facts[3:5] == (pair.source["cuts"][i], pair.target["cuts"][j + 1])
        assert facts[5] == f"DM = {pair.scores('dm')[row]:.4g}<br>"
        assert float(facts[6]) == pytest.approx(float(facts[7]) / float(facts[8]), rel=1e-2)
        assert float(facts[7]) == pytest.approx(pair.raw["theta"][i][j], rel=1e-3)
        assert facts[9] == f"{pair.macs[row] / 1e6:.4g} MMACs"
        assert facts[10] == f"{pair.raw['candidates'][row]['params']:,}"
        assert facts[12] == f"{100 * pair.accuracy('tuned')[row]:.1f} %"
    for word in ("Γ = Ω / Σ", "nats", "tuned"):
        assert word in squares(figure).hovertemplate


def test_what_is_not_measured_says_so(one):
    one.raw["candidates"][0]["accuracy"]["tuned"] = None
    assert squares(drawn(one)).customdata[0][12] == "not measured"


def test_the_probes_stand_in_line_with_rows_and_columns(pair):
    pair.target["probe_converged"][2] = False
    figure = drawn(pair)
    above, beside = bars(figure)
    cells = figure.data[0]
    assert list(above.x) == list(cells.x)
    assert list(beside.y) == list(cells.y)
    assert (above.xaxis, beside.yaxis) == ("x", "y")  # the map's own
    assert list(above.y) == [100 * pair.target["probe_accuracy"][j] for j in cells.x]
    assert list(beside.x) == [100 * pair.source["probe_accuracy"][i] for i in cells.y]
    assert figure.layout.yaxis2.range == figure.layout.xaxis2.range  # one scale for both
    assert figure.layout.xaxis2.range[1] >= max(*above.y, *beside.x)
    k = list(above.x).index(2)
    assert [bool(s) for s in above.marker.pattern.shape] == [n == k for n in range(len(above.x))]
    assert "did not converge" in above.text[k]
    assert "did not converge" not in "".join(beside.text)
    assert pair.target["cuts"][2] in above.text[k]


def test_without_probes_there_are_no_strips(one):
    one.source["probe_accuracy"] = one.target["probe_accuracy"] = None
    figure = drawn(one)
    assert not bars(figure)
    assert figure.layout.xaxis2.visible is False


def test_axes_carry_the_blocks_names(one):
    layout = drawn(one).layout
    ticks = dict(zip(layout.yaxis.tickvals, layout.yaxis.ticktext))
    assert all(one.source["cuts"][k] in text for k, text in ticks.items())
    one.source["cuts"][1] = "stages.0.a_very_long_name.blocks.17"
    first = drawn(one).layout.yaxis.ticktext[0]
    assert first == "…ame.blocks.17  1"
    assert block_names(one.source)[1] == one.source["cuts"][1]


def test_a_strangers_names_are_no_markup(one):
    one.target["cuts"] = [EVIL] * len(one.target["cuts"])
    one.source["cuts"] = [EVIL + "\n" * 500] * len(one.source["cuts"])
    one.raw["source"] = one.source["name"] = EVIL
    for name in ("kl", "cuts", "sigma"):
        text = json.dumps(drawn(one, name).to_plotly_json(), default=list)
        assert "<a" not in text
        assert "&lt;a href" in text


def large(one, blocks):
    """The pair with that many blocks on both sides; the figures go round."""
    probes = one.target["probe_accuracy"][:2]
    for anchor in (one.source, one.target):
        anchor.update(blocks=blocks, cuts=[f"blocks.{k}" for k in range(blocks + 1)])
        anchor["probe_accuracy"] = (probes * blocks)[: blocks + 1]
        anchor["probe_converged"] = [True] * (blocks + 1)
    theta = np.random.default_rng(0).random((blocks + 1, blocks + 1)) + 0.1
    one.raw.update(theta=theta.tolist(), theta_target=theta.tolist())
    first = one.raw["candidates"][0]
    one.raw["candidates"][:] = [
        {**first, "source_block": i, "target_block": j, "macs": first["macs"] + i + j}
        for i in range(1, blocks + 1)
        for j in range(1, blocks)
    ]
    return pairs_of(one.document)[one.index]


@pytest.mark.parametrize("name", ["kl", "tuned", "cuts", "macs"])
def test_cells_have_the_values_that_are_shown_bold_where_chosen(pair, name):
    shown, told = field(pair, name), printed(drawn(pair, name))
    picked = set(pair.places(chosen_by(pair).chosen))
    assert set(told) == {(i, j) for i in shown.rows for j in shown.columns}
    for (i, j), text in told.items():
        assert text.startswith("<b>") == ((i, j) in picked)
        value = shown.values[shown.rows.index(i), shown.columns.index(j)]
        digits = 3 if len(shown.columns) <= 8 else 2
        assert float(text.strip("</b>")) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_bucket_numbers_take_their_place_when_asked_for(one):
    picked, told = chosen_by(one), printed(drawn(one, numbers=True))
    rows = np.flatnonzero(one.in_space)
    assert {place: text.strip("</b>") for place, text in told.items()} == {
        tuple(one.stitches[row]): str(b) if (b := picked.bucket[row]) >= 0 else "–" for row in rows
    }


def test_numbers_stay_out_of_cells_that_are_too_small(one):
    twelve = large(one, 12)
    assert max(map(len, printed(drawn(twelve)).values())) <= len("<b>0.037</b>")
    assert len(printed(drawn(twelve))) == 12 * 11
    big = drawn(large(one, 24))
    assert printed(big) == {}
    assert len(squares(big).x) == 24 * 23
    assert big.layout.height < 750
    assert len(printed(drawn(large(one, 24), numbers=True))) == 24 * 23
    assert printed(drawn(large(one, 25), numbers=True)) == {}


def test_a_value_without_a_colour_behind_it_is_read_on_any_page(one):
    gone = int(np.flatnonzero(one.in_space)[2])
    one.raw["candidates"][gone]["scores"]["kl"] = "inf"
    figure = drawn(pairs_of(one.document)[one.index])
    i, j = one.stitches[gone]
    texts = figure.data[3]
    colours = dict(zip(zip(texts.y, texts.x), texts.textfont.color))
    assert colours.pop((i, j)) == ANCHOR
    assert printed(figure)[i, j] == "∞"
    assert set(colours.values()) == {"#222", "white"}


def test_what_is_not_measured_has_no_number_but_a_bucket(one):
    gone = int(np.flatnonzero(one.in_space)[2])
    one.raw["candidates"][gone]["accuracy"]["tuned"] = None
    place = tuple(one.stitches[gone])
    assert printed(drawn(one, "tuned"))[place].strip("</b>") == ""
    assert printed(drawn(one, "tuned", numbers=True))[place].strip("</b>") != ""


def test_a_joint_training_fills_the_cells_of_the_chosen(one):
    picked = chosen_by(one)
    trained = np.where(picked.chosen, np.linspace(0.3, 0.9, len(one.macs)), np.nan)
    figure = cell_map(one, picked, "kl", "finetuned", None, trained)
    go.Figure(figure.to_dict())
    cells = figure.data[0]
    actual = {
        (i, j): z
        for i, row in zip(cells.y, np.array(cells.z))
        for j, z in zip(cells.x, row)
        if np.isfinite(z)
    }
    places = one.places(picked.chosen)
    assert actual == pytest.approx(dict(zip(places, 100 * trained[picked.chosen])))
    for facts in squares(figure).customdata:
        told = facts[5].removesuffix("<br>").removeprefix("top-1 after joint training: ")
        place = (int(facts[0]), int(facts[1]))
        assert told == (f"{actual[place]:.1f} %" if place in actual else "not measured")


def test_an_infinite_score_leaves_a_gap_and_no_error(pair):
    for candidate in pair.raw["candidates"][:2]:
        candidate["scores"]["kl"] = "inf"
    figure = drawn(pairs_of(pair.document)[pair.index])
    assert np.isnan(np.array(figure.data[0].z)).sum() == 2
    assert squares(figure).customdata[0][6] == "inf"


def test_only_infinite_scores_choose_nothing_and_draw_nothing(one):
    for candidate in one.raw["candidates"]:
        candidate["scores"]["kl"] = "inf"
    figure = drawn(pairs_of(one.document)[one.index])
    assert np.isnan(np.array(figure.data[0].z)).all()
    assert len(named(figure, "chosen").x) == len(named(figure, "best").x) == 0


def test_one_stitch_in_one_bucket_is_a_map_too(one):
    del one.raw["candidates"][1:]
    figure = drawn(pairs_of(one.document)[one.index], buckets=1)
    assert np.array(figure.data[0].z).shape == (1, 1)
    ((place, number),) = printed(figure).items()
    assert place == tuple(one.stitches[0])
    assert float(number.removeprefix("<b>").removesuffix("</b>")) == pytest.approx(
        one.scores("kl")[0], rel=0.05
    )


def test_a_pair_without_stitches_has_a_map_of_its_cuts(one):
    one.raw["candidates"].clear()
    bare = pairs_of(one.document)[one.index]
    for name in ("cuts", "sigma"):
        figure = drawn(bare, name)
        go.Figure(figure.to_dict())
        assert len(squares(figure).x) == 0
