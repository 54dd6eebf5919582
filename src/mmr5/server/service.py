"""What a rerank request goes through: documents → pages → queue → ranking → answer. No route lives here."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mmr5.documents import Draft, clean_question, common_view, with_text
from mmr5.errors import EngineError, InputError, PageError
from mmr5.pipeline import Searcher
from mmr5.reranker import Reranker, relevance_of
from mmr5.selection import Selection
from mmr5.server import request_documents, scores
from mmr5.server.fetching import Fetcher
from mmr5.server.http_errors import WireError
from mmr5.server.json_body import check_number
from mmr5.server.memory import Reservation
from mmr5.server.pictures import PictureReader
from mmr5.server.prometheus import Metrics
from mmr5.server.protocol import RerankRequest, RerankResponse, Result, TeiResult, Usage
from mmr5.server.request_queue import Batcher, OnJobText
from mmr5.settings import ServerSettings
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Page, Ranking, View

T = TypeVar("T")

PREPARING_THREADS = 2
"""Threads that decode pictures; each holds one picture at a time."""
FETCHES = 4
"""Fetches of one request at a time."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        client: its API key or address, for fairness.
        owner: its API key, for names; empty where the server has no keys.
        memory: what the request holds.
    """

    client: str
    owner: str
    memory: Reservation


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request whose pages are in the queue.

    Attributes:
        request: as it was sent.
        drafts: its documents as they were sent.
        view: how they enter the prompt.
        future: gets the ranking.
        started: ``time.monotonic()`` of its arrival.
        queued: that of its being queued.
    """

    request: RerankRequest
    drafts: list[Draft]
    view: View
    future: Future[Ranking]
    started: float
    queued: float = field(default_factory=time.monotonic)


class Service:
    """The reranker behind its queue.

    Args:
        reranker: ranks; its engine is called from one thread only.
        settings: limits and times.
        metrics: counters and gauges.
        pictures: reads those that the server does not decode itself.
        cache: where recognised texts are kept.
    """

    def __init__(
        self,
        reranker: Reranker,
        settings: ServerSettings,
        metrics: Metrics,
        pictures: PictureReader,
        cache: Cache | None = None,
    ) -> None:
        self.reranker = reranker
        self.settings = settings
        self.metrics = metrics
        self.pictures = pictures
        self.cache = Cache() if cache is None else cache
        self.fetcher = Fetcher(settings.max_fetch_bytes, settings.fetch_timeout_s, settings.url_hosts)
        self.pool = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix="mmr5-prepare")
        self.searcher = Searcher(reranker, settings.retriever, candidates=settings.candidates, cache=self.cache)
        self.json_pool = ThreadPoolExecutor(1, thread_name_prefix="mmr5-json")
        self.batcher = Batcher(
            lambda view, batch, on_text: self.searcher.with_view(view).rank_each(batch, on_text=on_text),
            queue_size=settings.queue_size,
            batch_requests=settings.batch_requests,
            batch_pages=settings.batch_pages,
            batch_wait_s=settings.batch_wait_ms / 1000,
            queue_wait_s=settings.queue_wait_s,
            metrics=metrics,
        )

    def close(self) -> None:
        """Finish what was accepted, within the grace."""
        self.batcher.close(self.settings.grace_s)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.json_pool.shutdown(wait=False, cancel_futures=True)

    def check(self, request: RerankRequest) -> str:
        """The question, once what is too much or nothing at all was refused.

        Raises:
            WireError: 413 or 422.
        """
        check_number(len(request.items), self.settings.max_documents)
        return check_question(request.question, self.settings.max_query_chars)

    async def accept(self, request: RerankRequest, started: float, caller: Caller, on_text: OnJobText | None = None) -> Accepted:
        """Read a request's documents and queue it; ``on_text`` is called with the reply while it is written.

        Raises:
            WireError: 413, 422, 429, 503.
        """
        question = self.check(request)
        drafts = await self.run(request_documents.drafts, request.items, self.settings.max_document_chars)
        pages = await self._pages(drafts, caller)
        view = common_view(self.reranker.view, pages)
        if view != "image":
            for i, page in enumerate(pages):
                pages[i] = page if page.text is not None else await self.run(self._with_text, i, page, view)
        future = self.submit(Candidates(question, tuple(pages)), view, started, on_text)
        return Accepted(request, drafts, view, future, started)

    def submit(self, candidates: Candidates, view: View, started: float, on_text: OnJobText | None = None) -> Future[Ranking]:
        """Queue a list with what is left of its time; ``on_text`` is called with the reply while it is written.

        Raises:
            WireError: 429, 503.
        """
        return self.batcher.submit(candidates, view, self.settings.deadline_s - (time.monotonic() - started), on_text)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in one of the few preparing threads."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    async def _pages(self, drafts: Sequence[Draft], caller: Caller) -> list[Page]:
        """The pages of documents; the first that cannot be read stops the others."""
        if not any(sent.picture is not None for sent in drafts):
            return [request_documents.page_of(i, sent, None, 1) for i, sent in enumerate(drafts)]
        fetches = asyncio.Semaphore(FETCHES)
        sent = await _all([self._bytes(i, draft, fetches, caller.memory) for i, draft in enumerate(drafts)])
        plain = await self.pictures.plain(sent, caller.client, self.run)
        most = self.settings.max_pixels
        return await _all([self.run(request_documents.page_of, i, draft, plain[i], most) for i, draft in enumerate(drafts)])

    async def _bytes(self, index: int, sent: Draft, fetches: asyncio.Semaphore, memory: Reservation) -> bytes | None:
        """The encoded picture of a document, None for one without."""
        limits = self.settings
        if sent.picture is None:
            return None
        picture = str(sent.picture)
        try:
            if request_documents.is_address(picture):
                if not limits.allow_urls:
                    raise PageError("this server does not fetch addresses: send the picture itself, or {'text': …} if it is text")
                async with fetches:
                    return await self.fetcher.fetch(picture.strip(), memory.add_fetched)
            return await self.run(request_documents.embedded_bytes, picture, limits.local_root, limits.max_fetch_bytes)
        except PageError as error:
            raise request_documents.refusal(index, str(error)) from error

    def _with_text(self, index: int, page: Page, view: View) -> Page:
        """The page with the text in its picture; a model that also sees the picture goes without where OCR is not installed."""
        try:
            return with_text(page, view, self.cache)
        except (PageError, EngineError) as error:
            raise request_documents.refusal(index, f"the text in its picture cannot be read: {error}") from error

    def answer(self, accepted: Accepted, ranking: Ranking) -> RerankResponse:
        """The answer in the superset of shapes."""
        request = accepted.request
        values, kind = scores.raw(ranking) if request.raw_scores else scores.relevance(ranking)
        calibration = self.reranker.with_view(accepted.view).calibration(())
        relevance = relevance_of(calibration, ranking)
        least, warnings = request.least, []
        if least is not None and relevance is None:
            least = None
            warnings = ["min_relevance is not obeyed: this model has no calibration (mmr5 calibrate)"]
        count(self.metrics, ranking)
        texts = [draft.text for draft in accepted.drafts]
        usage = ranking.usage
        total = usage.prompt_tokens + usage.completion_tokens
        notes = ranking.notes if request.reasoning else None
        results = [
            Result(
                index=position,
                relevance_score=values[position],
                relevance=None if relevance is None else relevance[position],
                document=request_documents.echo(request.items[position], accepted.drafts[position]) if request.echo else None,
                reasoning=None if notes is None else notes[position],
            )
            for position in Selection(least, request.limit).of(ranking.order, relevance, texts, self.reranker.engine.count_tokens)
        ]
        answerable = None if calibration is None or ranking.scores is None else calibration.answerable(ranking.scores)
        return RerankResponse(
            id=f"rerank-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.reranker.model,
            results=results,
            data=[Result(index=r.index, relevance_score=r.relevance_score) for r in results],
            usage=Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, total_tokens=total),
            meta={"api_version": {"version": "2"}, "billed_units": {"search_units": 1}, "warnings": warnings},
            answerable=None if answerable is None else dataclasses.asdict(answerable),
            score_kind=kind,
            reasoning=ranking.reasoning if request.reasoning else None,
            diagnostics=self.diagnostics(accepted, ranking) if request.diagnostics else None,
        )

    def diagnostics(self, accepted: Accepted, ranking: Ranking) -> dict[str, Any]:
        """How the order was won."""
        now = time.monotonic()
        used = self.reranker.with_view(accepted.view)
        return {
            "method": used.method,
            "view": used.view,
            "prompt_fingerprint": used.fingerprint,
            "issues": [issue.value for issue in ranking.issues],
            "fallback": "NO_ANSWER" in ranking.issues,
            "window": used.settings.window,
            "documents": len(accepted.drafts),
            "raw_score_kind": ranking.score_kind,
            "timings_ms": {
                "read": round((accepted.queued - accepted.started) * 1000, 1),
                "queue_and_model": round((now - accepted.queued) * 1000, 1),
            },
        }


