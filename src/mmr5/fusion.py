"""First stage and model together. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mmr5.types import Candidates, Issue, Ranking, ScoreKind

SURE = 1e-12
"""A probability is taken to be so far from 0 and 1 at least."""
SPREAD = 1.8
"""Log-odds that a standard deviation over the candidates is taken for, where scores compare within a list only: that of hybrid's
scores over ten candidates of our training questions (``scripts/fit_first_stage.py`` prints it)."""


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


def fuse(candidates: Candidates, ranking: Ranking, weight: float | Sequence[float]) -> Ranking:
    """First stage and model together, page by page: log-odds of the first stage + weight x log-odds of the model.

    A page's score does not depend on the other candidates where both sides have absolute scores: first stages with a ``scale``,
    and models that give probabilities, log-odds or log-likelihoods. Where a side has none (list-wise decoding, sums of z-scores,
    foreign first stages), its z-scores over the candidates count :data:`SPREAD` each. A score that is no finite number abstains:
    it counts 0.

    Args:
        candidates: with first-stage scores; without them the ranking is left alone.
        ranking: the model's.
        weight: at least 0, one for all candidates or one a candidate; 0 gives the first stage's order.

    Returns:
        The same ranking with fused order and scores (kind ``fused``); notes, reply and issues are kept, and NOT_A_NUMBER is
        added where the model abstained.
    """
    if candidates.scores is None:
        return ranking
    n = len(candidates)
    weights = [float(weight)] * n if isinstance(weight, int | float) else list(weight)
    first = _first_stage_odds(candidates.scores, candidates.scale)
    model = _model_odds(ranking)
    abstained = not all(map(math.isfinite, model))
    scores = tuple(_finite(a) + w * _finite(b) for a, w, b in zip(first, weights, model, strict=True))
    order = tuple(sorted(range(n), key=lambda i: (-scores[i], i)))
    issues = tuple(dict.fromkeys([*ranking.issues, *([Issue.NOT_A_NUMBER] if abstained else [])]))
    return replace(ranking, order=order, scores=scores, score_kind=ScoreKind.FUSED, issues=issues)


def _first_stage_odds(scores: Sequence[float], scale: float | None) -> list[float]:
    return [scale * s for s in scores] if scale is not None else _within_list(scores)


def _model_odds(ranking: Ranking) -> list[float]:
    """The model's part of each candidate: log-odds, or what stands for them."""
    if ranking.scores is None or ranking.score_kind is ScoreKind.RECIPROCAL_RANK:
        places = [0.0] * len(ranking.order)
        for place, position in enumerate(ranking.order):
            places[position] = -float(place)
        return _within_list(places)
    if ranking.score_kind is ScoreKind.RELEVANCE_PROBABILITY:
        return [log_odds(p) if math.isfinite(p) else p for p in ranking.scores]
    if ranking.score_kind is ScoreKind.CHOICE_PROBABILITY:
        return [math.log(max(p, SURE)) if math.isfinite(p) else p for p in ranking.scores]
    if ranking.score_kind in _ABSOLUTE:
        return list(ranking.scores)
    return _within_list(ranking.scores)


_ABSOLUTE = frozenset({ScoreKind.RELEVANCE_LOG_ODDS, ScoreKind.MEAN_LOG_LIKELIHOOD, ScoreKind.CROSS_ENCODER, ScoreKind.FUSED})


def _within_list(values: Sequence[float]) -> list[float]:
    """Z-scores of the finite values, each worth :data:`SPREAD`; others stay as they are."""
    finite = iter(standardise([v for v in values if math.isfinite(v)]))
    return [SPREAD * next(finite) if math.isfinite(v) else v for v in values]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
