"""``POST /rerank``, ``/v1/rerank``, ``/v2/rerank``, and their server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from mmr5.server.batching import as_refusal
from mmr5.server.problems import WireError, error_body
from mmr5.server.protocol import EXAMPLES, ErrorBody, RerankRequest, RerankResponse, TeiResult
from mmr5.server.service import Accepted, Service, tei_answer, while_wanted

PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
KEEPALIVE_S = 10.0
"""A stream says at least this often that it lives."""

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The body is not JSON.",
        401: "No known API key.",
        408: "The body did not arrive in time.",
        413: "Too many bytes, documents or characters.",
        422: "A field or a document cannot be used; the message names it.",
        429: "Too many requests at once; see Retry-After.",
        503: "The wait was too long, or the server stops; see Retry-After.",
        504: "The deadline is over.",
    }.items()
}


def add(app: FastAPI, service: Service) -> None:
    """Add the routes."""

    async def rerank(
        request: Request, body: Annotated[RerankRequest, Body(openapi_examples=EXAMPLES)]
    ) -> RerankResponse | list[TeiResult] | Response:
        """Rank documents by how well they answer a question.

        All documents come back, best first, unless `top_n`. With `texts` the answer is TEI's bare array.
        """
        started = time.monotonic()
        request.state.tei = body.is_tei
        request.state.log = {"documents": len(body.items)}
        accepted = await while_wanted(service.accept(body, started), gone(request), service.settings.deadline_s)
        if body.stream and not body.is_tei:
            events = _events(service, accepted, request)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        left = service.settings.deadline_s - (time.monotonic() - started)
        ranking = await while_wanted(_ranked(accepted), gone(request), left)
        answer = service.answer(accepted, ranking)
        return tei_answer(answer, body) if body.is_tei else answer

    for path in PATHS:
        app.post(
            path,
            operation_id=path.strip("/").replace("/", "_"),
            summary="Rank documents",
            response_model=RerankResponse | list[TeiResult],
            response_model_exclude_none=True,
            responses={200: {"content": {"text/event-stream": {}}}, **ERRORS},
        )(rerank)


async def gone(request: Request) -> None:
    """Return when the client has closed its connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _ranked(accepted: Accepted) -> Any:
    return await asyncio.wrap_future(accepted.future)


async def _events(service: Service, accepted: Accepted, request: Request) -> AsyncIterator[bytes]:
    """``accepted``, one ``page`` a result in order, ``reasoning``, ``result`` (the whole answer) and ``done``; or ``error``."""
    yield _event("accepted", {"documents": len(accepted.drafts), "model": service.reranker.model})
    future: asyncio.Future[Any] = asyncio.wrap_future(accepted.future)
    left_us: asyncio.Future[Any] = asyncio.ensure_future(gone(request))
    until = accepted.started + service.settings.deadline_s
    try:
        while not future.done():
            left = until - time.monotonic()
            if left <= 0:
                raise WireError(504, "the deadline is over: send fewer documents", retry_after=5, reason="deadline")
            await asyncio.wait({future, left_us}, timeout=min(KEEPALIVE_S, left), return_when=asyncio.FIRST_COMPLETED)
            if left_us.done():
                return
            if not future.done():
                yield b": waiting\n\n"
        body = accepted.request.model_copy(update={"reasoning": True})
        full = service.answer(replace(accepted, request=body), future.result())
        for rank, result in enumerate(full.results, start=1):
            yield _event("page", {"rank": rank, **result.model_dump(exclude_none=True)})
        if full.reasoning is not None:
            yield _event("reasoning", {"reasoning": full.reasoning})
        yield _event("result", full.model_dump(exclude_none=True))
        yield _event("done", {})
    except Exception as error:  # the edge of a stream: its status is sent already, so that the error goes as an event
        refusal = as_refusal(error)
        service.metrics.refused.labels(refusal.reason).inc()
        yield _event("error", error_body(refusal.status, refusal.message))
    finally:
        left_us.cancel()
        future.cancel()


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
