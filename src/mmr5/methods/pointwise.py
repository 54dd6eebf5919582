"""Every page on its own, in one batch: a verdict, and a note for the top pages; any number of pages, no order bias.

It is what the teacher does in the paper's section 3.2.1, one page at a time. The score is the probability of "Yes" against
"No" where the reply begins; the note is written after the likelier verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmr5 import prompt
from mmr5.answer import VERDICTS, fold
from mmr5.engines.base import Engine, OnText, Request, Sampling, require
from mmr5.methods import inputs
from mmr5.methods.settings import Settings
from mmr5.types import Candidates, Page, Ranking, Usage

SCORE_KIND = "relevance_probability"


def rank(engine: Engine, batch: Sequence[Candidates], settings: Settings, on_text: OnText | None = None) -> list[Ranking]:
    """Rank by the odds of relevance; every page of every list is scored in the same batch."""
    del on_text
    require(engine, "score_choices", "method 'pointwise'")
    inputs.check(engine, settings, "pointwise")
    requests = [request(engine, c.query, page, settings) for c in batch for page in c.pages]
    scored = engine.score_choices(requests, [VERDICTS] * len(requests)) if requests else []
    rankings, start = [], 0
    for candidates in batch:
        stop = start + len(candidates)
        scores = tuple(math.exp(s.logprobs[0]) for s in scored[start:stop])
        odds = [s.logprobs[0] - s.logprobs[1] for s in scored[start:stop]]
        order = tuple(sorted(range(len(candidates)), key=lambda i: (-odds[i], i)))
        usage = sum((s.usage for s in scored[start:stop]), Usage())
        rankings.append((order, scores, usage, requests[start:stop]))
        start = stop
    notes = _notes(engine, [(o, s, r) for o, s, _, r in rankings], settings)
    return [
        Ranking(order, scores, SCORE_KIND, tuple(written), usage=usage + spent)
        for (order, scores, usage, _), (written, spent) in zip(rankings, notes, strict=True)
    ]


def request(engine: Engine, query: str, page: Page, settings: Settings) -> Request:
    """The prompt that asks for a verdict on one page."""
    overhead = inputs.prompt_tokens(engine, Request(prompt.pointwise(query, view="text", text=""))) + settings.note_tokens
    budget = inputs.single_budget(engine, settings, overhead) if settings.view != "image" else 1
    pictures = inputs.images([page], settings.view)
    texts = inputs.texts(query, [page], settings.view, budget, engine)
    messages = prompt.pointwise(
        query,
        view=settings.view,
        image=pictures[0] if pictures else None,
        text=texts[0] if texts else None,
        reserved=engine.reserved,
    )
    return Request(messages)


def _notes(
    engine: Engine, ranked: Sequence[tuple[tuple[int, ...], tuple[float, ...], Sequence[Request]]], settings: Settings
) -> list[tuple[list[str | None], Usage]]:
    """Notes on the top pages of each list, all written in one batch."""
    where = [(i, position) for i, (order, _, _) in enumerate(ranked) for position in order[: settings.notes]]
    asked = []
    for i, position in where:
        _, scores, requests = ranked[i]
        verdict = VERDICTS[0] if scores[position] >= 0.5 else VERDICTS[1]
        asked.append(Request(requests[position].messages, f"{verdict}."))
    sampling = Sampling(settings.note_tokens, settings.temperature, seed=settings.seed, stop=("\n",))
    replies = engine.generate(asked, sampling) if asked else []
    notes: list[tuple[list[str | None], Usage]] = [([None] * len(order), Usage()) for order, _, _ in ranked]
    for (i, position), reply in zip(where, replies, strict=True):
        written, spent = notes[i]
        written[position] = fold(reply.text) or None
        notes[i] = (written, spent + reply.usage)
    return notes
