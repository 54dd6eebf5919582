"""The application: routes, errors, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from mmr5 import __version__
from mmr5.errors import MMR5Error
from mmr5.reranker import Reranker
from mmr5.server import file_routes, index_routes, page_routes, rerank_routes, search_routes
from mmr5.server.collections import Collections, open_searchers
from mmr5.server.document_reader import Parser
from mmr5.server.http_errors import WireError, error_body, error_headers, from_error, in_words, status_for
from mmr5.server.middleware import (
    OPEN_PATHS,
    ApiKeyMiddleware,
    BodyMiddleware,
    ErrorMiddleware,
    HeadMiddleware,
    InflightMiddleware,
    OriginMiddleware,
    RequestLogMiddleware,
    RootPathMiddleware,
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
            Middleware(RootPathMiddleware, root_path=limits.root_path),
            Middleware(RequestLogMiddleware, metrics=metrics),
            Middleware(SecurityHeadersMiddleware),
            Middleware(ErrorMiddleware),
            Middleware(HeadMiddleware),
            *([Middleware(CORSMiddleware, **_cors(limits))] if limits.allow_origin else []),
            Middleware(OriginMiddleware, hosts=limits.all_hosts, origins=limits.allow_origin),
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
    searchers = open_searchers(limits.index, reranker, candidates=limits.candidates, cache=service.cache) if limits.index else {}
    collections = Collections(searchers, uploads)
    index_routes.add(app, service, collections)
    search_routes.add(app, service, uploads, collections)
    page_routes.add(app)
    _describe(app, keys=bool(limits.api_keys))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(WireError, _wire_error)
    app.add_exception_handler(MMR5Error, _own_error)
    return app


def _cors(limits: ServerSettings) -> dict[str, Any]:
    """What a browser is told of the sites that may call."""
    return {
        "allow_origins": list(limits.allow_origin),
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["Authorization", "Content-Type", "X-Request-ID"],
        "expose_headers": ["X-Request-ID", "Retry-After"],
        "max_age": 600,
    }


def _describe(app: FastAPI, *, keys: bool) -> None:
    """Say in the OpenAPI document where a key is needed."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        made = plain()
        schemes = made.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["apiKey"] = {"type": "http", "scheme": "bearer", "description": "A key of the server, where it has any."}
        for path, operations in made["paths"].items():
            for operation in operations.values():
                is_open = path in OPEN_PATHS or not keys
                operation["security"] = [{}] if is_open else [{"apiKey": []}]
        return made

    app.openapi = described  # type: ignore[method-assign]


def _add_pages(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """The routes that only report."""
    reranker, limits = service.reranker, service.settings

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

    started = int(time.time())

    def model_list(owner: str) -> dict[str, Any]:
        waiting = len(service.batcher)
        stats = {"queue_fraction": waiting / limits.queue_size, "queue_absolute": waiting, "results_absolute": 0}
        one = {"id": reranker.model, "object": "model", "created": started, "owned_by": owner}
        return {"object": "list", "data": [{**one, "backend": reranker.engine.name, "capabilities": ["rerank"], "stats": stats}]}

    @app.get("/v1/models", summary="The model, as OpenAI's clients ask")
    async def models() -> dict[str, Any]:
        return model_list("mmr5")

    @app.get("/models", include_in_schema=False)
    @app.get("/infinity/models", summary="The model, as infinity's client asks")
    async def infinity_models() -> dict[str, Any]:
        return model_list("infinity")

    @app.get("/infinity/health", summary="The process is alive, as infinity's client asks")
    async def infinity_health() -> dict[str, float]:
        return {"unix": time.time()}

    @app.get("/info", summary="The model, its method and the limits")
    async def info() -> dict[str, Any]:
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
    assert isinstance(error, RequestValidationError)
    status = status_for(422, voyage=getattr(request.state, "voyage", False))
    return Json(error_body(status, in_words(error.errors()), tei=getattr(request.state, "tei", False)), status)


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return Json(error_body(error.status_code, str(error.detail)), error.status_code, headers=error.headers)


async def _wire_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WireError)
    if error.reason != "client_gone":
        request.app.state.service.metrics.refused.labels(error.reason).inc()
    tei, voyage = (getattr(request.state, name, False) for name in ("tei", "voyage"))
    status = status_for(error.status, voyage=voyage)
    return Json(error_body(status, error.message, tei=tei), status, headers=error_headers(error.retry_after))


async def _own_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MMR5Error)
    return await _wire_error(request, from_error(error))
