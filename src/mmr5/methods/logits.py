"""List-wise without decoding: order by the logits of the candidates' ids where the answer would start.

The prompt is that of ``direct``, and the assistant's turn is opened with ``<answer>[``. The scores are the probabilities of the
ids under constrained decoding; ids of several digits share one prefill and take one step per shared digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmr5.engines.base import Engine, OnText, require
from mmr5.methods import inputs
from mmr5.methods.listwise import Local, rank_windows, request
from mmr5.methods.settings import Settings
from mmr5.prompt import ANSWER_PREFILL
from mmr5.types import Candidates, Ranking

SCORE_KIND = "choice_probability"


def rank(engine: Engine, batch: Sequence[Candidates], settings: Settings, on_text: OnText | None = None) -> list[Ranking]:
    """Rank by the probability that each page is named first; scores sum to 1 over a window. Nothing is written to hear."""
    del on_text
    require(engine, "score_choices", "method 'logits'")
    inputs.check(engine, settings, "logits")

    def ask(parts: Sequence[Candidates], budget: int, listeners: Sequence[int | None]) -> list[Local]:
        del listeners
        requests = [request(engine, c, settings, budget, think=False, prefill=ANSWER_PREFILL) for c in parts]
        found = []
        for scored in engine.score_choices(requests, [choices(len(c)) for c in parts]):
            values = scored.logprobs
            order = tuple(sorted(range(len(values)), key=lambda i: (-values[i], i)))
            found.append(Local(order, tuple(math.exp(v) for v in values), usage=scored.usage))
        return found

    return rank_windows(engine, batch, settings, ask, think=False, score_kind=SCORE_KIND)


def choices(n: int) -> list[str]:
    """What may follow ``<answer>[``: each id with a closing comma, so that none begins another."""
    return [f"{i}," for i in range(1, n + 1)]
