"""One thread owns the model; requests of all connections meet in a bounded queue and are ranked together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from mmr5.errors import EngineError, MMR5Error
from mmr5.methods import TextCallback
from mmr5.server.http_errors import WireError, from_error
from mmr5.server.prometheus import Metrics
from mmr5.types import Candidates, Ranking, View

Rank = Callable[[View, Sequence[Candidates], TextCallback | None], list[Ranking | MMR5Error]]
"""Ranks candidate lists of one view; text is reported while it is written, by position in the batch."""

OnJobText = Callable[[str, int | None], None]
"""Called from the model's thread with each piece of text and the position of the page that it is about, None where it is about
the whole list; it must neither block nor raise."""

log = logging.getLogger("mmr5.server")


@dataclass(slots=True)
class Job:
    """A request on its way through the queue.

    Attributes:
        candidates: what is to be ranked.
        view: how its pages enter the prompt.
        expires: ``time.monotonic()`` after which it is not worth starting.
        on_text: called with what the model writes.
        future: gets the ranking or a :class:`WireError`; cancelling it frees its place.
        queued: when it was accepted.
    """

    candidates: Candidates
    view: View
    expires: float
    on_text: OnJobText | None = None
    future: Future[Ranking] = field(default_factory=Future)
    queued: float = field(default_factory=time.monotonic)


class Batcher:
    """The queue and the thread behind it.

    Args:
        rank: called by the one thread only.
        queue_size: most jobs that wait.
        batch_requests: most jobs that are ranked together.
        batch_pages: most pages that are ranked together.
        batch_wait_s: how long the first job of a batch waits for others.
        queue_wait_s: longest wait in the queue.
        metrics: counters and gauges.
    """

    def __init__(
        self,
        rank: Rank,
        *,
        queue_size: int,
        batch_requests: int,
        batch_pages: int,
        batch_wait_s: float,
        queue_wait_s: float,
        metrics: Metrics,
    ) -> None:
        self._rank = rank
        self._queue_size = queue_size
        self._batch_requests = batch_requests
        self._batch_pages = batch_pages
        self._batch_wait_s = batch_wait_s
        self._queue_wait_s = queue_wait_s
        self._metrics = metrics
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._seconds = 1.0
        self._thread = threading.Thread(target=self._run, name="mmr5-model", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are taken: the thread runs and is not stopping."""
        return self._thread.is_alive() and not self._closing

    def __len__(self) -> int:
        return len(self._jobs)

    def submit(self, candidates: Candidates, view: View, deadline_s: float, on_text: OnJobText | None = None) -> Future[Ranking]:
        """Queue a list.

        Args:
            candidates: what is to be ranked.
            view: how its pages enter the prompt.
            deadline_s: seconds that the request has left.
            on_text: called with the reply while it is written.

        Raises:
            WireError: 429 when the queue is full, 503 when the server stops.
        """
        job = Job(candidates, view, time.monotonic() + min(deadline_s, self._queue_wait_s), on_text)
        with self._wake:
            if not self.alive:
                raise WireError(503, "the server is stopping: try again", retry_after=5, reason="stopping")
            if len(self._jobs) >= self._queue_size:
                self._drop_done()
            if len(self._jobs) >= self._queue_size:
                message = f"{len(self._jobs)} requests are waiting already: try again later"
                raise WireError(429, message, retry_after=self.retry_after(), reason="queue_full")
            self._jobs.append(job)
            self._metrics.queue.set(len(self._jobs))
            self._wake.notify()
        job.future.add_done_callback(self._on_done)
        return job.future

    def retry_after(self) -> int:
        """Whole seconds after which the queue has probably moved, 1 to 60."""
        batches = len(self._jobs) / self._batch_requests
        return min(60, max(1, math.ceil(batches * self._seconds)))

    def close(self, grace_s: float) -> None:
        """Take no more jobs, finish those that were accepted, and refuse what is left after ``grace_s`` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(grace_s)
        with self._wake:
            left = list(self._jobs)
            self._jobs.clear()
        for job in left:
            _fail(job, WireError(503, "the server stopped: try again", retry_after=5, reason="stopping"))

    def _on_done(self, future: Future[Ranking]) -> None:
        """Free the place of a cancelled job at once."""
        if not future.cancelled():
            return
        self._metrics.refused.labels("client_gone").inc()
        with self._wake:
            self._drop_done()

    def _drop_done(self) -> None:
        """Leave out jobs whose future is done; the lock is held."""
        if any(job.future.done() for job in self._jobs):
            self._jobs = deque(job for job in self._jobs if not job.future.done())
            self._metrics.queue.set(len(self._jobs))

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                self._serve(batch)

    def _next(self) -> list[Job] | None:
        """The next batch, in order of arrival and of one view; empty when all of it had expired, None at the end."""
        with self._wake:
            while not self._jobs:
                if self._closing:
                    return None
                self._wake.wait()
            if self._batch_wait_s and not self._closing:
                until = self._jobs[0].queued + self._batch_wait_s
                while len(self._jobs) < self._batch_requests and (left := until - time.monotonic()) > 0:
                    self._wake.wait(left)
            taken = self._take()
            self._metrics.queue.set(len(self._jobs))
        now = time.monotonic()
        return [job for job in taken if self._start(job, now)]

    def _take(self) -> list[Job]:
        """Pop jobs of one view from the front while they fit; the lock is held."""
        taken: list[Job] = []
        pages = 0
        while self._jobs and len(taken) < self._batch_requests:
            job = self._jobs[0]
            pages += len(job.candidates)
            if taken and (job.view != taken[0].view or pages > self._batch_pages):
                break
            taken.append(self._jobs.popleft())
        return taken

    def _start(self, job: Job, now: float) -> bool:
        if not job.future.set_running_or_notify_cancel():
            return False
        self._metrics.wait.observe(now - job.queued)
        if now <= job.expires:
            return True
        waited = f"the request waited {now - job.queued:.1f} s for the model: try again later"
        _fail(job, WireError(503, waited, retry_after=self.retry_after(), reason="queue_wait"))
        return False

    def _serve(self, batch: list[Job], *, again: bool = False) -> None:
        start = time.monotonic()
        self._metrics.batch_requests.observe(len(batch))
        self._metrics.batch_pages.observe(sum(len(job.candidates) for job in batch))
        try:
            callback = None if again else _text_callback(batch)  # a second ranking would report its text twice
            rankings = self._rank(batch[0].view, [job.candidates for job in batch], callback)
        except Exception as error:  # the edge of the thread: whatever fails is the answer of these requests alone
            if len(batch) > 1 and not isinstance(error, EngineError):
                for job in batch:  # one of them cannot be ranked: the others must not pay for it
                    self._serve([job], again=True)
            else:
                for job in batch:
                    _fail(job, as_refusal(error))
        else:
            for job, found in zip(batch, rankings, strict=True):
                if isinstance(found, Ranking):
                    _finish(job, found)
                else:
                    _fail(job, as_refusal(found))
        spent = time.monotonic() - start
        self._seconds = 0.8 * self._seconds + 0.2 * spent
        self._metrics.model.observe(spent)


def _text_callback(batch: Sequence[Job]) -> TextCallback | None:
    """From position to job; None when no job asks for its text."""
    callbacks = [job.on_text for job in batch]
    if not any(callbacks):
        return None

    def on_writing(position: int, text: str, page: int | None = None, /) -> None:
        callback = callbacks[position]
        if callback is not None:
            callback(text, page)

    return on_writing


def as_refusal(error: Exception) -> WireError:
    """The refusal that a client gets for an error; a bug's message may quote documents: its kind and place alone are logged."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, MMR5Error):
        return from_error(error)
    log.error("internal_error", extra={"fields": {"kind": type(error).__name__, "at": _place(error)}})
    return WireError(500, "the server failed: see its log", reason="internal")


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "unknown" if trace is None else f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"


def _fail(job: Job, error: WireError) -> None:
    try:
        job.future.set_exception(error)
    except InvalidStateError:
        return


def _finish(job: Job, ranking: Ranking) -> None:
    try:
        job.future.set_result(ranking)
    except InvalidStateError:
        return
