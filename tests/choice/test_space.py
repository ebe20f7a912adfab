import pytest

from klas.choice.space import candidates, search_space, snnet_set


def test_the_papers_space_leaves_out_the_stem_and_the_head():
    assert search_space(2, 3) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert len(search_space(12, 12)) == 12 * 11


def test_with_stem_adds_cut_0():
    assert set(search_space(2, 2, "with-stem")) - set(search_space(2, 2)) == {(1, 0), (2, 0)}


def test_snnet_of_equal_depth_has_its_published_count():
    assert len(snnet_set(12, 12)) == 34  # 71 configurations = 2 pairs × 34 + 3 anchors


def test_snnet_of_unequal_depth_maps_each_target_block_back():
    # (a, b) = (⌊3b/8⌋, b) for b = 0..7, kept where a < b; ours is (a + 1, b).
    assert snnet_set(3, 8) == [(1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (3, 7)]


def test_snnet_can_be_empty():
    assert snnet_set(1, 1) == []


@pytest.mark.parametrize("depths", [(12, 12), (3, 8), (8, 3), (1, 1)])
def test_candidates_are_the_union_each_once(depths):
    found = candidates(*depths)
    stitches = [s for s, _, _ in found]
    assert stitches == sorted(set(search_space(*depths)) | set(snnet_set(*depths)))
    assert {s for s, inside, _ in found if inside} == set(search_space(*depths))
    assert {s for s, _, snnet in found if snnet} == set(snnet_set(*depths))
