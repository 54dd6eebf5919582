"""ASGI middlewares, one concern each: log, headers, errors, browser origin, API key, number of requests, body."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any

from mmr5.server.http_errors import WireError, error_body, error_headers
from mmr5.server.logs import log_event
from mmr5.server.memory import ByteBudget, Reservation
from mmr5.server.prometheus import Metrics
from mmr5.settings import ServerSettings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/health", "/infinity/health", "/ready", "/docs", "/openapi.json"})
"""What needs no key: it says nothing about documents, and a load balancer has no key."""
PAGE_PATHS = frozenset({"/", "/docs"})
"""What a link on another site may lead to: pages for people that do no work by themselves."""
OPEN_FOLDER = "/static/"
UPLOAD_PATHS = frozenset({"/v1/files", "/v1/search"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
"""An id of a request that is taken over from a proxy or client; any other one is replaced."""
DROPPED_BYTES = 64 * 1024
"""Largest body that is awaited before a request is refused by its head."""
DROPPED_S = 1.0
"""Longest wait for such a body, in seconds."""
FORM_BYTES = 256 * 1024
"""Most bytes of a form without files (URL-encoded)."""


class Middleware:
    """An ASGI middleware for HTTP requests; anything else passes through.

    Args:
        app: the application inside.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http":
            scope.setdefault("state", {})
            await self.handle(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request; ``scope["state"]`` exists."""
        raise NotImplementedError


class RootPathMiddleware(Middleware):
    """Says below which path a proxy shows the server, whether the proxy cuts it off or not.

    Args:
        app: the application inside.
        root_path: without a slash at its end; "" for none.
    """

    def __init__(self, app: App, root_path: str) -> None:
        super().__init__(app)
        self._root_path = root_path

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request; the path then begins with the root path, as ASGI wants it."""
        root, path = self._root_path, scope["path"]
        if root:
            whole = path if path == root or path.startswith(f"{root}/") else root + path
            scope = {**scope, "root_path": root, "path": whole}
        await self.app(scope, receive, send)


class RequestLogMiddleware(Middleware):
    """Gives every request an id, unless it came with one in ``X-Request-ID``; counts and logs it: no query, document or key.

    Args:
        app: the application inside.
        metrics: counters and times.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        super().__init__(app)
        self._metrics = metrics

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request and note it."""
        started, state = time.monotonic(), scope["state"]
        sent = _headers(scope).get(b"x-request-id", "")
        request_id = state["request_id"] = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = _with_headers(message, {b"x-request-id": request_id.encode()})
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            self._note(scope, status, time.monotonic() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope["state"]
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if "refused" in state:
            self._metrics.refused.labels(state["refused"]).inc()
        fields = {"request_id": state["request_id"], "method": scope["method"], "route": route, "status": status}
        log_event("request", **fields, ms=round(seconds * 1000, 1), **state.get("log", {}))


class SecurityHeadersMiddleware(Middleware):
    """Headers by which a browser keeps pages of other sites from reading, loading or framing what the server sends."""

    HEADERS: Mapping[bytes, bytes] = {
        b"x-content-type-options": b"nosniff",
        b"cross-origin-resource-policy": b"same-origin",
        b"x-frame-options": b"DENY",
        b"content-security-policy": b"frame-ancestors 'none'",
    }

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers; one that the application set already stays."""

        async def with_headers(message: Message) -> None:
            await send(_with_headers(message, self.HEADERS) if message["type"] == "http.response.start" else message)

        await self.app(scope, receive, with_headers)


class ErrorMiddleware(Middleware):
    """Answers what nobody caught with a 500; a traceback's message may quote a document, so that its kind alone is logged."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request."""
        guarded = _Guarded(send)
        try:
            await self.app(scope, receive, guarded)
        except Exception as error:  # the outermost edge
            log_event("internal_error", logging.ERROR, request_id=scope["state"].get("request_id"), kind=type(error).__name__)
            if not guarded.started:
                await refuse(scope, send, WireError(500, "the server failed: see its log", reason="internal"))


class HeadMiddleware(Middleware):
    """Answers HEAD as GET, without the body."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request."""
        if scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        done = False

        async def without_body(message: Message) -> None:
            nonlocal done
            if message["type"] == "http.response.start":
                await send(message)
            elif not done:
                done = True
                await send({"type": "http.response.body", "body": b""})

        inner = {**scope, "method": "GET"}
        try:
            await self.app(inner, receive, without_body)
        finally:
            scope["route"] = inner.get("route")  # for the log, which has the outer scope


class OriginMiddleware(Middleware):
    """Refuses requests that a page of another site sent through a visitor's browser, and those to another host's name.

    Args:
        app: the application inside.
        hosts: names that ``Host`` may carry; empty lets all pass.
        origins: sites whose pages may call, as ``Origin`` names them.
    """

    def __init__(self, app: App, hosts: Collection[str], origins: Collection[str] = ()) -> None:
        super().__init__(app)
        self._hosts, self._origins = hosts, frozenset(origin.lower() for origin in origins)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on."""
        headers = _headers(scope)
        refusal = host_refusal(headers, self._hosts)
        if refusal is None and headers.get(b"origin", "").lower() not in self._origins:
            refusal = origin_refusal(headers, scope["method"], route_path(scope))
        if refusal is not None:
            await refuse_unread(scope, receive, send, refusal)
        else:
            await self.app(scope, receive, send)


class ApiKeyMiddleware(Middleware):
    """Asks for an API key where the server has keys; the owner of what is uploaded is named after it.

    Args:
        app: the application inside.
        keys: of which a request must carry one; none lets all pass.
    """

    def __init__(self, app: App, keys: Collection[str]) -> None:
        super().__init__(app)
        self._keys = keys

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on, with ``owner`` and ``client`` in its state."""
        path, authorization = route_path(scope), _headers(scope).get(b"authorization")
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FOLDER)
        if self._keys and not is_open and not key_is_known(authorization, self._keys):
            refusal = WireError(401, "an API key is needed: send it as 'Authorization: Bearer <key>'", reason="key")
            await refuse_unread(scope, receive, send, refusal)
            return
        owner = hashlib.sha256(_bearer(authorization)[1]).hexdigest()[:32] if self._keys else ""
        scope["state"]["owner"] = owner
        scope["state"]["client"] = owner or (scope.get("client") or ("",))[0]
        await self.app(scope, receive, send)


class InflightMiddleware(Middleware):
    """Bounds how many requests are worked on at once.

    Args:
        app: the application inside.
        limit: most requests; more get a 429.
        metrics: shows how many there are.
    """

    def __init__(self, app: App, limit: int, metrics: Metrics) -> None:
        super().__init__(app)
        self._limit = limit
        self._metrics = metrics
        self._count = 0

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or run it; what only reports (health, metrics, the page) does not count."""
        if scope["method"] != "POST" and not route_path(scope).startswith("/v1/"):
            await self.app(scope, receive, send)
        elif self._count >= self._limit:
            message = f"{self._count} requests are being worked on already: try again later"
            await refuse_unread(scope, receive, send, WireError(429, message, retry_after=1, reason="inflight"))
        else:
            self._add(1)
            try:
                await self.app(scope, receive, send)
            finally:
                self._add(-1)

    def _add(self, change: int) -> None:
        self._count += change
        self._metrics.inflight.set(self._count)


class BodyMiddleware(Middleware):
    """Bounds a body's size and the time in which it arrives; what is held of it counts against the server's memory.

    Args:
        app: the application inside.
        settings: the limits.
    """

    def __init__(self, app: App, settings: ServerSettings) -> None:
        super().__init__(app)
        self._settings = settings
        self._budget = ByteBudget(settings.max_held_bytes)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or run it with ``memory``, a :class:`Reservation`, in its state."""
        headers = _headers(scope)
        most = self._max_bytes(route_path(scope), headers)
        if _content_length(headers) > most:
            await refuse(scope, send, too_large(most))
            return
        reservation = scope["state"]["memory"] = Reservation(self._budget, self._settings.max_request_fetch_bytes)
        body, guarded = _Body(receive, most, self._settings.deadline_s, reservation), _Guarded(send)
        guarded.closed = lambda: body.refusal is not None
        try:
            await self.app(scope, body, guarded)
        except Exception:
            if body.refusal is None:
                raise  # else it failed since its body was cut off, and the refusal below says why
        finally:
            reservation.release()
        if body.refusal is not None and not guarded.started:
            await refuse(scope, send, body.refusal)

    def _max_bytes(self, path: str, headers: Mapping[bytes, str]) -> int:
        if path not in UPLOAD_PATHS:
            return self._settings.max_body_bytes
        with_files = headers.get(b"content-type", "").lower().startswith("multipart/form-data")
        return self._settings.max_upload_bytes if with_files else min(FORM_BYTES, self._settings.max_upload_bytes)


class _Body:
    """``receive`` with bounds; once one is broken the application sees its client disconnect."""

    def __init__(self, receive: Receive, most: int, seconds: float, reservation: Reservation) -> None:
        self._receive = receive
        self._most = most
        self._left = most
        self._until = time.monotonic() + seconds
        self._reservation = reservation
        self._complete = False
        self.refusal: WireError | None = None

    async def __call__(self) -> Message:
        """The next message."""
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):  # wait_for can lose a cancellation in 3.11
                message = await self._receive()
            self._count(message)
        except TimeoutError:
            self.refusal = WireError(408, "the request did not arrive in time: send it faster", reason="slow")
        except WireError as error:
            self.refusal = error
        return message if self.refusal is None else {"type": "http.disconnect"}

    def _count(self, message: Message) -> None:
        size = len(message.get("body", b""))
        self._left -= size
        if self._left < 0:
            raise too_large(self._most)
        self._reservation.add(size)
        self._complete = not message.get("more_body", False)


