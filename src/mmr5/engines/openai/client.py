"""One HTTP client for an engine's whole life, on an event loop in a thread of its own.

Connections are kept between calls, and the bound on requests under way holds over all callers of the engine, whichever thread
they call from. A process that was forked gets a client of its own. An interrupt (Ctrl-C) drops what its caller has under way.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


class HttpClient:
    """An asynchronous HTTP client that synchronous code, in any thread, can use.

    Args:
        concurrency: requests under way at once, at least 1.
        timeout_s: seconds for connecting, and for each read and write.
        headers: sent with each request.
    """

    def __init__(self, *, concurrency: int, timeout_s: float, headers: dict[str, str]) -> None:
        self._concurrency, self._timeout, self._headers = concurrency, timeout_s, headers
        self._lock = threading.Lock()
        self._held: _Held | None = None

    def run(self, work: Callable[[httpx.AsyncClient, asyncio.Semaphore], Coroutine[Any, Any, T]]) -> T:
        """Run ``work(client, gate)`` to its end; it takes the gate around each request. An interrupt cancels it."""
        held = self._open()
        future: Future[T] = asyncio.run_coroutine_threadsafe(work(held.client, held.gate), held.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the connections and end the thread; the next call opens them again."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            held.close()

    def _open(self) -> _Held:
        with self._lock:
            if self._held is None or self._held.pid != os.getpid():
                self._held = _Held(self._concurrency, self._timeout, self._headers)
                weakref.finalize(self, self._held.close)
            return self._held


class _Held:
    """A loop that runs, with its client and its gate."""

    def __init__(self, concurrency: int, timeout_s: float, headers: dict[str, str]) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self.client = httpx.AsyncClient(timeout=timeout_s, headers=headers, limits=limits)
        self.gate = asyncio.Semaphore(concurrency)
        self._thread = threading.Thread(target=self._serve, name="mmr5-openai", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self._leave())
            self.loop.close()

    async def _leave(self) -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.aclose()

    def close(self) -> None:
        if self.pid == os.getpid() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            if threading.current_thread() is not self._thread:
                self._thread.join(2)
