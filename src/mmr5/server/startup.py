"""A server that answers while its model is loaded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from fastapi import FastAPI

from mmr5.server.http_errors import error_body
from mmr5.server.middleware import Message, Receive, Scope, Send

RETRY_S = 5


class LoadingApp:
    """An ASGI application that is built in a thread; until then it is alive and not ready.

    Args:
        build: loads the model and gives the application.
        on_ready: called with the application, in the thread, once it takes requests.
        on_failure: called, in the thread, once ``error`` is set.

    Attributes:
        error: what ``build`` raised.
    """

    def __init__(self, build: Callable[[], FastAPI], on_ready: Callable[[FastAPI], None], on_failure: Callable[[], None]) -> None:
        self._build = build
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._app: FastAPI | None = None
        self.error: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer for an application that is not there yet."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _answer(scope, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Start to load; at the end close what was built."""
        await receive()
        threading.Thread(target=self._load, name="mmr5-load", daemon=True).start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._app is not None:
            async with self._app.router.lifespan_context(self._app):
                pass
        await send({"type": "lifespan.shutdown.complete"})

    def _load(self) -> None:
        try:
            self._app = self._build()
        except BaseException as error:  # the edge of the thread: the command raises it again
            self.error = error
            self._on_failure()
        else:
            self._on_ready(self._app)


async def _answer(scope: Scope, send: Send) -> None:
    """``/health`` is alive; everything else has to wait."""
    if scope["path"] == "/health":
        status, body = 200, {"status": "ok"}
    elif scope["path"] == "/ready":
        status, body = 503, {"status": "loading"}
    else:
        status, body = 503, error_body(503, "the model is being loaded: try again later")
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    headers += [(b"retry-after", str(RETRY_S).encode())] if status == 503 else []
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": content})
