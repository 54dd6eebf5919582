"""Every page on its own, in one batch: a verdict, and a note for the top pages; any number of pages, no order bias.

It is what the teacher does in the paper's section 3.2.1, one page at a time. The score is the probability of "Yes" against
"No" where the reply begins; the note is written after the likelier verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mmr5 import prompt
from mmr5.answer import VERDICTS, fold
from mmr5.engines.base import ChoiceScores, Engine, Request, Sampling, require
from mmr5.fusion import PROBABILITY, fuse
from mmr5.grounding import grounded
from mmr5.methods import inputs
from mmr5.methods.hearing import OnWriting
from mmr5.methods.settings import Settings
from mmr5.types import Candidates, Page, Ranking, Usage

SCORE_KIND = PROBABILITY
COMBINED_KIND = "relevance_log_odds"


def rank(engine: Engine, batch: Sequence[Candidates], settings: Settings, on_text: OnWriting | None = None) -> list[Ranking]:
    """Rank by the odds of relevance; every page of every list is scored in the same batch.

    With ``settings.question_weight`` the log-likelihood that a page gives to the question, read in the same pass, is added to the
    log-odds. Notes are written on the pages that will stand on top; ``on_text`` hears each
    with the position of its page.
    """
    require(engine, "score_choices", "method 'pointwise'")
    inputs.check(engine, settings, "pointwise")
    requests = [request(engine, c.query, page, settings) for c in batch for page in c.pages]
    scored = engine.score_choices(requests, [VERDICTS] * len(requests)) if requests else []
    judged, start = [], 0
    for candidates in batch:
        stop = start + len(candidates)
        judged.append(_Judged(candidates, requests[start:stop], scored[start:stop], settings.question_weight))
        start = stop
    notes = _notes(engine, judged, settings, on_text)
    return [
        replace(one.ranking, notes=tuple(written), usage=one.ranking.usage + spent)
        for one, (written, spent) in zip(judged, notes, strict=True)
    ]


class _Judged:
    """A list with what the model said of its pages."""

    def __init__(
        self, candidates: Candidates, requests: Sequence[Request], scored: Sequence[ChoiceScores], question_weight: float
    ) -> None:
        self.candidates, self.requests = candidates, requests
        self.odds = [s.logprobs[0] - s.logprobs[1] for s in scored]
        totals = [0.0 if s.measured is None else s.measured.mean_logprob * s.measured.n_tokens for s in scored]
        mean = sum(totals) / len(totals) if totals else 0.0
        combined = [o + question_weight * (t - mean) for o, t in zip(self.odds, totals, strict=True)]
        order = tuple(sorted(range(len(scored)), key=lambda i: (-combined[i], i)))
        usage = sum((s.usage for s in scored), Usage())
        if question_weight:
            self.ranking = Ranking(order, tuple(combined), COMBINED_KIND, usage=usage)
        else:
            self.ranking = Ranking(order, tuple(math.exp(s.logprobs[0]) for s in scored), SCORE_KIND, usage=usage)

    def top(self, n: int, fusion: float | None) -> tuple[int, ...]:
        """Positions of the first n pages in the final order."""
        fused = self.ranking if fusion is None else fuse(self.candidates.scores, self.ranking, fusion)
        return fused.order[:n]


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
    question = prompt.neutralise(query, engine.reserved)
    again = settings.notes > 0 or inputs.is_whole(page, texts)
    return Request(
        messages,
        measured=question if settings.question_weight else "",
        shared=len(messages[-1]["content"]) - 1 if again else 0,
        keep=settings.keep,
        question=question,
        page=texts[0] if texts else "",
    )


def _notes(
    engine: Engine, judged: Sequence[_Judged], settings: Settings, on_text: OnWriting | None
) -> list[tuple[list[str | None], Usage]]:
    """Notes on the top pages of each list, all written in one batch, each after the likelier verdict.

    Where pages are read as text, a note that its page does not support is not kept (:mod:`mmr5.grounding`), though
    it was heard.
    """
    where = [(i, position) for i, one in enumerate(judged) for position in one.top(settings.notes, settings.fusion)]
    asked = [
        replace(
            judged[i].requests[position],
            prefill=f"{VERDICTS[0] if judged[i].odds[position] >= 0 else VERDICTS[1]}.",
            measured="",
        )
        for i, position in where
    ]
    sampling = Sampling(settings.note_tokens, settings.temperature, seed=settings.seed, stop=("\n",))

    def hear(k: int, text: str) -> None:
        if on_text is not None:
            on_text(where[k][0], text, where[k][1])

    replies = engine.generate(asked, sampling, None if on_text is None else hear) if asked else []
    notes: list[tuple[list[str | None], Usage]] = [([None] * len(one.odds), Usage()) for one in judged]
    for (i, position), reply in zip(where, replies, strict=True):
        written, spent = notes[i]
        written[position] = fold(reply.text) or None
        notes[i] = (written, spent + reply.usage)
    if settings.view == "image":
        return notes
    return [(grounded(n, [p.text for p in one.candidates.pages]), u) for one, (n, u) in zip(judged, notes, strict=True)]
