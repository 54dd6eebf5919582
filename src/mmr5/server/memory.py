"""A bound on the bytes that all requests hold in memory together."""

from __future__ import annotations

from mmr5.server.http_errors import WireError


class ByteBudget:
    """Bytes that requests hold; used in the event loop only.

    Args:
        limit: most bytes of all requests together.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Reservation:
    """What one request holds of the budget; it is given back at the request's end.

    Args:
        budget: of the server.
        max_fetched: most bytes of all pictures that are fetched for the request.
    """

    def __init__(self, budget: ByteBudget, max_fetched: int) -> None:
        self._budget = budget
        self._max_fetched = max_fetched
        self._held = 0
        self._fetched = 0

    def add(self, size: int) -> None:
        """Hold more bytes.

        Raises:
            WireError: 503, the server's budget is spent.
        """
        if self._budget.used + size > self._budget.limit:
            message = f"the server holds {self._budget.used:,} bytes of requests already: try again later"
            raise WireError(503, message, retry_after=1, reason="memory")
        self._budget.used += size
        self._held += size

    def add_fetched(self, size: int) -> None:
        """Hold more bytes of a fetched picture.

        Raises:
            WireError: 413 for too many of this request, 503 for too many of all.
        """
        self._fetched += size
        if self._fetched > self._max_fetched:
            message = f"the pictures to be fetched hold more than {self._max_fetched:,} bytes in all: send fewer or smaller ones"
            raise WireError(413, message, reason="fetched")
        self.add(size)

    def release(self) -> None:
        """Give all back."""
        self._budget.used -= self._held
        self._held = 0
