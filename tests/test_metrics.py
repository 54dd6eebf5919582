import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.metrics import (
    METRICS,
    layout_recall,
    layout_share,
    macro,
    micro,
    ndcg,
    overlap,
    recall,
    reciprocal_rank,
    score,
    score_layouts,
)


def test_recall_is_a_share_and_not_a_hit_rate():
    assert recall([4, 2, 9], [2, 9], 1) == 0
    assert recall([4, 2, 9], [2, 9], 2) == 0.5
    assert recall([4, 2, 9], [2, 9], 3) == 1
    assert recall([2], [2, 9], 5) == 0.5
    assert recall([2, 9], [], 1) == 0
    assert recall([], [1], 3) == 0
    assert recall([3, 1], [1, 1], 2) == 0.5


def test_reciprocal_rank():
    assert reciprocal_rank([4, 2, 9], [9, 2]) == 0.5
    assert reciprocal_rank([4], [9]) == 0


def test_ndcg_by_hand():
    assert ndcg([4, 2, 9], [2, 9], 5) == pytest.approx((0.6309297535714574 + 0.5) / (1 + 0.6309297535714574))
    assert ndcg([2, 9], [2, 9], 5) == 1
    assert ndcg([1, 2, 3, 4, 5, 6], [6], 5) == 0
    assert ndcg([1], [], 5) == 0


@given(st.permutations(range(12)), st.sets(st.integers(0, 11), min_size=1, max_size=7))
def test_every_metric_keeps_its_range_and_the_best_order_is_best(ranking, relevant):
    found = score(ranking, relevant)
    best = score(sorted(ranking, key=lambda p: p not in relevant), relevant)
    for name in METRICS:
        assert 0 <= found[name] <= best[name] <= 1
    assert best["mrr"] == best["ndcg@5"] == 1


DOMAINS = ("a", "b", "c")


def test_macro_and_micro():
    values = {"a": [1.0, 0.0, 1.0, 0.0], "b": [1.0]}
    assert micro([v for group in values.values() for v in group]) == 0.6
    assert macro(values) == 0.75
    assert macro(values, DOMAINS) == 0.5
    assert macro({}) == micro([]) == 0


def test_layouts_are_scored_by_area_and_may_count_twice():
    gold = [(0, (0.0, 0.0, 10.0, 10.0))]
    assert overlap((0, 0, 10, 10), (5, 5, 20, 20)) == 25
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert layout_recall([(0, (0, 0, 10, 5)), (0, (0, 5, 10, 10))], gold, 1) == 0.5
    assert layout_recall([(0, (0, 0, 10, 5)), (0, (0, 5, 10, 10))], gold, 5) == 1
    assert layout_recall([(0, (0, 0, 10, 10)), (0, (0, 0, 10, 10))], gold, 5) == 2
    assert layout_recall([(1, (0, 0, 10, 10))], gold, 5) == 0
    assert layout_recall([], [], 5) == 0


def test_shares_of_layouts_add_up_to_recall():
    gold = [(0, (0.0, 0.0, 10.0, 10.0)), (1, (0.0, 0.0, 10.0, 10.0))]
    found = [(0, (0.0, 0.0, 10.0, 5.0)), (1, (5.0, 5.0, 20.0, 20.0)), (2, (0.0, 0.0, 10.0, 10.0))]
    shares = {i: layout_share(page, box, gold) for i, (page, box) in enumerate(found)}
    assert shares == {0: 0.25, 1: 0.125, 2: 0}
    assert score_layouts([2, 0, 1], shares) == {"recall@1": 0, "recall@5": 0.375, "recall@10": 0.375}
    assert layout_share(0, (0, 0, 1, 1), [(0, (3, 3, 3, 9))]) == 0
