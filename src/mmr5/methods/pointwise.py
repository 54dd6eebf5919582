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
from mmr5.engines.protocol import ChoiceScores, Engine, Request, Sampling, require
from mmr5.grounding import grounded
from mmr5.methods import inputs
from mmr5.methods.streaming import TextCallback
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Page, Ranking, ScoreKind, Usage


def rank(
    engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: TextCallback | None = None
) -> list[Ranking]:
    """Rank by the odds of relevance; every page of every list is scored in the same batch.

    With ``settings.question_weight`` the log-likelihood that a page gives to the question, read in the same pass, is added to the
    log-odds. Notes are written by :func:`annotate`; ``on_text`` is never called.
    """
    del on_text
    require(engine, "score_choices", "method 'pointwise'")
    inputs.check(engine, settings, "pointwise")
    requests = [request(engine, c.query, page, settings) for c in batch for page in c.pages]
    scored = iter(engine.score_choices(requests, [settings.wording.verdicts or VERDICTS] * len(requests)) if requests else [])
    return [_ranking([next(scored) for _ in c.pages], settings.question_weight) for c in batch]


def _ranking(scored: Sequence[ChoiceScores], question_weight: float) -> Ranking:
    """One list by what the model said of its pages."""
    odds = [s.logprobs[0] - s.logprobs[1] for s in scored]
    totals = [0.0 if s.measured is None else s.measured.mean_logprob * s.measured.n_tokens for s in scored]
    mean = sum(totals) / len(totals) if totals else 0.0
    combined = [o + question_weight * (t - mean) for o, t in zip(odds, totals, strict=True)]
    kind = ScoreKind.RELEVANCE_LOG_ODDS if question_weight else ScoreKind.RELEVANCE_PROBABILITY
    return Ranking(
        tuple(sorted(range(len(scored)), key=lambda i: (-combined[i], i))),
        tuple(combined if question_weight else (math.exp(s.logprobs[0]) for s in scored)),
        kind,
        usage=sum((s.usage for s in scored), Usage()),
        verdicts=tuple(o >= 0 for o in odds),
    )


def request(engine: Engine, query: str, page: Page, settings: MethodSettings) -> Request:
    """The prompt that asks for a verdict on one page."""
    overhead = (
        inputs.prompt_tokens(engine, Request(prompt.pointwise(query, view="text", text="", wording=settings.wording)))
        + settings.note_tokens
    )
    budget = inputs.single_budget(engine, settings, overhead) if settings.view != "image" else 1
    pictures = inputs.images([page], settings.view)
    texts = inputs.texts(query, [page], settings.view, budget, engine)
    messages = prompt.pointwise(
        query,
        view=settings.view,
        image=pictures[0] if pictures else None,
        text=texts[0] if texts else None,
        reserved=inputs.reserved(engine, settings),
        wording=settings.wording,
    )
    question = prompt.neutralise(query, inputs.reserved(engine, settings))
    ahead = "{question}" not in (settings.wording.head or "") and settings.wording.tail != ""
    again = ahead and (settings.notes > 0 or inputs.is_whole(page, texts))
    return Request(
        messages,
        settings.wording.prefill or "",
        measured=question if settings.question_weight else "",
        shared=len(messages[-1]["content"]) - 1 if again else 0,
        keep=settings.keep,
        question=question,
        page=texts[0] if texts else "",
    )


def annotate(
    engine: Engine,
    batch: Sequence[Candidates],
    rankings: Sequence[Ranking],
    settings: MethodSettings,
    on_text: TextCallback | None = None,
) -> list[Ranking]:
    """The rankings with notes on their top pages, all written in one batch, each after the likelier verdict.

    Where pages are read as text, a note that its page does not support is not kept (:mod:`mmr5.grounding`), though
    it was heard. ``on_text`` hears each with the position of its page.
    """
    where = [(i, position) for i, ranking in enumerate(rankings) for position in ranking.order[: settings.notes]]
    asked = [_note_request(engine, batch[i], rankings[i], position, settings) for i, position in where]
    sampling = Sampling(settings.note_tokens, settings.temperature, seed=settings.seed, stop=("\n",))

    def hear(k: int, text: str) -> None:
        if on_text is not None:
            on_text(where[k][0], text, where[k][1])

    replies = engine.generate(asked, sampling, None if on_text is None else hear) if asked else []
    notes: list[list[str | None]] = [[None] * len(candidates) for candidates in batch]
    spent = [ranking.usage for ranking in rankings]
    for (i, position), reply in zip(where, replies, strict=True):
        notes[i][position] = fold(reply.text) or None
        spent[i] += reply.usage
    if settings.view != "image":
        notes = [grounded(written, [p.text for p in c.pages]) for written, c in zip(notes, batch, strict=True)]
    rows = zip(rankings, notes, spent, strict=True)
    return [replace(ranking, notes=tuple(written), usage=usage) for ranking, written, usage in rows]


def _note_request(engine: Engine, candidates: Candidates, ranking: Ranking, position: int, settings: MethodSettings) -> Request:
    """The prompt over one page, gone on with from the verdict on it."""
    relevant = ranking.verdicts is None or ranking.verdicts[position]
    asked = request(engine, candidates.query, candidates.pages[position], settings)
    verdict = (settings.wording.verdicts or VERDICTS)[0 if relevant else 1]
    return replace(asked, prefill=f"{asked.prefill}{verdict}.", measured="")
