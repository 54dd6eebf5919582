"""HTTP connections whose number is bounded, and their time to send a request's head and to take an answer."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from mmr5.server.logs import connection_log
from mmr5.settings import ServerSettings

MAX_HEAD_BYTES = 16 * 1024
"""Most bytes of a request's head."""
RESERVED_DESCRIPTORS = 128
"""Open files that are kept for uploads, processes and the model."""


def most_connections(settings: ServerSettings) -> int:
    """How many connections may be open: the setting's, and no more than the system's limit of open files leaves.

    The limit of this process is raised as far as the system lets it.
    """
    try:
        import resource
    except ImportError:
        return settings.max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    return max(1, min(settings.max_connections, max(soft // 2, soft - RESERVED_DESCRIPTORS)))


class BoundedProtocol(H11Protocol):
    """The protocol of uvicorn with bounds: a connection too many is closed at once, as is one whose head does not arrive in time.

    Attributes:
        most: how many connections may be open.
        head_seconds: longest time from opening, or from the first byte after an answer, to the end of a head.
        answer_seconds: longest time in which a client takes nothing of an answer that does not fit the buffers.
    """

    most: ClassVar[int]
    head_seconds: ClassVar[float]
    answer_seconds: ClassVar[float]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or close it."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            connection_log.warning("too_many_connections", extra={"fields": {"open": self.most}})
            transport.abort()
        else:
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_head_timer()
        self._stop_answer_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read; the timer of a head runs while no request is being answered."""
        super().data_received(data)
        if self._is_idle():
            self._start_head_timer()
        else:
            self._stop_head_timer()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting for the client to read."""
        super().resume_writing()
        self._stop_answer_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also when its client does not read."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.head_seconds, self.transport.abort)

    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _start_head_timer(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._is_idle():
            self.transport.abort()


def protocol(settings: ServerSettings) -> type[BoundedProtocol]:
    """:class:`BoundedProtocol` with a server's limits.

    Args:
        settings: ``max_connections``, ``head_timeout_s``, and ``deadline_s`` for an answer that the client does not take.
    """
    limits = {
        "most": most_connections(settings),
        "head_seconds": settings.head_timeout_s,
        "answer_seconds": settings.deadline_s,
    }
    return type("LimitedProtocol", (BoundedProtocol,), limits)