class _Guarded:
    """``send`` that knows whether the answer has begun, and drops one that begins after ``closed``."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.closed: Callable[[], bool] = lambda: False

    async def __call__(self, message: Message) -> None:
        """Send a message."""
        if self.started or not self.closed():
            self.started = True
            await self._send(message)


def key_is_known(authorization: str | None, keys: Iterable[str]) -> bool:
    """Whether a header carries one of the keys, in a time that depends neither on the keys nor on which one matches.

    Args:
        authorization: the header's value, ``Bearer <key>``; None when there is none.
        keys: the keys that are accepted.
    """
    scheme, given = _bearer(authorization)
    sent = hashlib.sha256(given).digest()
    found = False
    for key in keys:
        found |= hmac.compare_digest(sent, hashlib.sha256(key.encode()).digest())
    return found and scheme == "bearer"


def host_refusal(headers: Mapping[bytes, str], hosts: Collection[str]) -> WireError | None:
    """The refusal for a request to a name that is not the server's, as after DNS rebinding.

    Args:
        headers: by lower-case name.
        hosts: names that ``Host`` may carry; empty lets all pass.
    """
    host = headers.get(b"host", "")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if hosts and name.lower().strip("[]") not in hosts:
        return WireError(
            403,
            "the server does not go by the name in Host: use the address that it prints, or start it with --allow-host",
            reason="host",
        )
    return None


def origin_refusal(headers: Mapping[bytes, str], method: str, path: str) -> WireError | None:
    """The refusal for a request that a page of another site caused: by ``Origin``, and by ``Sec-Fetch-Site`` for what has none.

    A link on another site may lead to :data:`PAGE_PATHS` in a tab or window of its own.

    Args:
        headers: by lower-case name.
        method: of the request.
        path: of the request.
    """
    refused = WireError(
        403, "pages of other sites may not call this server from a browser: start it with --allow-origin SITE", reason="origin"
    )
    origin = headers.get(b"origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get(b"host", "").lower():
        return refused
    if headers.get(b"sec-fetch-site", "").lower() not in {"cross-site", "same-site"}:
        return None
    how = headers.get(b"sec-fetch-mode", "").lower(), headers.get(b"sec-fetch-dest", "").lower()
    return None if method == "GET" and path in PAGE_PATHS and how == ("navigate", "document") else refused


def too_large(most: int) -> WireError:
    """The refusal for a body of more than ``most`` bytes."""
    return WireError(413, f"the body is larger than {most:,} bytes: send fewer or smaller documents", reason="body")


async def refuse_unread(scope: Scope, receive: Receive, send: Send, error: WireError) -> None:
    """:func:`refuse` a request whose body nobody has read, once a small body has arrived, which is dropped.

    A proxy that is still sending the body may lose an answer that comes before its end, as Caddy does now and then.
    """
    headers = _headers(scope)
    left = _content_length(headers)
    if left <= DROPPED_BYTES and b"expect" not in headers:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DROPPED_S):
                while left > 0:
                    message = await receive()
                    left = left - len(message.get("body", b"")) if message.get("more_body") else 0
    await refuse(scope, send, error)


async def refuse(scope: Scope, send: Send, error: WireError) -> None:
    """Answer a request with an error's JSON body, and note its reason for the log."""
    scope["state"]["refused"] = error.reason
    body = json.dumps(error_body(error.status, error.message)).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error_headers(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in {408, 413} or error.reason == "memory":
        headers["Connection"] = "close"
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def route_path(scope: Scope) -> str:
    """The path as our routes have it, without the path below which a proxy shows the server."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] or "/" if root and (path == root or path.startswith(f"{root}/")) else path


def _bearer(authorization: str | None) -> tuple[str, bytes]:
    """Scheme in lower case, and the key that was given."""
    scheme, _, given = (authorization or "").partition(" ")
    return scheme.lower(), given.strip().encode("utf-8", "surrogateescape")


def _content_length(headers: Mapping[bytes, str]) -> int:
    """The length that a body is said to have; 0 where none, or no number, is given."""
    length = headers.get(b"content-length", "")
    return int(length[:20]) if length.isascii() and length.isdigit() else 0


def _headers(scope: Scope) -> dict[bytes, str]:
    return {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _with_headers(message: Message, headers: Mapping[bytes, bytes]) -> Message:
    """A response's start with headers that it does not have yet."""
    present = {name.lower() for name, _ in message.get("headers", ())}
    added = [(name, value) for name, value in headers.items() if name not in present]
    return {**message, "headers": [*message.get("headers", ()), *added]}
