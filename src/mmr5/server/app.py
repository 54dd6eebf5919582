"""The application: routes, errors, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from mmr5 import __version__
from mmr5.errors import MMR5Error
from mmr5.reranker import Reranker
from mmr5.server import file_routes, page_routes, rerank_routes, search_routes
from mmr5.server.document_reader import Parser
from mmr5.server.http_errors import WireError, error_body, error_headers, from_error
from mmr5.server.middleware import (
    ApiKeyMiddleware,
    BodyMiddleware,
    ErrorMiddleware,
    InflightMiddleware,
    OriginMiddleware,
    RequestLogMiddleware,
    SecurityHeadersMiddleware,
)
from mmr5.server.pictures import PictureReader
from mmr5.server.prometheus import Metrics
from mmr5.server.service import Service
from mmr5.server.store import Store
from mmr5.server.uploads import UploadService
from mmr5.settings import ServerSettings
from mmr5.storage.cache import Cache
from mmr5.watching import silence


class Json(JSONResponse):
    """JSON in UTF-8; a lone surrogate becomes a question mark instead of an error."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def create_app(reranker: Reranker, settings: ServerSettings | None = None, *, cache: Cache | None = None) -> FastAPI:
    """The server as an ASGI application.

    Args:
        reranker: ranks; its engine is called from one thread.
        settings: limits and times; None takes the defaults.
        cache: where recognised texts and embeddings are kept; None stands for ``Cache()``.
    """
    silence()
    limits = settings or ServerSettings()
    metrics = Metrics()
    store, parser = Store(limits.store_root, limits.store_bytes), Parser(limits, reranker.view)
    service = Service(reranker, limits, metrics, PictureReader(parser, store.root), cache)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        yield
        await parser.close()
        await asyncio.to_thread(service.close)
        store.close()

    app = FastAPI(
        title="mmr5",
        version=__version__,
        summary="A multimodal reasoning reranker for document pages.",
        lifespan=lifespan,
        default_response_class=Json,
        redoc_url=None,
        middleware=[
            Middleware(RequestLogMiddleware, metrics=metrics),
            Middleware(SecurityHeadersMiddleware),
            Middleware(ErrorMiddleware),
            Middleware(OriginMiddleware, hosts=limits.hosts),
            Middleware(ApiKeyMiddleware, keys=limits.api_keys),
            Middleware(InflightMiddleware, limit=limits.max_inflight, metrics=metrics),
            Middleware(BodyMiddleware, settings=limits),
        ],
    )
    app.state.service = service
    app.state.store = store
    _add_pages(app, service, metrics)
    rerank_routes.add(app, service)
    uploads = UploadService(limits, store, parser)
    file_routes.add(app, service, uploads)
    search_routes.add(app, service, uploads)
    page_routes.add(app)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(WireError, _wire_error)
    app.add_exception_handler(MMR5Error, _own_error)
    return app


def _add_pages(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """The routes that only report."""
    reranker = service.reranker

    @app.get("/health", summary="The process is alive")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="The model takes requests", responses={503: {"description": "It does not."}})
    async def ready() -> Response:
        if service.batcher.alive:
            return Json({"status": "ready"})
        return Json({"status": "not ready"}, 503, headers=error_headers(5))

    @app.get("/metrics", summary="Counters in Prometheus' format", response_class=Response)
    async def metric_text() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/info", summary="The model, its method and the limits")
    async def info() -> dict[str, Any]:
        limits = service.settings
        return {
            "version": __version__,
            "model": reranker.model,
            "engine": reranker.engine.name,
            "dtype": reranker.dtype,
            "method": reranker.method,
            "view": reranker.view,
            "prompt_fingerprint": reranker.fingerprint,
            "retriever": limits.retriever,
            "max_documents": limits.max_documents,
            "max_body_bytes": limits.max_body_bytes,
            "max_pixels": limits.max_pixels,
            "max_upload_bytes": limits.max_upload_bytes,
            "fetches_urls": limits.allow_urls,
        }


async def _invalid(request: Request, error: Exception) -> Response:
    """A body that is not of our shape; what was sent is not repeated."""
    del request
    assert isinstance(error, RequestValidationError)
    lines = []
    for found in error.errors()[:5]:
        where = ".".join(str(part)[:40] for part in found["loc"][1:]) or "body"
        lines.append(f"{where}: {str(found['msg']).removeprefix('Value error, ')}")
    tei = isinstance(error.body, dict) and "texts" in error.body
    return Json(error_body(422, "; ".join(lines), tei=tei), 422)


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return Json(error_body(error.status_code, str(error.detail)), error.status_code, headers=error.headers)


async def _wire_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WireError)
    if error.reason != "client_gone":
        request.app.state.service.metrics.refused.labels(error.reason).inc()
    tei = getattr(request.state, "tei", False)
    return Json(error_body(error.status, error.message, tei=tei), error.status, headers=error_headers(error.retry_after))


async def _own_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MMR5Error)
    return await _wire_error(request, from_error(error))
