"""Which stitches there are: the search space of the paper, and SN-Net's set.

A stitch is written (i, j): the first i blocks of the source, then the target's blocks from
j + 1 on. SN-Net counts from 0: its (a, b) is our i = a + 1, j = b.
"""

from collections.abc import Sequence
from typing import Literal

PairNames = tuple[str, str]
"""The names of a pair's source and target."""

Place = tuple[int, int]
"""(i, j) of a stitch between two given anchors."""


def name_of(place: Place) -> str:
    """A stitch's name in results and files: ``i-j``."""
    return "{}-{}".format(*place)


def search_space(
    source_blocks: int, target_blocks: int, space: Literal["paper", "with-stem"] = "paper"
) -> list[Place]:
    """All (i, j) with 1 ≤ i ≤ n_f and 1 ≤ j ≤ n_g − 1; ``with-stem`` adds j = 0.

    Examples:
        >>> search_space(2, 3)
        [(1, 1), (1, 2), (2, 1), (2, 2)]
        >>> search_space(1, 3, "with-stem")
        [(1, 0), (1, 1), (1, 2)]
    """
    first = 0 if space == "with-stem" else 1
    return [(i, j) for i in range(1, source_blocks + 1) for j in range(first, target_blocks)]


def snnet_set(source_stages: Sequence[int], target_stages: Sequence[int]) -> list[Place]:
    """The stitches of SN-Net (Pan et al., CVPR 2023). The set may be empty.

    Plain networks of equal depth: windows of kernel 2 and stride 1, every (a, b) inside one,
    which is |a − b| ≤ 1 and, at depth 12, 34 stitches. Hierarchical networks with the same number
    of stages: a < b only, stage by stage without the last; by such windows in stages of equal
    depth, otherwise b maps to a = ⌊b · n_f / n_g⌋. Any other two networks: that map over the
    whole depth, kept where a < b.

    Args:
        source_stages, target_stages: how many blocks each stage has; a plain network has one.

    Returns:
        (i, j) of each, in our numbering.

    Examples:
        >>> snnet_set([2], [2])
        [(1, 0), (1, 1), (2, 0), (2, 1)]
        >>> len(snnet_set([12], [12]))
        34
        >>> snnet_set([2], [4])  # b = 0, 1, 2, 3 map to a = 0, 0, 1, 1
        [(1, 1), (2, 2), (2, 3)]
    """
    if len(source_stages) == len(target_stages) > 1:
        stitches, a_first, b_first = [], 0, 0
        for n_f, n_g in zip(source_stages[:-1], target_stages[:-1]):
            pairs = _windows(n_f) if n_f == n_g else _mapped(n_f, n_g)
            stitches += [(a_first + a + 1, b_first + b) for a, b in pairs if a < b]
            a_first, b_first = a_first + n_f, b_first + n_g
        return stitches
    n_f, n_g = sum(source_stages), sum(target_stages)
    plain = len(source_stages) == len(target_stages) == 1
    pairs = _windows(n_f) if plain and n_f == n_g else _mapped(n_f, n_g)
    return [(a + 1, b) for a, b in pairs]


def _windows(depth: int) -> list[tuple[int, int]]:
    """SN-Net's (a, b), from 0, that lie in a window of two neighbours."""
    return [(a, b) for a in range(depth) for b in range(depth) if abs(a - b) <= 1 and depth > 1]


def _mapped(source_depth: int, target_depth: int) -> list[tuple[int, int]]:
    """SN-Net's (a, b), from 0, between unequal depths."""
    mapped = [(b * source_depth // target_depth, b) for b in range(target_depth)]
    return [(a, b) for a, b in mapped if a < b]


def candidates(
    source_stages: Sequence[int],
    target_stages: Sequence[int],
    space: Literal["paper", "with-stem"] = "paper",
) -> list[tuple[Place, bool, bool]]:
    """Everything that is measured: the search space and SN-Net's set, sorted.

    Args:
        source_stages, target_stages: how many blocks each stage has; a plain network has one.
        space: as for :func:`search_space`.

    Returns:
        Each candidate's (i, j), whether it is in the space, and whether it is in SN-Net's set.

    Examples:
        >>> candidates([2], [2])  # SN-Net also enters behind the stem, the space does not
        [((1, 0), False, True), ((1, 1), True, True), ((2, 0), False, True), ((2, 1), True, True)]
    """
    inside = set(search_space(sum(source_stages), sum(target_stages), space))
    snnet = set(snnet_set(source_stages, target_stages))
    return [(s, s in inside, s in snnet) for s in sorted(inside | snnet)]
