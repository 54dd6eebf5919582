"""Every page on its own, by a model that was made to score pairs: question and page in, one score out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mmr5.engines.protocol import Document, Engine, OnText, PairScorer, require
from mmr5.methods import inputs
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Page, Ranking, ScoreKind

SPECIAL_TOKENS = 8
"""Tokens that stand around a question and a text."""


def rank(engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None) -> list[Ranking]:
    """Rank by the score of each pair; every page of every list is scored in the same batch. ``on_text`` is never called."""
    del on_text
    require(engine, "score_pairs", "method 'cross-encoder'")
    inputs.check(engine, settings, "cross-encoder")
    pairs = [(c.query, document(engine, c.query, page, settings)) for c in batch for page in c.pages]
    scorer = cast(PairScorer, engine)
    scored = scorer.score_pairs([query for query, _ in pairs], [shown for _, shown in pairs]) if pairs else []
    rankings, start = [], 0
    for candidates in batch:
        scores = tuple(scored[start : start + len(candidates)])
        start += len(candidates)
        order = tuple(sorted(range(len(scores)), key=lambda i: (-scores[i], i)))
        rankings.append(Ranking(order, scores, ScoreKind.CROSS_ENCODER))
    return rankings


def document(engine: Engine, query: str, page: Page, settings: MethodSettings) -> Document:
    """A page as the view shows it: its picture, an excerpt for the question, or both."""
    pictures = inputs.images([page], settings.view)
    overhead = engine.count_tokens(query) + SPECIAL_TOKENS
    budget = inputs.single_budget(engine, settings, overhead) if settings.view != "image" else 1
    texts = inputs.texts(query, [page], settings.view, budget, engine)
    return (texts[0] if texts else None, pictures[0] if pictures else None)
