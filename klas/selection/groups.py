"""Groups of candidates that are made apart: by several processes, devices or hosts.

A grouping is a function of costs alone, so it is the same wherever it is asked for.
"""

from collections.abc import Mapping

from klas.selection.space import Place

OVERHEAD = 0.05
"""The most that groups may do more than once, as a share of what has to be done anyway."""


def balanced_groups(costs: Mapping[Place, int], shared: int) -> tuple[tuple[Place, ...], ...]:
    """Candidates, in order, in as many groups of about equal cost as may repeat what they share.

    Neighbours stay together: results that are joined are in order again, and a group of low i needs
    little of the source. No group costs more or less than the mean by more than one place does.

    Args:
        costs: of each place by itself, in MACs; above zero.
        shared: what every group does once, however many places it has, such as the source's
            forward passes. One group has it for nothing; the others together may take
            :data:`OVERHEAD` of the sum of ``costs`` for it.

    Returns:
        The groups, none of them empty. No places are no groups.

    Examples:
        >>> costs = {(1, 1): 30, (1, 2): 10, (2, 1): 30, (2, 2): 10}
        >>> balanced_groups(costs, shared=4)  # one more group repeats 4 of 80
        (((1, 1), (1, 2)), ((2, 1), (2, 2)))
        >>> balanced_groups(costs, shared=5)
        (((1, 1), (1, 2), (2, 1), (2, 2)),)
    """
    total, costliest = sum(costs.values()), max(costs.values(), default=1)
    count = max(1, total // costliest)  # with more, one would be the costliest place alone
    if shared:
        count = min(count, 1 + int(OVERHEAD * total / shared))
    groups: dict[int, list[Place]] = {}
    before = 0
    for place in sorted(costs):
        # Where the middle of its cost lies in the sum of all, cut into equal parts.
        part = (2 * before + costs[place]) * count // (2 * total)
        groups.setdefault(part, []).append(place)
        before += costs[place]
    return tuple(map(tuple, groups.values()))
