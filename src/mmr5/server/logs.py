"""Log records as JSON lines, and a bound on how many of one kind are written."""

from __future__ import annotations

import json
import logging
import sys
import time

log = logging.getLogger("mmr5.server")
connection_log = logging.getLogger("mmr5.connections")
"""What any client can cause without a request; it is written at a bounded rate."""

_MESSAGE_CHARS = 300


def log_event(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Write one event of the server with its fields; no query, no document, no key may be among them."""
    log.log(level, event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """Log records as one JSON object a line: time, level, event, and the record's ``fields``; never a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        event = record.getMessage()[:_MESSAGE_CHARS]
        base = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": event}
        return json.dumps({**base, **getattr(record, "fields", {})})


class RateFilter(logging.Filter):
    """Lets the first record of a source in each period through; the next period's first one says how many were left out.

    Args:
        seconds: the period.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._state: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; its source is the line of code that made it."""
        source, now = (record.pathname, record.lineno), time.monotonic()
        since, left_out = self._state.get(source, (-self._seconds, 0))
        if now - since < self._seconds:
            self._state[source] = (since, left_out + 1)
            return False
        self._state[source] = (now, 0)
        if left_out:
            record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
        return True


def log_to_stderr() -> None:
    """One JSON object a line on stderr; the records of uvicorn and asyncio, which any client can cause, at a bounded rate."""
    for name in ("mmr5.server", connection_log.name, "uvicorn", "asyncio"):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        if name != "mmr5.server":
            handler.addFilter(RateFilter())
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "mmr5.server" else logging.WARNING)
