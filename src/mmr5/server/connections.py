"""HTTP connections whose number is bounded, and their time to send a request's head and to take an answer."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from mmr5.server.logs import connection_log
from mmr5.server.settings import ServerSettings

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
    return (
        settings.max_connections
        if soft == resource.RLIM_INFINITY
        else max(1, min(settings.max_connections, soft // 2, soft - RESERVED_DESCRIPTORS))
    )


def protocol(settings: ServerSettings) -> type[H11Protocol]:
    """Uvicorn's protocol with bounds: a connection too many is closed at once, and so is one whose head does not arrive in time.

    Args:
        settings: ``max_connections``, ``head_timeout_s``, and ``deadline_s`` for an answer that the client does not take.
    """
    most, head_seconds, answer_seconds = most_connections(settings), settings.head_timeout_s, settings.deadline_s

    class BoundedProtocol(H11Protocol):
        """One connection."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._head_timer: asyncio.TimerHandle | None = None
            self._answer_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                connection_log.warning("too_many_connections", extra={"fields": {"open": most}})
                transport.abort()
            else:
                self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_idle():
                self._start_timer()
            else:
                self._stop_timer()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._answer_timer = self.loop.call_later(answer_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._answer_timer is not None:
                self._answer_timer.cancel()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self.loop.call_later(head_seconds, self.transport.abort)  # closing waits for a client that does not read

        def _is_idle(self) -> bool:
            """Whether no request is being answered."""
            return self.cycle is None or self.cycle.response_complete

        def _start_timer(self) -> None:
            if self._head_timer is None and not self.transport.is_closing():
                self._head_timer = self.loop.call_later(head_seconds, self._give_up)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _give_up(self) -> None:
            self._head_timer = None
            if self._is_idle():
                self.transport.abort()

    return BoundedProtocol
