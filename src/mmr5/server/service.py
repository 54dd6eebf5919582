"""What a rerank request goes through: documents → pages → queue → ranking → answer. No route lives here."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
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
from mmr5.server.protocol import (
    ModelRequest,
    RerankRequest,
    RerankResponse,
    Result,
    ScoreLine,
    ScoreRequest,
    ScoreResponse,
    TeiResult,
    Usage,
)
from mmr5.server.request_queue import Batcher, OnJobText
from mmr5.settings import ServerSettings
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Page, Ranking, ScoreKind, View

T = TypeVar("T")

PREPARING_THREADS = 2
"""Threads that decode pictures; each holds one picture at a time."""
RANKS = frozenset({ScoreKind.RECIPROCAL_RANK, ScoreKind.LINEAR_RANK})
"""Kinds of scores that are places in an order."""
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
        warnings: what was not obeyed, or was cut.
        bare: documents come back as bare strings, as infinity's clients read them.
        queued: ``time.monotonic()`` of its being queued.
    """

    request: RerankRequest
    drafts: list[Draft]
    view: View
    future: Future[Ranking]
    started: float
    warnings: tuple[str, ...] = ()
    bare: bool = False
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

    def check(self, request: RerankRequest) -> tuple[str, list[str]]:
        """The question, once what is too much or nothing at all was refused, and what of the request is not obeyed.

        Raises:
            WireError: 400, 413 or 422.
        """
        check_number(len(request.items), self.settings.max_documents)
        asked, most, said = request.question, self.settings.max_query_chars, self.warnings(request)
        if len(request.instruction or "") > most:
            raise WireError(
                400, f"the instruction has {len(request.instruction or ''):,} characters, and at most {most:,} are taken"
            )
        if request.cuts and len(asked) > most:
            said.append(f"the question was cut to its first {most:,} characters")
            asked = asked[:most]
        return check_question(asked, most), said

    def warnings(self, request: ModelRequest) -> list[str]:
        """What of a request is not obeyed."""
        return request.warnings(self.reranker.model, takes_instruction=self.reranker.settings.wording.takes_instruction)

    async def accept(
        self, request: RerankRequest, started: float, caller: Caller, on_text: OnJobText | None = None, *, bare: bool = False
    ) -> Accepted:
        """Read a request's documents and queue it.

        Args:
            request: what was sent.
            started: ``time.monotonic()`` of its arrival.
            caller: who sent it.
            on_text: called with the reply while it is written.
            bare: documents come back as bare strings.

        Raises:
            WireError: 400, 413, 422, 429, 503.
        """
        question, said = self.check(request)
        read = functools.partial(
            request_documents.drafts, request.items, self.settings.max_document_chars, cut=request.cuts,
            max_tokens=request.max_tokens_per_doc, count=self.reranker.engine.count_tokens,
        )  # fmt: skip
        drafts, cuts = await self.run(read)
        pages = await self._pages(drafts, caller)
        view = common_view(self.reranker.view, pages)
        if view != "image":
            for i, page in enumerate(pages):
                pages[i] = page if page.text is not None else await self.run(self._with_text, i, page, view)
        future = self.submit(Candidates(question, tuple(pages), instruction=request.instruction), view, started, on_text)
        return Accepted(request, drafts, view, future, started, (*said, *cuts), bare)

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
        values, kind = scores.raw(ranking) if request.is_raw else scores.relevance(ranking)
        calibration = self.reranker.with_view(accepted.view).calibration()
        relevance = relevance_of(calibration, ranking)
        least, warnings = request.least, list(accepted.warnings)
        if least is not None and relevance is None:
            least = None
            warnings.append("min_relevance is not obeyed: this model has no calibration (mmr5 calibrate)")
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
                document=self._document(accepted, position),
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

    @staticmethod
    def _document(accepted: Accepted, position: int) -> dict[str, Any] | str | None:
        """A document as it comes back: texts unless they are not wanted, pictures where they are asked for."""
        asked, sent = accepted.request.echo, accepted.drafts[position]
        if asked is False or (accepted.bare and not asked):
            return None
        if accepted.bare:
            return sent.text if sent.text is not None else str(sent.picture)
        return request_documents.echo(accepted.request.items[position], sent, pictures=bool(asked))

    async def score(self, request: ScoreRequest, started: float, caller: Caller) -> ScoreResponse:
        """Scores of pairs: documents with the same question are ranked together.

        Raises:
            WireError: as of :meth:`accept`; 422 for a method that gives an order and no score of a page by itself.
        """
        check_number(len(request.pairs()[1]), self.settings.max_documents)
        data: dict[int, float] = {}
        usage, kinds, said = Usage(), set(), []
        for places, one in request.requests():
            accepted = await self.accept(one, started, caller)
            answer = self.answer(accepted, await asyncio.wrap_future(accepted.future))
            if answer.score_kind in RANKS:
                raise WireError(
                    422, f"method {self.reranker.method!r} gives an order and no score of a document by itself: use /rerank"
                )
            data |= {places[result.index]: result.relevance_score for result in answer.results}
            usage = Usage(**{name: getattr(usage, name) + getattr(answer.usage, name) for name in Usage.model_fields})
            kinds.add(answer.score_kind)
            said += [words for words in accepted.warnings if words not in said]
        said += [words for words in self.warnings(request) if words not in said]
        lines = [ScoreLine(index=i, score=score) for i, score in sorted(data.items())]
        return ScoreResponse(
            id=f"score-{uuid.uuid4().hex}", created=int(time.time()), model=self.reranker.model, data=lines, usage=usage,
            meta={"warnings": said}, score_kind=" or ".join(sorted(kinds)),
        )  # fmt: skip

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
        WireError: 422 or 400.
    """
    try:
        question = clean_question(question)
    except InputError as error:
        raise WireError(422, str(error)) from error
    if len(question) > max_chars:
        raise WireError(400, f"the question has {len(question):,} characters, and at most {max_chars:,} are taken: shorten it")
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
