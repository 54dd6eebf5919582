"""Server-sent events: some work tells of itself while it goes on, and a closed connection ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

from fastapi.responses import StreamingResponse

from mmr5.server.batching import as_refusal
from mmr5.server.metrics import Metrics
from mmr5.server.problems import error_body
from mmr5.server.service import while_wanted

Tell = Callable[[str, Mapping[str, Any]], None]
"""Called with an event's name and its data."""

KEEPALIVE_S = 10.0
"""A stream says at least this often that it lives."""


def respond(
    work: Callable[[Tell], Coroutine[Any, Any, None]], gone: Callable[[], Awaitable[None]], seconds: float, metrics: Metrics
) -> StreamingResponse:
    """The events of some work as they come, then ``done``; or ``error`` with an error's JSON body.

    Args:
        work: is given :data:`Tell`; it is cancelled when its client leaves or its time is over.
        gone: completes when the client is gone.
        seconds: what is left of the request's time.
        metrics: told of errors.
    """
    stream = _events(work, gone, seconds, metrics)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(
    work: Callable[[Tell], Coroutine[Any, Any, None]], gone: Callable[[], Awaitable[None]], seconds: float, metrics: Metrics
) -> AsyncIterator[bytes]:
    told: asyncio.Queue[bytes | None] = asyncio.Queue()
    task = asyncio.ensure_future(while_wanted(work(lambda name, data: told.put_nowait(event(name, data))), gone(), seconds))
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    piece = await told.get()
            except TimeoutError:
                yield b": waiting\n\n"
                continue
            if piece is None:
                break
            yield piece
        await task
        yield event("done", {})
    except Exception as error:  # the edge of a stream: its status is sent already, so that the error goes as an event
        refusal = as_refusal(error)
        if refusal.reason != "client_gone":
            metrics.refused.labels(refusal.reason).inc()
            yield event("error", error_body(refusal.status, refusal.message))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One event on the wire."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
