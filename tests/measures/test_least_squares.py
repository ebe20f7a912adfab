import pytest
import torch
from torch.nn.functional import interpolate

from klas.measures import least_squares
from klas.measures.least_squares import CrossMoments
from klas.networks.layout import Layout
from klas.networks.stitch import stitch_layer


def tokens(width, count):
    return Layout(channels=width, grid=(1, count), prefix=0)


def lstsq(x, y):
    """The fitted values of an affine least-squares fit, by torch.linalg.lstsq in float64."""
    rows = torch.cat([x.flatten(0, -2), torch.ones(x.flatten(0, -2).shape[0], 1)], 1).double()
    wanted = y.flatten(0, -2).double()
    return rows @ torch.linalg.lstsq(rows, wanted, driver="gelsd").solution


def fitted(state, x):
    return (x.flatten(0, -2) @ state["weight"].T + state["bias"]).double()


def test_full_rank_rows_give_lstsqs_fitted_values_for_every_pair_of_cuts():
    torch.manual_seed(0)
    source = [torch.randn(60, 5, 8) * 3 + 10, torch.randn(60, 5, 6)]
    target = [torch.randn(60, 5, 4) + source[0][..., :4], torch.randn(60, 5, 7) * 50]
    layouts = [[tokens(a.shape[2], 5) for a in side] for side in (source, target)]
    moments = CrossMoments(*layouts, [(0, 0), (0, 1), (1, 0), (1, 1)])
    for k in range(0, 60, 25):  # an uneven last batch
        moments.update([a[k : k + 25] for a in source], [a[k : k + 25] for a in target])
    for (i, j), state in moments.solve().items():
        wanted = lstsq(source[i], target[j])
        assert (fitted(state, source[i]) - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize("condition", [1e2, 1e4])
def test_rows_whose_channels_differ_by_orders_of_magnitude(condition):
    """As in deep networks; the second moments' condition is the square of the rows'."""
    torch.manual_seed(6)
    mix = torch.linalg.qr(torch.randn(20, 20)).Q
    x = torch.randn(80, 5, 20) * torch.logspace(0, 1, 20).pow(torch.tensor(condition).log10())
    x = x @ mix + 100
    y = x @ torch.randn(20, 8) / condition + torch.randn(80, 5, 8)
    moments = CrossMoments([tokens(20, 5)], [tokens(8, 5)], [(0, 0)])
    moments.update([x], [y])
    weight, bias = (v.double() for v in moments.solve()[0, 0].values())
    wanted = lstsq(x, y)
    fitted_here = x.flatten(0, 1).double() @ weight.T + bias
    assert (fitted_here - wanted).norm() < 1e-4 * wanted.norm()


def test_any_set_of_stitches_gives_each_what_it_has_alone(monkeypatch):
    """Sources with unequal sets of targets, unequal grids and prefixes, more than one tile."""
    monkeypatch.setattr(least_squares, "TILE_BYTES", 8 * 12 * 30)
    torch.manual_seed(7)
    plain = Layout(channels=5, grid=(2, 2), prefix=1)
    have = [plain, Layout(channels=4, grid=(3, 3), prefix=0, form="NHWC"), plain]
    want = [plain, Layout(channels=3, grid=(2, 2), prefix=2), plain]
    sources = [torch.randn(40, 5, 5), torch.randn(40, 3, 3, 4), torch.randn(40, 5, 5)]
    targets = [torch.randn(40, 5, 5), torch.randn(40, 6, 3), torch.randn(40, 5, 5)]
    stitches = [(0, 0), (0, 1), (0, 2), (1, 1), (2, 0), (2, 2), (1, 0)]
    together = CrossMoments(have, want, stitches)
    for k in range(0, 40, 15):
        here = slice(k, k + 15)
        together.update([x[here] for x in sources], [y[here] for y in targets])
    states = together.solve()
    assert set(states) == set(stitches)
    for stitch, state in states.items():
        alone = CrossMoments(have, want, [stitch])
        alone.update(sources, targets)
        wanted = alone.solve()[stitch]
        assert state.keys() == wanted.keys()
        for name, value in state.items():
            assert torch.allclose(value, wanted[name], rtol=1e-5, atol=1e-6)


def test_an_exact_linear_map_is_recovered():
    torch.manual_seed(1)
    x = torch.randn(40, 3, 5)
    weight, bias = torch.randn(4, 5), torch.randn(4)
    moments = CrossMoments([tokens(5, 3)], [tokens(4, 3)], [(0, 0)])
    moments.update([x], [x @ weight.T + bias])
    state = moments.solve()[0, 0]
    assert torch.allclose(state["weight"], weight, atol=1e-4)
    assert torch.allclose(state["bias"], bias, atol=1e-4)


def test_deficient_rank_gives_a_finite_map_with_the_best_fit():
    torch.manual_seed(2)
    narrow = torch.randn(50, 2, 3)
    x = torch.cat([narrow, narrow[..., :2], torch.full((50, 2, 1), 4.0)], -1)  # rank 3 of 6
    y = torch.randn(50, 2, 4)
    moments = CrossMoments([tokens(6, 2)], [tokens(4, 2)], [(0, 0)])
    moments.update([x], [y])
    state = moments.solve()[0, 0]
    assert state["weight"].abs().max() < 10
    assert (fitted(state, x) - lstsq(x, y)).norm() < 1e-4 * y.norm()


def test_between_grids_the_fit_is_best_on_the_targets_grid():
    torch.manual_seed(3)
    have = Layout(channels=6, grid=(3, 3), prefix=0, form="NCHW")
    want = Layout(channels=4, grid=(5, 5), prefix=0, form="NHWC")
    x, y = torch.randn(30, 6, 3, 3), torch.randn(30, 5, 5, 4)
    moments = CrossMoments([have], [want], [(0, 0)])
    moments.update([x[:20]], [y[:20]])
    moments.update([x[20:]], [y[20:]])
    layer = stitch_layer(have, want, moments.solve()[0, 0])
    moved = interpolate(x, size=(5, 5), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    wanted = lstsq(moved, y)
    got = layer(x).detach().flatten(0, 2).double()
    assert (got - wanted).norm() < 1e-4 * wanted.norm()


def test_equal_prefixes_join_the_fit_and_unequal_ones_have_their_own():
    torch.manual_seed(4)
    class_token = Layout(channels=5, grid=(2, 2), prefix=1)
    two = Layout(channels=3, grid=(2, 2), prefix=2)
    x, y_one, y_two = torch.randn(50, 5, 5), torch.randn(50, 5, 5), torch.randn(50, 6, 3)
    moments = CrossMoments([class_token], [class_token, two], [(0, 0), (0, 1)])
    moments.update([x], [y_one, y_two])
    states = moments.solve()
    wanted = lstsq(x, y_one)
    assert (fitted(states[0, 0], x) - wanted).norm() < 1e-4 * wanted.norm()
    layer = stitch_layer(class_token, two, states[0, 1])
    got = layer(x).detach().double()
    grid = lstsq(x[:, 1:], y_two[:, 2:]).reshape(50, 4, 3)
    assert (got[:, 2:] - grid).norm() < 1e-4 * grid.norm()
    mean = x[:, 1:].mean(1)
    for token in range(2):
        wanted = lstsq(mean, y_two[:, token])
        assert (got[:, token] - wanted).norm() < 1e-4 * wanted.norm()


def test_sequences_of_any_length_are_fitted_position_by_position():
    torch.manual_seed(5)
    have, want = (Layout(channels=c, grid=(), prefix=0) for c in (5, 3))
    xs = [torch.randn(20, length, 5) for length in (4, 7)]
    ys = [x[..., :3] + torch.randn(*x.shape[:2], 3) for x in xs]
    moments = CrossMoments([have], [want], [(0, 0)])
    for x, y in zip(xs, ys):
        moments.update([x], [y])
    state = moments.solve()[0, 0]
    rows, wanted_rows = (torch.cat([t.flatten(0, 1) for t in side]) for side in (xs, ys))
    wanted = lstsq(rows, wanted_rows)
    assert (fitted(state, rows) - wanted).norm() < 1e-4 * wanted.norm()
