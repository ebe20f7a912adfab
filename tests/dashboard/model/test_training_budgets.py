from dashboard.model.training_budgets import budget_pairs, budgets_of, untrained


def test_the_pairs_of_the_budgets_are_those_of_the_figure_shown():
    def areas(mean, area):
        actual = {"mean_top1": mean, "auc_stitches": area}
        return {name: {"value": 0.5, "pairs": n} if n else None for name, n in actual.items()}

    methods = {
        "kl": {"budgets": {"0": areas(3, 2), "12": areas(3, 2), "24": None}},
        "snnet": {"budgets": {"0": areas(0, 0), "12": None, "24": None}},
    }
    assert budget_pairs(methods, "mean_top1") == 3
    assert budget_pairs(methods, "auc_stitches") == 2
    assert budget_pairs({"kl": {"budgets": {"0": None}}}, "mean_top1") == 0


def test_no_budget_is_measured_where_nothing_is_trained():
    assert budgets_of({"kl": {"budgets": {"0": None}}, "cka": {}}) == []


def test_missing_trainings_are_counted_once_for_equal_choices():
    one, two = ({"source_block": i, "target_block": 1} for i in (1, 2))
    pair = {
        "chosen": {"kl": [one, two], "cka": [one, two], "mse": [two], "snnet": []},
        "methods": {
            "kl": {"budgets": {"0": None, "12": None}},
            "cka": {"budgets": {"0": None, "12": None}},
            "mse": {"budgets": {"0": {"mean_top1": {}}, "12": None}},
            "snnet": {"budgets": {"0": None, "12": None}},
        },
    }
    assert untrained(pair) == [0, 12, 12]


def test_a_race_shares_its_training_with_no_method_that_chose_the_same():
    budgets = {"budgets": {"0": None, "12": None}}
    chosen = [{"source_block": 1, "target_block": 1}]
    pair = {
        "chosen": {"kl": chosen, "snnet": chosen, "race": chosen},
        "methods": {"kl": budgets, "snnet": budgets, "race": budgets},
    }
    assert untrained(pair) == [0, 0, 12, 12]
