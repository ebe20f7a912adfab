"""Which stitches there are: the search space of the paper, and SN-Net's set.

A stitch is written (i, j): the first i blocks of the source, then the target's blocks from
j + 1 on. SN-Net counts from 0: its (a, b) is our i = a + 1, j = b.
"""

from typing import Literal

Stitch = tuple[int, int]


def search_space(
    source_blocks: int, target_blocks: int, space: Literal["paper", "with-stem"] = "paper"
) -> list[Stitch]:
    """All (i, j) with 1 ≤ i ≤ n_f and 1 ≤ j ≤ n_g − 1; ``with-stem`` adds j = 0."""
    first = 0 if space == "with-stem" else 1
    return [(i, j) for i in range(1, source_blocks + 1) for j in range(first, target_blocks)]


def snnet_set(source_blocks: int, target_blocks: int) -> list[Stitch]:
    """The stitches of SN-Net (Pan et al., CVPR 2023) between two plain networks.

    Equal depth: windows of kernel 2 and stride 1, every (a, b) inside one, which is
    |a − b| ≤ 1 and, at depth 12, 34 stitches. Unequal depth: the target's b maps to
    a = ⌊b · n_f / n_g⌋, kept where a < b. The set may be empty.
    """
    if source_blocks == target_blocks:
        n = source_blocks
        pairs = [(a, b) for a in range(n) for b in range(n) if abs(a - b) <= 1 and n > 1]
    else:
        mapped = [(b * source_blocks // target_blocks, b) for b in range(target_blocks)]
        pairs = [(a, b) for a, b in mapped if a < b]
    return [(a + 1, b) for a, b in pairs]


def candidates(
    source_blocks: int, target_blocks: int, space: Literal["paper", "with-stem"] = "paper"
) -> list[tuple[Stitch, bool, bool]]:
    """Everything that is measured: ((i, j), in the space?, in SN-Net's set?), sorted."""
    inside = set(search_space(source_blocks, target_blocks, space))
    snnet = set(snnet_set(source_blocks, target_blocks))
    return [(s, s in inside, s in snnet) for s in sorted(inside | snnet)]
