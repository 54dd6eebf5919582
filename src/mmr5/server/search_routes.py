"""``POST /v1/search``: documents and a question → ranked pages; and the thumbnails of these pages."""

from __future__ import annotations

import asyncio
import contextlib
import time
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel

from mmr5.cache import Cache
from mmr5.pipeline import Searcher, fuse
from mmr5.reranker import build_result
from mmr5.retrieval import open_retriever
from mmr5.server.parsing import Parser
from mmr5.server.problems import WireError
from mmr5.server.protocol import ErrorBody
from mmr5.server.rerank_routes import ERRORS, gone
from mmr5.server.service import Service, check_question, choose_view, count, while_wanted
from mmr5.server.store import Store
from mmr5.types import Candidates, Page, Problem, Ranking, RerankResult

_NAME_CHARS = 120


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
    thumbnail: str


class SearchResponse(BaseModel):
    """The object of ``mmr5 rerank --json`` with thumbnails."""

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


def add(app: FastAPI, service: Service, store: Store) -> None:
    """Add the routes."""
    parser = Parser(service.settings, service.reranker.view)

    @app.post("/v1/search", summary="Find the pages that answer a question", responses=ERRORS)
    async def search(
        request: Request,
        query: Annotated[str, Form(description="The question.")],
        files: Annotated[list[UploadFile], File(description="PDFs and images.")],
        top_n: Annotated[int | None, Form(ge=0, description="Only the best; 0 gives all candidates.")] = None,
    ) -> SearchResponse:
        """Read PDFs and images, pick candidates by the first stage, and let the model rank them."""
        started = time.monotonic()
        request.state.log = {"files": len(files)}
        check_question(query, service.settings.max_query_chars)
        if len(files) > service.settings.max_upload_files:
            message = f"{len(files)} files were sent, and at most {service.settings.max_upload_files} are taken: send fewer"
            raise WireError(413, message, reason="files")
        work = _search(service, store, parser, query, files, top_n, started)
        return await while_wanted(work, gone(request), service.settings.deadline_s)

    not_found: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "No such page, or not any more."}}

    @app.get("/v1/files/{name}/pages/{page}/thumbnail", response_class=FileResponse, responses=not_found)
    async def thumbnail(name: str, page: int) -> FileResponse:
        """The picture of an uploaded page; `page` counts from one."""
        folder = store.folder(name)
        path = None if folder is None or not 1 <= page <= 10**6 else folder / f"thumb-{page - 1}.jpg"
        if path is None or not path.is_file():
            raise WireError(404, "there is no such page in the store, or not any more: search again", reason="not_found")
        headers = {"Cache-Control": "private, max-age=3600"}
        return FileResponse(path, media_type="image/jpeg", headers=headers)


async def _search(
    service: Service,
    store: Store,
    parser: Parser,
    query: str,
    files: Sequence[UploadFile],
    top_n: int | None,
    started: float,
) -> SearchResponse:
    with contextlib.ExitStack() as held:
        names: dict[str, str] = {}
        pages: list[Page] = []
        problems: list[Problem] = []
        for file in files:
            source = shown_name(file.filename, taken=names)
            name = await asyncio.to_thread(store.add, file.file)
            names[source] = name
            folder = held.enter_context(store.using(name))
            read, passed_over = await parser.pages(folder, source)
            pages += read
            problems += passed_over
        if len(pages) > service.settings.max_upload_pages:
            message = f"{len(pages)} pages were sent, and at most {service.settings.max_upload_pages} are taken: send fewer"
            raise WireError(413, message, reason="pages")
        read_at = time.monotonic()
        searcher = Searcher(
            service.reranker, service.settings.retriever, candidates=service.settings.candidates, cache=service.cache
        )
        candidates = await service.run(_first_stage, searcher, query, pages, service.cache)
        retrieved_at = time.monotonic()
        future = service.submit(candidates, choose_view(service.reranker.view, candidates.pages), started)
        ranking = await asyncio.wrap_future(future)
    count(service.metrics, ranking)
    timings = {
        "read": (read_at - started) * 1000,
        "retrieve": (retrieved_at - read_at) * 1000,
        "model": (time.monotonic() - retrieved_at) * 1000,
    }
    result = _result(searcher, candidates, ranking, len(pages), top_n or None, timings, problems)
    lines = [
        {**line.to_dict(), "thumbnail": f"/v1/files/{names[line.source]}/pages/{line.page}/thumbnail"} for line in result.ranking
    ]
    return SearchResponse.model_validate({**result.to_dict(), "ranking": lines})


def shown_name(filename: str | None, taken: dict[str, str]) -> str:
    """A file's name without folders and unprintable characters, short, and unlike those that are taken."""
    last = (filename or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(c for c in unicodedata.normalize("NFC", last) if c.isprintable())[-_NAME_CHARS:].strip() or "upload"
    name, number = kept, 1
    while name in taken:
        number += 1
        name = f"{kept} ({number})"
    return name


def _first_stage(searcher: Searcher, query: str, pages: Sequence[Page], cache: Cache) -> Candidates:
    return searcher.first_stage(query, pages, open_retriever(searcher.retriever, pages, cache=cache))


def _result(
    searcher: Searcher,
    candidates: Candidates,
    ranking: Ranking,
    n_pages: int,
    top_n: int | None,
    timings: dict[str, float],
    problems: Sequence[Problem],
) -> RerankResult:
    used = searcher.fusion if candidates.scores is not None else None
    fused = ranking if used is None else fuse(candidates.scores, ranking, used)
    return build_result(
        searcher.reranker,
        candidates,
        fused,
        n_pages=n_pages,
        retriever=searcher.retriever,
        fusion=used,
        top_n=top_n,
        timings_ms=timings,
        problems=problems,
    )
