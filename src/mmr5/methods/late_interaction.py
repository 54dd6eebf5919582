"""Every page on its own, by the best matches of the question's tokens among the page's. Pages are read whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mmr5.engines.protocol import Engine, LateScorer, OnText, require
from mmr5.errors import ConfigError
from mmr5.methods import inputs
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Page, Ranking, ScoreKind


def rank(engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None) -> list[Ranking]:
    """Rank by log-odds; the pages of all lists are encoded together. ``on_text`` is never called.

    Raises:
        ConfigError: a view with pictures, or nobody has read the text of a page.
    """
    del on_text
    require(engine, "score_tokens", "method 'late-interaction'")
    inputs.check(engine, settings, "late-interaction")
    texts = [[_text(page) for page in candidates.pages] for candidates in batch]
    scored = cast(LateScorer, engine).score_tokens([c.query for c in batch], texts) if batch else []
    rankings = []
    for found in scored:
        order = tuple(sorted(range(len(found.log_odds)), key=lambda i: (-found.log_odds[i], i)))
        rankings.append(Ranking(order, found.log_odds, ScoreKind.RELEVANCE_LOG_ODDS, usage=found.usage))
    return rankings


def _text(page: Page) -> str:
    if page.text is None:
        raise ConfigError(
            f"method 'late-interaction' needs the text of every page, and {page.source} page {page.number} has none: "
            "read it first (ocr)"
        )
    return page.text
