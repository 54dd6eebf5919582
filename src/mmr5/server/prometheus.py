"""What the server counts, in Prometheus' format. No label and no value comes from a document or a question."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server; each server has a registry of its own.

    Attributes:
        requests: requests by route and status.
        seconds: their time from the first byte to the last, by route.
        refused: requests that were not answered, by reason.
        inflight: requests that are being worked on.
        queue: requests that wait for the model.
        wait: seconds that requests waited for it.
        model: seconds that a batch took.
        batch_requests: requests in a batch.
        batch_pages: pages in a batch.
        tokens: tokens by direction.
        issues: what was wrong with replies, by kind.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter("mmr5_requests", "Requests by route and status.", ("route", "status"), registry=own)
        self.seconds = Histogram("mmr5_request_seconds", "Time of a request.", ("route",), buckets=_SECONDS, registry=own)
        self.refused = Counter("mmr5_refused", "Requests that were not answered.", ("reason",), registry=own)
        self.inflight = Gauge("mmr5_inflight_requests", "Requests being worked on.", registry=own)
        self.queue = Gauge("mmr5_queue_requests", "Requests waiting for the model.", registry=own)
        self.wait = Histogram("mmr5_queue_wait_seconds", "Time waiting for the model.", buckets=_SECONDS, registry=own)
        self.model = Histogram("mmr5_batch_seconds", "Time of a batch.", buckets=_SECONDS, registry=own)
        self.batch_requests = Histogram("mmr5_batch_requests", "Requests in a batch.", buckets=_COUNTS, registry=own)
        self.batch_pages = Histogram("mmr5_batch_pages", "Pages in a batch.", buckets=_COUNTS, registry=own)
        self.tokens = Counter("mmr5_tokens", "Tokens read and written.", ("direction",), registry=own)
        self.issues = Counter("mmr5_reply_issues", "What was wrong with replies.", ("issue",), registry=own)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
