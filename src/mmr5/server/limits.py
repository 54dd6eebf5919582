"""The door: keys, sizes, numbers and times, checked before a request is read; a log line and a count after it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from mmr5.server.metrics import Metrics
from mmr5.server.problems import WireError, error_body, error_headers
from mmr5.server.settings import ServerSettings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""What needs no key: it says nothing about documents, and a load balancer has no key."""
OPEN_FOLDER = "/static/"
UPLOAD_PATHS = frozenset({"/v1/files", "/v1/search"})

log = logging.getLogger("mmr5.server")


def key_is_known(authorization: str | None, keys: Iterable[str]) -> bool:
    """Whether a header carries one of the keys, in a time that depends neither on the keys nor on which one matches.

    Args:
        authorization: the header's value, ``Bearer <key>``; None when there is none.
        keys: the keys that are let in.
    """
    scheme, _, given = (authorization or "").partition(" ")
    sent = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
    found = False
    for key in keys:
        found |= hmac.compare_digest(sent, hashlib.sha256(key.encode()).digest())
    return found and scheme.lower() == "bearer"


def stranger(headers: Mapping[bytes, str], hosts: Collection[str]) -> WireError | None:
    """The refusal for a request that another site's page sent through a visitor's browser, or that goes to another host's name.

    Args:
        headers: by lower-case name.
        hosts: names that ``Host`` may carry; empty lets all pass.
    """
    host = headers.get(b"host", "")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if hosts and name.lower().strip("[]") not in hosts:
        return WireError(
            403, "the server does not go by the name in Host: use the address that it prints at its start", reason="host"
        )
    origin = headers.get(b"origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return WireError(403, "pages of other sites may not call this server from a browser", reason="origin")
    return None


@dataclass(slots=True)
class _Visit:
    """What the door knows of a request while it is in the house."""

    path: str
    started: float
    request_id: str
    status: int = 0
    refused: WireError | None = None


class Door:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        settings: the limits.
        metrics: told of every request.
    """

    def __init__(self, app: App, settings: ServerSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope["path"], time.monotonic(), uuid.uuid4().hex)
        scope.setdefault("state", {})["request_id"] = visit.request_id
        counted = scope["method"] == "POST" or visit.path.startswith("/v1/")
        send = self._watched(send, visit)
        refusal = self._refusal(scope, visit, counted=counted)
        self._inside += counted
        self._metrics.inflight.set(self._inside)
        try:
            if refusal is not None:
                visit.refused = refusal
                await _refuse(send, refusal)
            else:
                await self._inner(scope, receive, send, visit)
        finally:
            self._inside -= counted
            self._metrics.inflight.set(self._inside)
            self._note(scope, visit)

    def _refusal(self, scope: Scope, visit: _Visit, *, counted: bool) -> WireError | None:
        """Why a request is not let in, from its headers alone."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if (refusal := stranger(headers, self._settings.hosts)) is not None:
            return refusal
        is_open = visit.path in OPEN_PATHS or visit.path.startswith(OPEN_FOLDER)
        keys = () if is_open else self._settings.api_keys
        if keys and not key_is_known(headers.get(b"authorization"), keys):
            return WireError(401, "an API key is needed: send it as 'Authorization: Bearer <key>'", reason="key")
        length = headers.get(b"content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._max_bytes(visit.path):
            return self._too_large(visit.path)
        if counted and self._inside >= self._settings.max_inflight:
            message = f"{self._inside} requests are being worked on already: try again later"
            return WireError(429, message, retry_after=1, reason="inflight")
        return None

    async def _inner(self, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        """Run the application with a body that ends in time and within its size."""
        left = self._max_bytes(visit.path)
        until = visit.started + self._settings.deadline_s
        complete = False

        async def bounded() -> Message:
            nonlocal left, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):  # wait_for can lose a cancellation in 3.11
                    message = await receive()
            except TimeoutError:
                visit.refused = WireError(408, "the request did not arrive in time: send it faster", reason="slow")
                return {"type": "http.disconnect"}
            left -= len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if left < 0:
                visit.refused = self._too_large(visit.path)
                return {"type": "http.disconnect"}
            return message

        async def instead(message: Message) -> None:
            if visit.refused is None or visit.status:
                await send(message)

        try:
            await self._app(scope, bounded, instead)
        except Exception as error:  # the outermost edge: a traceback's message may quote a document, so its kind alone is logged
            if visit.refused is None:
                _log("internal_error", {"request_id": visit.request_id, "kind": type(error).__name__})
                visit.refused = WireError(500, "the server failed: see its log", reason="internal")
        if visit.refused is not None and not visit.status:
            await _refuse(send, visit.refused)

    def _max_bytes(self, path: str) -> int:
        settings = self._settings
        return settings.max_upload_bytes if path in UPLOAD_PATHS else settings.max_body_bytes

    def _too_large(self, path: str) -> WireError:
        message = f"the body is larger than {self._max_bytes(path):,} bytes: send fewer or smaller documents"
        return WireError(413, message, reason="body")

    def _watched(self, send: Send, visit: _Visit) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                named = [(b"x-request-id", visit.request_id.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message.get("headers", ()), *named]}
            await send(message)

        return watched

    def _note(self, scope: Scope, visit: _Visit) -> None:
        """Count and log a request: no query, no document, no key."""
        spent = time.monotonic() - visit.started
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(visit.status)).inc()
        self._metrics.seconds.labels(route).observe(spent)
        if visit.refused is not None:
            self._metrics.refused.labels(visit.refused.reason).inc()
        fields = {
            "request_id": visit.request_id,
            "method": scope["method"],
            "route": route,
            "status": visit.status,
            "ms": round(spent * 1000, 1),
            **scope["state"].get("log", {}),
        }
        _log("request", fields)


class JsonLines(logging.Formatter):
    """Log records as one JSON object a line: time, level, event, and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        base = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps({**base, **getattr(record, "fields", {})})


def _log(event: str, fields: dict[str, Any]) -> None:
    log.log(logging.ERROR if event == "internal_error" else logging.INFO, event, extra={"fields": fields})


async def _refuse(send: Send, error: WireError) -> None:
    body = json.dumps(error_body(error.status, error.message)).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error_headers(error.retry_after)}
    if error.status in {408, 413}:
        headers["Connection"] = "close"
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
