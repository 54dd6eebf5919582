"""``POST /v1/search``: documents and a question → ranked pages, at once or as server-sent events."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel, Field

from mmr5.documents import common_view
from mmr5.evidence import JOIN
from mmr5.pipeline import Searcher
from mmr5.reranker import evidence_of
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.selection import Selection
from mmr5.server import events
from mmr5.server.collections import Collections
from mmr5.server.file_routes import NOT_FOUND, STORAGE, FormRoute
from mmr5.server.http_errors import WireError
from mmr5.server.rerank_routes import ERRORS, caller, gone
from mmr5.server.service import Service, check_question, count, while_wanted
from mmr5.server.stream_parser import TextRelay
from mmr5.server.uploads import Upload, UploadService
from mmr5.types import Candidates, Page, Problem, Ranking

EARLY = "bm25"
"""The first stage of the first answer of a stream."""


class FoundPage(BaseModel):
    """A ranked page; the fields of ``mmr5 rerank --json`` and where to see it."""

    rank: int
    index: int
    source: str
    page: int
    score: float | None
    score_kind: str | None
    first_stage_rank: int | None
    first_stage_score: float | None
    reason: str | None
    evidence: str | None
    evidence_passages: list[dict[str, Any]]
    page_label: str | None
    relevance: float | None
    file_id: str | None = Field(description="For `file_ids`; null for a page of an index.")
    thumbnail: str
    image: str
    document: str | None


class SearchResponse(BaseModel):
    """The object of ``mmr5 rerank --json`` with the addresses of pictures."""

    query: str
    model: str
    method: str
    retriever: str
    n_pages: int
    ranking: list[FoundPage]
    reasoning: str | None
    reply: str | None
    issues: list[str]
    timings_ms: dict[str, float]
    usage: dict[str, int]
    settings: dict[str, Any]
    problems: list[dict[str, Any]]
    answerable: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about uploads, or about a stored collection.

    Attributes:
        query: the question.
        uploads: the files; none where a collection is asked.
        top_n: how many pages are wanted; None for all candidates.
        min_relevance: least relevance of a page that is wanted, or None.
        client: who asks, for fairness.
        started: ``time.monotonic()`` of its arrival.
        index: name of the collection, or None.
        where: a filter of its documents and pages, or None.
    """

    query: str
    uploads: list[Upload]
    top_n: int | None
    min_relevance: float | None
    client: str
    started: float
    index: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What the first stage found.

    Attributes:
        searcher: first stage and model.
        candidates: its best pages.
        n_pages: pages that were looked through.
        problems: what was passed over while they were read.
        addresses: gives where a page is shown, with the ``file_id`` of its upload.
        place: gives the candidates with the places of their words.
        read_at: ``time.monotonic()`` when the pages were there.
    """

    searcher: Searcher
    candidates: Candidates
    n_pages: int
    problems: Sequence[Problem]
    addresses: Callable[[Page], Mapping[str, str | None]]
    place: Callable[[], Coroutine[Any, Any, Candidates]]
    read_at: float


def add(app: FastAPI, service: Service, uploads: UploadService, collections: Collections) -> None:
    """Add the route."""
    settings = service.settings

    routes = APIRouter(route_class=FormRoute)

    @routes.post(
        "/v1/search",
        summary="Find the pages that answer a question",
        response_model=SearchResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **ERRORS, **NOT_FOUND, **STORAGE},
    )
    async def search(
        request: Request,
        query: Annotated[str, Form(description="The question.")],
        files: Annotated[list[UploadFile] | None, File(description="PDFs and images.")] = None,
        file_ids: Annotated[list[str] | None, Form(description="Files that were sent before, to `/v1/files` or here.")] = None,
        index: Annotated[
            str | None, Form(description="A stored collection, as `/v1/indexes` names it, instead of files.")
        ] = None,
        where: Annotated[
            str | None, Form(description="Only documents and pages of the index for which this holds: `year >= 2020`.")
        ] = None,
        top_n: Annotated[int | None, Form(ge=0, description="Only the best; 0 gives all candidates.")] = None,
        min_relevance: Annotated[
            float | None, Form(ge=0, le=1, description="Leave out pages whose relevance is below this.")
        ] = None,
        stream: Annotated[bool, Form(description="Answer with server-sent events.")] = False,
    ) -> SearchResponse | Response:
        """Read PDFs and images, or open a stored collection, pick candidates by the first stage, and let the model rank them."""
        started = time.monotonic()
        request.state.log = {"files": len(files or ()) + len(file_ids or ()), **({} if index is None else {"index": index[:80]})}
        query = check_question(query, settings.max_query_chars)
        who = caller(request)
        if index is not None and (files or file_ids):
            raise WireError(422, "a question is about files or about an index: leave one of them out", reason="files")
        if index is None and where is not None:
            raise WireError(422, "where is for an index: name it, or leave where out")
        if index is not None:
            collections.searcher(index)
        taken = [] if index is not None else await uploads.take(files or (), file_ids or (), who.owner)
        asked = Asked(query, taken, top_n or None, min_relevance, who.client, started, index, where)
        left = settings.deadline_s - (time.monotonic() - started)
        work = functools.partial(_search, service, uploads, collections, asked)
        if stream:
            return events.respond(lambda send: _stream(work, send), lambda: gone(request), left, service.metrics)
        return await while_wanted(work(_no_events), gone(request), left)

    app.include_router(routes)


def _early(query: str, pages: Sequence[Page], most: int) -> Candidates:
    """The candidates by BM25, which needs no model."""
    return find_candidates(query, pages, open_retriever(EARLY, pages), most)


def _no_events(name: str, data: Mapping[str, Any]) -> None:
    del name, data


async def _stream(work: Callable[..., Coroutine[Any, Any, SearchResponse]], send: events.SendEvent) -> None:
    answer = (await work(send, TextRelay())).model_dump()
    for line in answer["ranking"]:
        send("page", line)
    if answer["reasoning"] is not None:
        send("reasoning", {"reasoning": answer["reasoning"]})
    send("result", answer)


async def _search(
    service: Service,
    uploads: UploadService,
    collections: Collections,
    asked: Asked,
    send: events.SendEvent,
    relay: TextRelay | None = None,
) -> SearchResponse:
    """Read, retrieve, rank; sends ``stage`` and ``candidates`` on the way, and through the relay what the model writes.

    ``candidates`` come from BM25 as soon as the text is read, and again from the first stage where that is another one; a
    collection is asked once.
    """
    async with uploads.holding(asked.uploads):
        if asked.index is None:
            found = await _in_uploads(service, uploads, asked, send, early=relay is not None)
        else:
            found = await _in_collection(service, collections, asked.index, asked, send)
        return await _ranked(service, asked, found, send, relay)


async def _in_uploads(service: Service, uploads: UploadService, asked: Asked, send: events.SendEvent, *, early: bool) -> Found:
    ids = {upload.source: upload.id for upload in asked.uploads}
    searcher = service.searcher

    def addresses(page: Page) -> Mapping[str, str | None]:
        return {"file_id": ids[page.source], **uploads.addresses(ids[page.source], page.number)}

    send("stage", {"stage": "reading"})
    pages, problems = await uploads.pages(
        asked.uploads, asked.client, lambda source, data: send("stage", {"stage": "reading", "source": source, **data})
    )
    read_at = time.monotonic()
    send("stage", {"stage": "retrieving", "total": len(pages)})
    if early and searcher.retriever not in {EARLY, "none"}:
        first = await service.run(_early, asked.query, pages, searcher.n_candidates)
        send("candidates", await service.run(_chosen, first, EARLY, len(pages), addresses))
    candidates = await service.run(searcher.candidates, asked.query, pages)
    return Found(
        searcher, candidates, len(pages), problems, addresses, lambda: uploads.placed(candidates, ids, asked.client), read_at
    )


async def _in_collection(service: Service, collections: Collections, name: str, asked: Asked, send: events.SendEvent) -> Found:
    searcher, index = collections.searcher(name), collections.index(name)
    read_at = time.monotonic()
    at = await service.run(index.snapshot)
    if not at.n_pages:
        raise WireError(422, f"the index {name!r} is empty: add documents with mmr5 index add")
    by_source = {document.source: document for document in at.documents}
    send("stage", {"stage": "retrieving", "total": at.n_pages})
    candidates = await service.run(searcher.stored, asked.query, asked.where, at)
    problems = await service.run(index.problems, {page.source for page in candidates.pages})

    def addresses(page: Page) -> Mapping[str, str | None]:
        return {"file_id": None, **collections.addresses(name, by_source[page.source], page)}

    async def place() -> Candidates:
        return candidates  # their pages know

    return Found(searcher, candidates, at.n_pages, problems, addresses, place, read_at)


async def _ranked(
    service: Service, asked: Asked, found: Found, send: events.SendEvent, relay: TextRelay | None
) -> SearchResponse:
    """Let the model rank what was found."""
    searcher, candidates, addresses = found.searcher, found.candidates, found.addresses
    retrieved_at = time.monotonic()
    send("candidates", await service.run(_chosen, candidates, searcher.retriever, found.n_pages, addresses))
    view = common_view(service.reranker.view, candidates.pages)
    if relay is not None:
        relay.connect(events.text_events(send, candidates.index_of))
    send("stage", {"stage": "ranking", "total": len(candidates)})
    if len(candidates):
        future = service.submit(candidates, view, asked.started, relay)
        placing = asyncio.create_task(found.place())  # beside the model
        try:
            ranking = await asyncio.wrap_future(future)
            ranked_at = time.monotonic()
            seen = await placing
        finally:
            placing.cancel()
    else:  # a filter that lets nothing through
        ranking, ranked_at, seen = Ranking(()), time.monotonic(), candidates
    count(service.metrics, ranking)
    timings = {
        "retrieve": (retrieved_at - found.read_at) * 1000,
        "model": (ranked_at - retrieved_at) * 1000,
    }
    selection = Selection(asked.min_relevance, asked.top_n)
    result = await service.run(
        functools.partial(searcher.result, selection=selection, timings_ms=timings), seen, ranking, found.n_pages
    )
    result = result.with_reading(found.problems, (found.read_at - asked.started) * 1000)
    lines = [{**line.to_dict(), **addresses(page)} for line, page in zip(result.ranking, result.pages, strict=True)]
    return SearchResponse.model_validate({**result.to_dict(), "ranking": lines})


def _chosen(
    candidates: Candidates, retriever: str, n_pages: int, addresses: Callable[[Page], Mapping[str, str | None]]
) -> dict[str, Any]:
    """The first stage's order, as the event ``candidates`` has it."""
    shown = evidence_of(None, candidates, range(len(candidates)))
    lines = [
        {
            "rank": position + 1,
            "index": candidates.index_of(position),
            "source": page.source,
            "page": page.number,
            "first_stage_score": None if candidates.scores is None else candidates.scores[position],
            "evidence": JOIN.join(passage.text for passage in shown[position]) or None,
            "evidence_passages": [{"text": passage.text, "boxes": []} for passage in shown[position]],
            "page_label": page.label,
            **addresses(page),
        }
        for position, page in enumerate(candidates.pages)
    ]
    return {"n_pages": n_pages, "retriever": retriever, "ranking": lines}
