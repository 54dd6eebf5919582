"""From a ranking's scores to relevance scores: in [0, 1], never rising along the order, and named for what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from mmr5.types import Ranking, ScoreKind


def relevance(ranking: Ranking) -> tuple[list[float], ScoreKind]:
    """Scores for clients.

    Each score goes to [0, 1] by its kind (:meth:`mmr5.types.ScoreKind.to_unit`). Scores of a kind that has no place there, and
    any scores that contradict the order, become ``(N - place) / N`` with the zero-based place in the order.

    Returns:
        N scores by candidate position, and their kind: the unit kind of the ranking's own, or ``linear_rank``.
    """
    kind = ranking.score_kind
    if ranking.scores is not None and kind is not None and kind.unit_kind is not None:
        mapped = [kind.to_unit(score) for score in ranking.scores]
        if agrees(mapped, ranking.order):
            return mapped, kind.unit_kind
    return by_rank(ranking.order), ScoreKind.LINEAR_RANK


def raw(ranking: Ranking) -> tuple[list[float], ScoreKind | str]:
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
