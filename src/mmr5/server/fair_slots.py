"""A few slots that clients take in turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator


class FairSlots:
    """A semaphore that is fair between clients: round robin, and none holds more than its share.

    Args:
        slots: how many are held at once.
        per_client: how many one client holds at once.
    """

    def __init__(self, slots: int, per_client: int) -> None:
        self._free = slots
        self._per_client = per_client
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def slot(self, client: str) -> AsyncIterator[None]:
        """Hold a slot as soon as it is the client's turn."""
        await self._acquire(client)
        try:
            yield
        finally:
            self._release(client)

    async def _acquire(self, client: str) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(future)
        self._grant()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(client)
            raise

    def _release(self, client: str) -> None:
        self._free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._grant()

    def _grant(self) -> None:
        """Give free slots to the clients that waited longest for a turn; a served client goes to the end."""
        while self._free:
            client = next((name for name in self._waiting if self._held[name] < self._per_client), None)
            if client is None:
                return
            queue = self._waiting.pop(client)
            future = queue.popleft()
            if queue:
                self._waiting[client] = queue
            if not future.done():  # cancelled while it waited
                self._free -= 1
                self._held[client] += 1
                future.set_result(None)
