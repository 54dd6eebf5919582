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
        self._turns = 0
        self._last_turn: dict[str, int] = {}

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
        if client not in self._waiting and client not in self._held:
            self._last_turn.pop(client, None)

    def _grant(self) -> None:
        """Give free slots to the waiting clients whose last turn is longest ago."""
        while self._free:
            able = [client for client in self._waiting if self._held[client] < self._per_client]
            if not able:
                return
            client = min(able, key=lambda name: self._last_turn.get(name, 0))
            future = self._waiting[client].popleft()
            if not self._waiting[client]:
                del self._waiting[client]
            if not future.done():  # cancelled while it waited
                self._turns += 1
                self._last_turn[client] = self._turns
                self._free -= 1
                self._held[client] += 1
                future.set_result(None)