def tei_answer(answer: RerankResponse, request: RerankRequest) -> list[TeiResult]:
    """TEI's bare array."""
    texts = request.texts or []
    return [
        TeiResult(index=r.index, score=r.relevance_score, text=texts[r.index] if request.echo else None) for r in answer.results
    ]


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results; the first that fails cancels the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        raise next(e for e in failed.exceptions if isinstance(e, Exception)) from None
    return [task.result() for task in tasks]


def check_question(question: str, max_chars: int) -> str:
    """The question with its lone surrogates replaced, unless it is empty or overlong.

    Raises:
        WireError: 422 or 413.
    """
    try:
        question = clean_question(question)
    except InputError as error:
        raise WireError(422, str(error)) from error
    if len(question) > max_chars:
        raise WireError(413, f"the question has {len(question):,} characters, and at most {max_chars:,} are taken")
    return question


def count(metrics: Metrics, ranking: Ranking) -> None:
    """Count a ranking's tokens and issues."""
    metrics.tokens.labels("read").inc(ranking.usage.prompt_tokens)
    metrics.tokens.labels("written").inc(ranking.usage.completion_tokens)
    for issue in ranking.issues:
        metrics.issues.labels(issue.value).inc()


async def while_wanted(work: Coroutine[Any, Any, T], gone: Awaitable[Any], seconds: float) -> T:
    """The result of some work, unless its client leaves or its time ends first; it is then cancelled.

    Args:
        work: what is done.
        gone: completes when the client is gone.
        seconds: what is left of the request's time.

    Raises:
        WireError: 499 for a client that is gone (nobody reads it), 504 when the time is over.
    """
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        done, _ = await asyncio.wait({task, left}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if done:
            raise WireError(499, "the client is gone", reason="client_gone")
        raise WireError(504, "the deadline is over: send fewer documents, or try again later", retry_after=5, reason="deadline")
    finally:
        for open_task in (task, left):
            open_task.cancel()
        await asyncio.gather(task, left, return_exceptions=True)
