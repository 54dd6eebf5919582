"""From a ranking's scores to relevance scores: in [0, 1], never rising along the order, and named for what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from mmr5.types import Ranking

PROBABILITIES = frozenset({"choice_probability", "relevance_probability", "reciprocal_rank"})
"""Kinds that lie in [0, 1] by themselves."""
LOGISTIC = {"fused": "logistic_fused", "relevance_log_odds": "relevance_probability"}
"""Kinds that the logistic function takes to [0, 1], and what they are called then."""


def relevance(ranking: Ranking) -> tuple[list[float], str]:
    """Scores for clients.

    Probabilities and reciprocal ranks stay as they are; a mean log-likelihood becomes its exponential (the geometric mean
    probability of a token); fused scores (sums of z-scores) and log-odds go through the logistic function; everything else, and
    any scores that contradict the order, becomes ``(N - place) / N`` with the zero-based place in the order.

    Returns:
        N scores by candidate position, and their kind: the ranking's own, ``geometric_mean_token_probability``,
        ``logistic_fused`` or ``linear_rank``.
    """
    kind = ranking.score_kind or ""
    mapped: list[float] | None = None
    if ranking.scores is not None:
        if kind in PROBABILITIES:
            mapped = list(ranking.scores)
        elif kind == "mean_log_likelihood":
            mapped, kind = [math.exp(min(score, 0.0)) for score in ranking.scores], "geometric_mean_token_probability"
        elif kind in LOGISTIC:
            mapped, kind = [_logistic(score) for score in ranking.scores], LOGISTIC[kind]
    if mapped is not None and agrees(mapped, ranking.order):
        return mapped, kind
    return by_rank(ranking.order), "linear_rank"


def raw(ranking: Ranking) -> tuple[list[float], str]:
    """The ranking's own scores and their kind; where it has none, or they contradict its order, those of :func:`relevance`."""
    scores = ranking.scores
    if scores is None or not all(map(math.isfinite, scores)) or not _falls(scores, ranking.order):
        return relevance(ranking)
    return list(scores), ranking.score_kind or "unnamed"


def agrees(scores: Sequence[float], order: Sequence[int]) -> bool:
    """Whether all scores lie in [0, 1] and none is higher than the one before it in the order."""
    return all(0.0 <= score <= 1.0 for score in scores) and _falls(scores, order)


def by_rank(order: Sequence[int]) -> list[float]:
    """``(N - place) / N`` by candidate position."""
    scores = [0.0] * len(order)
    for place, position in enumerate(order):
        scores[position] = (len(order) - place) / len(order)
    return scores


def _falls(scores: Sequence[float], order: Sequence[int]) -> bool:
    return all(scores[a] >= scores[b] for a, b in pairwise(order))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
