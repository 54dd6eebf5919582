import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.windows import borda, reorder, spans


def test_windows_go_from_the_tail_to_the_head():
    assert spans(30, 20, 10) == [(10, 30), (0, 20)]
    assert spans(25, 10, 5) == [(15, 25), (10, 20), (5, 15), (0, 10)]
    assert spans(7, 20, 10) == [(0, 7)]
    assert spans(22, 20, 10) == [(2, 22), (0, 20)]
    assert spans(0, 20, 10) == []


@given(st.integers(1, 80), st.integers(1, 20).flatmap(lambda s: st.tuples(st.just(s), st.integers(0, s - 1))))
def test_every_place_is_covered_and_neighbours_overlap(n, knobs):
    size, overlap = knobs
    found = spans(n, size, overlap)
    assert found[-1][0] == 0
    assert found[0][1] == n
    assert all(stop - start == min(size, n) for start, stop in found)
    assert all(below[1] >= above[0] + overlap for above, below in zip(found, found[1:], strict=False))
    assert {i for start, stop in found for i in range(start, stop)} == set(range(n))


def test_the_best_page_travels_from_the_tail_to_the_top():
    order = list(range(30))
    for span in spans(30, 10, 5):
        inside = order[slice(*span)]
        order = reorder(order, span, sorted(range(len(inside)), key=lambda i: -inside[i]))
    assert order[0] == 29
    assert sorted(order) == list(range(30))


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (5, 5), (5, -1)])
def test_impossible_windows_are_refused(size, overlap):
    with pytest.raises(ValueError, match="window size"):
        spans(10, size, overlap)


def test_reorder_refuses_what_is_no_permutation():
    assert reorder([4, 5, 6, 7], (1, 3), [1, 0]) == [4, 6, 5, 7]
    with pytest.raises(ValueError, match="permutation"):
        reorder([4, 5, 6, 7], (1, 3), [0, 0])


def test_borda():
    assert borda([[0, 1, 2], [0, 2, 1]]) == [1.0, 0.25, 0.25]
    assert borda([[0]]) == [1.0]
    with pytest.raises(ValueError, match="orders to merge"):
        borda([[0, 1], [0]])
    with pytest.raises(ValueError, match="orders to merge"):
        borda([])
