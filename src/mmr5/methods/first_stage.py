"""The first stage's order, without a model."""

from __future__ import annotations

from collections.abc import Sequence

from mmr5.engines.protocol import Engine, OnText
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Ranking, ScoreKind


def rank(engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None) -> list[Ranking]:
    """Leave every list in its order, with the first stage's scores; nothing is asked of the engine."""
    del engine, settings, on_text
    return [Ranking(tuple(range(len(c))), c.scores, None if c.scores is None else ScoreKind.FIRST_STAGE) for c in batch]
