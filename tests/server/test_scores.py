import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.server.scores import agrees, raw, relevance
from mmr5.types import Ranking


@pytest.mark.parametrize(
    ("ranking", "values", "kind"),
    [
        (Ranking((1, 0), (0.2, 0.9), "relevance_probability"), [0.2, 0.9], "relevance_probability"),
        (Ranking((1, 0), (0.5, 1.0), "reciprocal_rank"), [0.5, 1.0], "reciprocal_rank"),
        (Ranking((1, 0), (-2.0, -1.0), "mean_log_likelihood"), [math.exp(-2), math.exp(-1)], "geometric_mean_token_probability"),
        (Ranking((0, 1), (0.0, -1000.0), "fused"), [0.5, 0.0], "logistic_fused"),
        (Ranking((0, 2, 1), (math.log(9), -math.log(9), 0.0), "cross_encoder"), [0.9, 0.1, 0.5], "cross_encoder_probability"),
        (Ranking((2, 0, 1), (3.0, 1.0, 5.0), "borda"), [2 / 3, 1 / 3, 1.0], "linear_rank"),
        (Ranking((1, 0)), [0.5, 1.0], "linear_rank"),
        (Ranking((1, 0), (0.9, 0.2), "relevance_probability"), [0.5, 1.0], "linear_rank"),
        (Ranking((1, 0), (0.9, math.nan), "relevance_probability"), [0.5, 1.0], "linear_rank"),
        (Ranking(()), [], "linear_rank"),
    ],
)
def test_scores_by_kind(ranking, values, kind):
    found, name = relevance(ranking)
    assert found == pytest.approx(values) and name == kind


@given(
    st.lists(st.floats(), min_size=1, max_size=6),
    st.sampled_from(["relevance_probability", "mean_log_likelihood", "fused", "borda", "reciprocal_rank", None]),
)
def test_scores_always_agree_with_the_order(values, kind):
    ranking = Ranking(tuple(sorted(range(len(values)), key=lambda i: -values[i])), tuple(values), kind)
    assert agrees(relevance(ranking)[0], ranking.order)


def test_raw_scores_are_kept_unless_they_contradict_the_order():
    assert raw(Ranking((0, 1), (3.0, -7.0), "fused")) == ([3.0, -7.0], "fused")
    assert raw(Ranking((1, 0), (3.0, -7.0), "fused"))[1] == "linear_rank"
    assert raw(Ranking((0, 1), (math.inf, 1.0), "cross_encoder"))[1] == "cross_encoder_probability"
