"""List-wise without decoding: order by the logits of the candidates' ids where the answer would start.

The prompt is that of ``direct``, and the assistant's turn is opened with ``<answer>[``. The scores are the probabilities of the
ids under constrained decoding; ids of several digits share one prefill and take one step per shared digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmr5.engines.protocol import Engine, OnText, require
from mmr5.methods import inputs
from mmr5.methods.listwise import rank_windows, request
from mmr5.prompt import ANSWER_PREFILL, page_id
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Ranking, ScoreKind


def rank(engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None) -> list[Ranking]:
    """Rank by the probability that each page is named first; scores sum to 1 over a window. Nothing is written to hear."""
    del on_text
    require(engine, "score_choices", "method 'logits'")
    inputs.check(engine, settings, "logits")

    def ask(parts: Sequence[Candidates], room: Sequence[int], listeners: Sequence[int | None]) -> list[Ranking]:
        del listeners
        pairs = zip(parts, room, strict=True)
        requests = [request(engine, c, settings, budget, think=False, prefill=opening(settings)) for c, budget in pairs]
        found = []
        for scored in engine.score_choices(requests, [choices(len(c), settings) for c in parts]):
            values = scored.logprobs
            order = tuple(sorted(range(len(values)), key=lambda i: (-values[i], i)))
            found.append(Ranking(order, tuple(math.exp(v) for v in values), ScoreKind.CHOICE_PROBABILITY, usage=scored.usage))
        return found

    return rank_windows(engine, batch, settings, ask, think=False)


def opening(settings: MethodSettings) -> str:
    """How the assistant's turn begins: as the grammar says, or as the recipe words it."""
    return ANSWER_PREFILL if settings.wording.prefill is None else settings.wording.prefill


def choices(n: int, settings: MethodSettings) -> list[str]:
    """What may follow the opening: each id with a closing comma, so that none begins another, or as the recipe words it."""
    words = settings.wording.choice or "{id},"
    return [words.replace("{id}", page_id(i, settings.ids)) for i in range(1, n + 1)]
