"""Figures over all pairs, by hand."""

import numpy as np

from klas.selection.aggregate import WeightedFigure, over_pairs


def leaf(*values):
    return np.array(values, dtype=np.float64)


def tree(chance, **methods):
    names = ("overlap", "spearman", "spearman_within", "tuned")
    return {
        "chance": leaf(chance, chance),
        "methods": {m: dict(zip(names, actual)) | {"budgets": {}} for m, actual in methods.items()},
    }


def within(rho, candidates):
    return WeightedFigure(leaf(rho, rho), np.array([candidates, candidates]))


def test_hits_are_summed_and_every_mean_is_over_the_pairs_that_all_methods_have():
    nan = float("nan")
    trees = [
        tree(
            0.5,
            kl=(leaf(1, 2), leaf(0.5, 0.1), within(0.5, 3), {"mean_top1": leaf(0.4, 0.4)}),
            snnet=(None, None, None, {"mean_top1": leaf(0.6, 0.8)}),
        ),
        tree(
            1.5,
            kl=(leaf(3, 3), leaf(0.7, 0.3), within(-0.5, 9), {"mean_top1": leaf(0.8, 0.8)}),
            snnet=(None, None, None, None),
        ),
        tree(
            0,
            kl=(leaf(0, 0), leaf(nan, nan), within(nan, 0), {"mean_top1": leaf(0.2, 0.0)}),
            snnet=(None, None, None, {"mean_top1": leaf(0.2, 0.2)}),
        ),
    ]
    actual = over_pairs(trees)
    assert actual["chance"].tolist() == [2, 2]
    kl, snnet = actual["methods"]["kl"], actual["methods"]["snnet"]
    assert (kl["overlap"].values.tolist(), kl["overlap"].pairs) == ([4, 5], 3)
    # Who has an order nowhere takes no pair from the others; who has it somewhere does.
    np.testing.assert_allclose(kl["spearman"].values, [0.6, 0.2])
    np.testing.assert_allclose(kl["spearman_within"].values, (0.5 * 3 - 0.5 * 9) / 12)
    assert kl["spearman_within"].candidates.tolist() == [12, 12]
    assert snnet["overlap"] is snnet["spearman"] is snnet["spearman_within"] is None
    np.testing.assert_allclose(kl["tuned"]["mean_top1"].values, [0.3, 0.2])
    np.testing.assert_allclose(snnet["tuned"]["mean_top1"].values, [0.4, 0.5])
    assert kl["tuned"]["pairs"] == snnet["tuned"]["pairs"] == 2


def test_a_method_that_has_a_table_on_no_pair_has_none_over_all_pairs():
    trees = [
        tree(
            1,
            kl=(leaf(1, 1), leaf(0.5, 0.5), within(0.5, 3), {"mean_top1": leaf(0.4, 0.4)}),
            race=(None, None, None, None),
        )
        for _ in range(2)
    ]
    methods = over_pairs(trees)["methods"]
    assert methods["race"]["tuned"] is None
    assert methods["kl"]["tuned"]["pairs"] == 2  # which it takes from no other
