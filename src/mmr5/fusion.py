"""First stage and model together. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mmr5.types import Ranking, ScoreKind

SURE = 1e-12
"""A probability is taken to be so far from 0 and 1 at least."""


def log_odds(probability: float) -> float:
    """ln(p / (1 - p)), in about [-27.6, 27.6]."""
    kept = min(max(probability, SURE), 1 - SURE)
    return math.log(kept / (1 - kept))


def standardise(values: Sequence[float]) -> list[float]:
    """Z-scores: mean 0 and (population) standard deviation 1; zeros where all values are equal."""
    n = len(values)
    if not n:
        return []
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / n)
    return [(v - mean) / deviation if deviation > 1e-12 else 0.0 for v in values]


def fuse(first_stage: Sequence[float] | None, ranking: Ranking, weight: float) -> Ranking:
    """First stage and model together: z(first stage) + weight × z(model), over the candidates.

    The model's part is its scores; for probabilities of relevance their log-odds, since near 0 and 1 the probabilities of unlike
    pages lie close together; for list-wise decoding (whose scores only restate the order) minus the place.

    Args:
        first_stage: one score a candidate; None leaves the ranking alone.
        ranking: the model's.
        weight: at least 0; 0 gives the first stage's order.

    Returns:
        The same ranking with fused order and scores (kind ``fused``); notes, reply and issues are kept.
    """
    if first_stage is None:
        return ranking
    n = len(ranking.order)
    if ranking.scores is None or ranking.score_kind is ScoreKind.RECIPROCAL_RANK:
        model = [0.0] * n
        for place, position in enumerate(ranking.order):
            model[position] = -float(place)
    elif ranking.score_kind is ScoreKind.RELEVANCE_PROBABILITY:
        model = [log_odds(p) for p in ranking.scores]
    else:
        model = list(ranking.scores)
    pairs = zip(standardise(first_stage), standardise(model), strict=True)
    scores = tuple(first + weight * second for first, second in pairs)
    order = tuple(sorted(range(n), key=lambda i: (-scores[i], i)))
    return replace(ranking, order=order, scores=scores, score_kind=ScoreKind.FUSED)
