import pytest

from klas.selection.space import candidates, search_space, snnet_set


def test_the_papers_space_leaves_out_the_stem_and_the_head():
    assert search_space(2, 3) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert len(search_space(12, 12)) == 12 * 11


def test_with_stem_adds_cut_0():
    assert set(search_space(2, 2, "with-stem")) - set(search_space(2, 2)) == {(1, 0), (2, 0)}


def test_snnet_of_equal_depth_has_its_published_count():
    assert len(snnet_set([12], [12])) == 34  # 71 configurations = 2 pairs × 34 + 3 anchors


def test_snnet_of_unequal_depth_maps_each_target_block_back():
    # (a, b) = (⌊3b/8⌋, b) for b = 0..7, kept where a < b; ours is (a + 1, b).
    assert snnet_set([3], [8]) == [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (3, 7)]


def test_snnet_can_be_empty():
    assert snnet_set([1], [1]) == []


def test_snnet_of_swins_has_its_published_count():
    tiny, small, base = (2, 2, 6, 2), (2, 2, 18, 2), (2, 2, 18, 2)
    sets = snnet_set(tiny, small), snnet_set(small, base)
    assert sum(map(len, sets)) == 38
    # Stage by stage, without the last: j leads on in the stage that i is in.
    assert sets[1][:3] == [(1, 1), (3, 3), (5, 5)]
    assert sets[0][2:6] == [(5, 5), (5, 6), (6, 7), (6, 8)]
    assert max(j for _, j in sets[1]) < 22


def test_snnet_between_a_plain_and_a_hierarchical_network_maps_over_the_whole_depth():
    assert snnet_set([4], [2, 2, 2]) == snnet_set([4], [6])
    assert snnet_set([2, 2], [4]) == []  # of equal depth, but b never lies ahead of a


@pytest.mark.parametrize("stages", [([12], [12]), ([3], [8]), ([2, 2], [2, 6]), ([1], [1])])
def test_candidates_are_the_union_each_once(stages):
    actual = candidates(*stages)
    stitches = [s for s, _, _ in actual]
    space = search_space(*map(sum, stages))
    assert stitches == sorted(set(space) | set(snnet_set(*stages)))
    assert {s for s, inside, _ in actual if inside} == set(space)
    assert {s for s, _, snnet in actual if snnet} == set(snnet_set(*stages))
