"""``POST /v1/search``: documents and a question → ranked pages, at once or as server-sent events."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import Response
from pydantic import BaseModel

from mmr5.documents import common_view
from mmr5.evidence import JOIN
from mmr5.reranker import evidence_of
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.selection import Selection
from mmr5.server import events
from mmr5.server.file_routes import NOT_FOUND, STORAGE, FormRoute
from mmr5.server.rerank_routes import ERRORS, caller, gone
from mmr5.server.service import Service, check_question, count, while_wanted
from mmr5.server.stream_parser import TextRelay
from mmr5.server.uploads import Upload, UploadService
from mmr5.types import Candidates, Page

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
    file_id: str
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
    """A question about uploads.

    Attributes:
        query: the question.
        uploads: the files.
        top_n: how many pages are wanted; None for all candidates.
        min_relevance: least relevance of a page that is wanted, or None.
        client: who asks, for fairness.
        started: ``time.monotonic()`` of its arrival.
    """

    query: str
    uploads: list[Upload]
    top_n: int | None
    min_relevance: float | None
    client: str
    started: float


def add(app: FastAPI, service: Service, uploads: UploadService) -> None:
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
        top_n: Annotated[int | None, Form(ge=0, description="Only the best; 0 gives all candidates.")] = None,
        min_relevance: Annotated[
            float | None, Form(ge=0, le=1, description="Leave out pages whose relevance is below this.")
        ] = None,
        stream: Annotated[bool, Form(description="Answer with server-sent events.")] = False,
    ) -> SearchResponse | Response:
        """Read PDFs and images, pick candidates by the first stage, and let the model rank them."""
        started = time.monotonic()
        request.state.log = {"files": len(files or ()) + len(file_ids or ())}
        query = check_question(query, settings.max_query_chars)
        who = caller(request)
        taken = await uploads.take(files or (), file_ids or (), who.owner)
        asked = Asked(query, taken, top_n or None, min_relevance, who.client, started)
        left = settings.deadline_s - (time.monotonic() - started)
        if stream:
            return events.respond(
                lambda send: _stream(service, uploads, asked, send), lambda: gone(request), left, service.metrics
            )
        return await while_wanted(_search(service, uploads, asked, _no_events), gone(request), left)

    app.include_router(routes)


def _early(query: str, pages: Sequence[Page], most: int) -> Candidates:
    """The candidates by BM25, which needs no model."""
    return find_candidates(query, pages, open_retriever(EARLY, pages), most)


def _no_events(name: str, data: Mapping[str, Any]) -> None:
    del name, data


async def _stream(service: Service, uploads: UploadService, asked: Asked, send: events.SendEvent) -> None:
    answer = (await _search(service, uploads, asked, send, TextRelay())).model_dump()
    for line in answer["ranking"]:
        send("page", line)
    if answer["reasoning"] is not None:
        send("reasoning", {"reasoning": answer["reasoning"]})
    send("result", answer)


async def _search(
    service: Service, uploads: UploadService, asked: Asked, send: events.SendEvent, relay: TextRelay | None = None
) -> SearchResponse:
    """Read, retrieve, rank; sends ``stage`` and ``candidates`` on the way, and through the relay what the model writes.

    ``candidates`` come from BM25 as soon as the text is read, and again from the first stage where that is another one.
    """
    ids = {upload.source: upload.id for upload in asked.uploads}
    searcher = service.searcher
    async with uploads.holding(asked.uploads):
        send("stage", {"stage": "reading"})
        pages, problems = await uploads.pages(
            asked.uploads, asked.client, lambda source, data: send("stage", {"stage": "reading", "source": source, **data})
        )
        read_at = time.monotonic()
        send("stage", {"stage": "retrieving", "total": len(pages)})
        if relay is not None and searcher.retriever not in {EARLY, "none"}:
            early = await service.run(_early, asked.query, pages, searcher.n_candidates)
            send("candidates", await service.run(_chosen, uploads, early, EARLY, len(pages), ids))
        candidates = await service.run(searcher.candidates, asked.query, pages)
        retrieved_at = time.monotonic()
        send("candidates", await service.run(_chosen, uploads, candidates, searcher.retriever, len(pages), ids))
        view = common_view(service.reranker.view, candidates.pages)
        if relay is not None:
            relay.connect(events.text_events(send, candidates.index_of))
        future = service.submit(candidates, view, asked.started, relay)
        send("stage", {"stage": "ranking", "total": len(candidates)})
        placing = asyncio.create_task(uploads.placed(candidates, ids, asked.client))  # beside the model
        try:
            ranking = await asyncio.wrap_future(future)
            ranked_at = time.monotonic()
            seen = await placing
        finally:
            placing.cancel()
    count(service.metrics, ranking)
    timings = {
        "retrieve": (retrieved_at - read_at) * 1000,
        "model": (ranked_at - retrieved_at) * 1000,
    }
    selection = Selection(asked.min_relevance, asked.top_n)
    found = functools.partial(searcher.result, selection=selection, timings_ms=timings)
    result = await service.run(found, seen, ranking, len(pages))
    result = result.with_reading(problems, (read_at - asked.started) * 1000)
    lines = [
        {**line.to_dict(), "file_id": ids[line.source], **uploads.addresses(ids[line.source], line.page)}
        for line in result.ranking
    ]
    return SearchResponse.model_validate({**result.to_dict(), "ranking": lines})


def _chosen(
    uploads: UploadService, candidates: Candidates, retriever: str, n_pages: int, ids: Mapping[str, str]
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
            "file_id": ids[page.source],
            **uploads.addresses(ids[page.source], page.number),
        }
        for position, page in enumerate(candidates.pages)
    ]
    return {"n_pages": n_pages, "retriever": retriever, "ranking": lines}
