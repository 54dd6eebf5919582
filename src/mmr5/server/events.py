"""Server-sent events: work reports its progress as events; a closed connection cancels it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

from fastapi.responses import StreamingResponse

from mmr5.server.http_errors import error_body
from mmr5.server.prometheus import Metrics
from mmr5.server.request_queue import as_refusal
from mmr5.server.service import while_wanted

SendEvent = Callable[[str, Mapping[str, Any]], None]
"""Called with an event's name and its data."""

THINKING = "thinking"
"""The event that carries a piece of reasoning, ``{"text": …}``; pieces that a client has not taken yet become one."""

NOTE = "note"
"""The event that carries a piece of the note on a page, ``{"index": …, "text": …}``; pieces of a page become one likewise."""

_PIECES = (THINKING, NOTE)

KEEPALIVE_S = 10.0
"""Seconds after which a stream without events sends a comment."""


def respond(
    work: Callable[[SendEvent], Coroutine[Any, Any, None]], gone: Callable[[], Awaitable[None]], seconds: float, metrics: Metrics
) -> StreamingResponse:
    """The events of some work as they come, then ``done``; or ``error`` with an error's JSON body.

    Args:
        work: is given a :data:`SendEvent`; it is cancelled when its client leaves or its time is over.
        gone: completes when the client is gone.
        seconds: what is left of the request's time.
        metrics: counts errors.
    """
    stream = _events(work, gone, seconds, metrics)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


class EventQueue:
    """Events on their way to one client; for a client that lags, pieces of one text are joined."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, Mapping[str, Any]] | None] = deque()
        self._filled = asyncio.Event()

    def put(self, name: str, data: Mapping[str, Any]) -> None:
        """Add an event; a piece of reasoning or of a note joins one that still waits."""
        if name not in _PIECES or not self._joined(name, data):
            self._waiting.append((name, data))
        self._filled.set()

    def _joined(self, name: str, data: Mapping[str, Any]) -> bool:
        """Whether the piece could be added to one of the same text that waits, with nothing but pieces behind it."""
        for back, waiting in enumerate(reversed(self._waiting), start=1):
            if waiting is None or waiting[0] not in _PIECES:
                return False
            if (waiting[0], waiting[1].get("index")) == (name, data.get("index")):
                self._waiting[-back] = (name, {**data, "text": waiting[1]["text"] + data["text"]})
                return True
        return False

    def end(self) -> None:
        """Nothing follows."""
        self._waiting.append(None)
        self._filled.set()

    async def take(self) -> bytes | None:
        """The next event on the wire, as soon as there is one; None at the end."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        taken = self._waiting.popleft()
        return None if taken is None else event(*taken)


def text_events(send: SendEvent, index_of: Callable[[int], int] = lambda position: position) -> Callable[[str, int | None], None]:
    """For a :class:`~mmr5.server.stream_parser.TextRelay`: its texts as events.

    Args:
        send: takes events.
        index_of: from a page's position in its list to the index that the client knows it by.
    """

    def send_text(text: str, page: int | None) -> None:
        if page is None:
            send(THINKING, {"text": text})
        else:
            send(NOTE, {"index": index_of(page), "text": text})

    return send_text


async def _events(
    work: Callable[[SendEvent], Coroutine[Any, Any, None]], gone: Callable[[], Awaitable[None]], seconds: float, metrics: Metrics
) -> AsyncIterator[bytes]:
    queue = EventQueue()
    task = asyncio.ensure_future(while_wanted(work(queue.put), gone(), seconds))
    task.add_done_callback(lambda _: queue.end())
    try:
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    piece = await queue.take()
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
