import torch

from klas.measures.least_squares import CrossMoments


def lstsq(x, y):
    """The fitted values of an affine least-squares fit, by torch.linalg.lstsq in float64."""
    rows = torch.cat([x.flatten(0, 1), torch.ones(x.shape[0] * x.shape[1], 1)], 1).double()
    return rows @ torch.linalg.lstsq(rows, y.flatten(0, 1).double(), driver="gelsd").solution


def fitted(weight, bias, x):
    return (x.flatten(0, 1) @ weight.T + bias).double()


def test_full_rank_rows_give_lstsqs_fitted_values_for_every_pair_of_cuts():
    torch.manual_seed(0)
    source = [torch.randn(60, 5, 8) * 3 + 10, torch.randn(60, 5, 6)]
    target = [torch.randn(60, 5, 4) + source[0][..., :4], torch.randn(60, 5, 7) * 50]
    moments = CrossMoments()
    for k in range(0, 60, 25):  # an uneven last batch
        moments.update([a[k : k + 25] for a in source], [a[k : k + 25] for a in target])
    found = moments.solve([(0, 0), (0, 1), (1, 0), (1, 1)])
    for (i, j), (weight, bias) in found.items():
        wanted = lstsq(source[i], target[j])
        got = fitted(weight, bias, source[i])
        assert (got - wanted).norm() < 1e-4 * wanted.norm()


def test_an_exact_linear_map_is_recovered():
    torch.manual_seed(1)
    x = torch.randn(40, 3, 5)
    weight, bias = torch.randn(4, 5), torch.randn(4)
    moments = CrossMoments()
    moments.update([x], [x @ weight.T + bias])
    got_weight, got_bias = moments.solve([(0, 0)])[0, 0]
    assert torch.allclose(got_weight, weight, atol=1e-4)
    assert torch.allclose(got_bias, bias, atol=1e-4)


def test_deficient_rank_gives_a_finite_map_with_the_best_fit():
    torch.manual_seed(2)
    narrow = torch.randn(50, 2, 3)
    x = torch.cat([narrow, narrow[..., :2], torch.full((50, 2, 1), 4.0)], -1)  # rank 3 of 6
    y = torch.randn(50, 2, 4)
    moments = CrossMoments()
    moments.update([x], [y])
    weight, bias = moments.solve([(0, 0)])[0, 0]
    assert weight.abs().max() < 10
    assert (fitted(weight, bias, x) - lstsq(x, y)).norm() < 1e-4 * y.norm()
