"""``POST /rerank``, ``/v1/rerank``, ``/v2/rerank`` with their server-sent events, ``/score`` and ``/v1/score``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import Response

from mmr5.server import events
from mmr5.server.http_errors import WireError
from mmr5.server.json_body import JsonRoute
from mmr5.server.protocol import (
    EXAMPLES,
    SCORE_EXAMPLES,
    ErrorBody,
    RerankRequest,
    RerankResponse,
    ScoreRequest,
    ScoreResponse,
    TeiResult,
)
from mmr5.server.service import Accepted, Caller, Service, tei_answer, while_wanted
from mmr5.server.stream_parser import TextRelay

INFINITY = "/infinity"
"""Below it documents come back as bare strings: LiteLLM asks vLLM and infinity the same, and reads different answers."""
PATHS = ("/rerank", "/v1/rerank", "/v2/rerank", f"{INFINITY}/rerank")
SCORE_PATHS = ("/score", "/v1/score")
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The body is not JSON, or a text is longer than is taken.",
        401: "No known API key.",
        403: "A page of another site, or another host's name.",
        408: "The body did not arrive in time.",
        413: "Too many bytes or documents.",
        415: "The body is not JSON by its Content-Type.",
        422: "A field or a document cannot be used; the message names it.",
        429: "Too many requests at once; see Retry-After.",
        502: "The model's backend failed.",
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
        request.state.log = {"documents": len(body.items)}
        relay = TextRelay() if body.stream and not body.is_tei else None
        bare = body.is_infinity or request.url.path.startswith(INFINITY)
        if bare and body.top_n == 0:
            raise WireError(422, "top_n is 0: infinity's clients give at least 1, or leave it out")
        accepted = await while_wanted(
            service.accept(body, started, caller(request), relay, bare=bare), gone(request), service.settings.deadline_s
        )
        left = service.settings.deadline_s - (time.monotonic() - started)
        if relay is not None:
            return events.respond(
                lambda send: _stream(service, accepted, send, relay), lambda: gone(request), left, service.metrics
            )
        ranking = await while_wanted(_ranked(accepted), gone(request), left)
        answer = service.answer(accepted, ranking)
        return tei_answer(answer, body) if body.is_tei else answer

    async def score(request: Request, body: Annotated[ScoreRequest, Body(openapi_examples=SCORE_EXAMPLES)]) -> ScoreResponse:
        """Score questions and documents pair by pair, as vLLM's `/score` does."""
        request.state.log = {"documents": len(body.pairs()[1])}
        work = service.score(body, time.monotonic(), caller(request))
        return await while_wanted(work, gone(request), service.settings.deadline_s)

    routes = APIRouter(route_class=JsonRoute)
    for path in SCORE_PATHS:
        routes.post(
            path,
            operation_id=path.strip("/").replace("/", "_"),
            summary="Score pairs",
            response_model=ScoreResponse,
            responses=ERRORS,
        )(score)
    for path in PATHS:
        routes.post(
            path,
            operation_id=path.strip("/").replace("/", "_"),
            summary="Rank documents",
            response_model=RerankResponse | list[TeiResult],
            response_model_exclude_none=True,
            responses={200: {"content": {"text/event-stream": {}}}, **ERRORS},
        )(rerank)
    app.include_router(routes)


def caller(request: Request) -> Caller:
    """Who sent a request, as the middlewares found it."""
    state = request.state
    return Caller(state.client, state.owner, state.memory)


async def gone(request: Request) -> None:
    """Return when the client has closed its connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _ranked(accepted: Accepted) -> Any:
    return await asyncio.wrap_future(accepted.future)


async def _stream(service: Service, accepted: Accepted, send: events.SendEvent, relay: TextRelay) -> None:
    """``accepted``, ``thinking`` or ``note`` while it writes, a ``page`` a result in order, ``reasoning``, ``result`` (all)."""
    send("accepted", {"documents": len(accepted.drafts), "model": service.reranker.model})
    relay.connect(events.text_events(send))
    ranking = await _ranked(accepted)
    body = accepted.request.model_copy(update={"reasoning": True})
    full = service.answer(replace(accepted, request=body), ranking)
    for rank, result in enumerate(full.results, start=1):
        send("page", {"rank": rank, **result.model_dump(exclude_none=True)})
    if full.reasoning is not None:
        send("reasoning", {"reasoning": full.reasoning})
    send("result", full.model_dump(exclude_none=True))
