"""Every page on its own: the mean log-likelihood of the question given the page; needs no training.

Query likelihood with a language model: a page from which the question is easy to write is likely to answer it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmr5 import prompt
from mmr5.engines.protocol import Engine, OnText, Request, require
from mmr5.methods import inputs
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Page, Ranking, ScoreKind, Usage


def rank(engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None) -> list[Ranking]:
    """Rank by the mean natural log-probability per token of the question; every page in the same batch."""
    del on_text
    require(engine, "score_text", "method 'likelihood'")
    inputs.check(engine, settings, "likelihood")
    requests = [request(engine, c.query, page, settings) for c in batch for page in c.pages]
    queries = [c.query.strip() for c in batch for _ in c.pages]
    scored = engine.score_text(requests, queries) if requests else []
    rankings, start = [], 0
    for candidates in batch:
        part = scored[start : start + len(candidates)]
        start += len(candidates)
        scores = tuple(s.mean_logprob for s in part)
        order = tuple(sorted(range(len(part)), key=lambda i: (-scores[i], i)))
        rankings.append(Ranking(order, scores, ScoreKind.MEAN_LOG_LIKELIHOOD, usage=sum((s.usage for s in part), Usage())))
    return rankings


def request(engine: Engine, query: str, page: Page, settings: MethodSettings) -> Request:
    """The prompt over one page after which the question is scored."""
    bare = prompt.likelihood(view="text", text="", wording=settings.wording)
    overhead = inputs.prompt_tokens(engine, Request(bare)) + 2 * engine.count_tokens(query)
    budget = inputs.single_budget(engine, settings, overhead) if settings.view != "image" else 1
    pictures = inputs.images([page], settings.view)
    texts = inputs.texts(query, [page], settings.view, budget, engine)
    messages = prompt.likelihood(
        view=settings.view,
        image=pictures[0] if pictures else None,
        text=texts[0] if texts else None,
        reserved=inputs.reserved(engine, settings),
        wording=settings.wording,
    )
    shared = len(messages[-1]["content"]) if inputs.is_whole(page, texts) else 0
    question = prompt.neutralise(query, inputs.reserved(engine, settings))
    return Request(messages, shared=shared, keep=settings.keep, question=question, page=texts[0] if texts else "")
