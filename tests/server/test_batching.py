import threading
import time

import pytest

from mmr5.errors import EngineError, InputError
from mmr5.server.http_errors import WireError
from mmr5.server.prometheus import Metrics
from mmr5.server.request_queue import Batcher
from mmr5.types import Candidates, Page, Ranking


def pages(n=2, query="q"):
    return Candidates(query, tuple(Page(f"d{i}", text="t") for i in range(n)))


class Model:
    """Ranks in order; can be held, and fails on the question 'bad'."""

    def __init__(self, error=None) -> None:
        self.free = threading.Event()
        self.free.set()
        self.batches = []
        self.threads = set()
        self.error = error or InputError("bad one")

    def __call__(self, view, batch, on_text):
        self.threads.add(threading.get_ident())
        self.batches.append([c.query for c in batch])
        self.free.wait(5)
        if any(c.query == "bad" for c in batch):
            raise self.error
        return [Ranking(tuple(range(len(c)))) for c in batch]


@pytest.fixture
def make():
    running = []

    def start(model, **options):
        limits = {"queue_size": 4, "batch_requests": 3, "batch_pages": 100, "batch_wait_s": 0.0, "queue_wait_s": 5.0, **options}
        batcher = Batcher(model, metrics=Metrics(), **limits)
        running.append((model, batcher))
        return batcher

    yield start
    for model, batcher in running:
        model.free.set()
        batcher.close(2)


def busy(model, batcher):
    """Hold the model with one request, so that what follows waits."""
    model.free.clear()
    first = batcher.submit(pages(query="first"), "text", 5)
    until = time.monotonic() + 2
    while not model.batches:
        assert time.monotonic() < until
        time.sleep(0.002)
    return first


def test_waiting_requests_are_ranked_together_by_one_thread(make):
    model = Model()
    batcher = make(model)
    first = busy(model, batcher)
    rest = [batcher.submit(pages(query=str(i)), "text", 5) for i in range(4)]
    model.free.set()
    assert [f.result(2).order for f in [first, *rest]] == [(0, 1)] * 5
    assert model.batches == [["first"], ["0", "1", "2"], ["3"]]
    assert len(model.threads) == 1


def test_a_batch_holds_one_view_and_a_bounded_number_of_pages(make):
    model = Model()
    batcher = make(model, batch_pages=5)
    busy(model, batcher)
    waiting = [
        batcher.submit(pages(9, "a"), "text", 5),
        batcher.submit(pages(2, "b"), "text", 5),
        batcher.submit(pages(2, "c"), "image", 5),
    ]
    model.free.set()
    for future in waiting:
        future.result(2)
    assert model.batches[1:] == [["a"], ["b"], ["c"]]


def test_company_is_waited_for(make):
    model = Model()
    batcher = make(model, batch_wait_s=0.2)
    futures = [batcher.submit(pages(query=str(i)), "text", 5) for i in range(3)]
    for future in futures:
        future.result(2)
    assert model.batches == [["0", "1", "2"]]


def test_a_full_queue_says_when_to_come_again(make):
    model = Model()
    batcher = make(model)
    busy(model, batcher)
    for _ in range(4):
        batcher.submit(pages(), "text", 5)
    with pytest.raises(WireError) as refused:
        batcher.submit(pages(), "text", 5)
    assert refused.value.status == 429 and refused.value.retry_after >= 1


def test_a_client_that_goes_away_frees_its_place_and_is_not_ranked(make):
    model = Model()
    batcher = make(model)
    busy(model, batcher)
    waiting = [batcher.submit(pages(query=str(i)), "text", 5) for i in range(4)]
    waiting[1].cancel()
    assert len(batcher) == 3
    last = batcher.submit(pages(query="last"), "text", 5)
    model.free.set()
    last.result(2)
    assert "1" not in [query for batch in model.batches for query in batch]


def test_a_request_that_waited_too_long_is_refused_unranked(make):
    model = Model()
    batcher = make(model, queue_wait_s=0.05)
    busy(model, batcher)
    late = batcher.submit(pages(query="late"), "text", 5)
    time.sleep(0.1)
    model.free.set()
    with pytest.raises(WireError) as refused:
        late.result(2)
    assert refused.value.status == 503 and refused.value.retry_after >= 1
    assert model.batches == [["first"]]


def test_one_bad_request_does_not_spoil_its_neighbours(make):
    model = Model()
    batcher = make(model)
    busy(model, batcher)
    good, bad = batcher.submit(pages(query="good"), "text", 5), batcher.submit(pages(query="bad"), "text", 5)
    model.free.set()
    assert good.result(2).order == (0, 1)
    with pytest.raises(WireError) as refused:
        bad.result(2)
    assert refused.value.status == 422


def test_a_broken_backend_is_not_asked_again_for_each(make):
    model = Model(EngineError("down", retryable=True))
    batcher = make(model)
    busy(model, batcher)
    waiting = [batcher.submit(pages(query=q), "text", 5) for q in ("good", "bad")]
    model.free.set()
    for future in waiting:
        with pytest.raises(WireError) as refused:
            future.result(2)
        assert refused.value.status == 503 and refused.value.retry_after
    assert len(model.batches) == 2


def test_the_thread_survives_a_bug(make):
    model = Model(ZeroDivisionError("page text"))
    batcher = make(model)
    with pytest.raises(WireError) as refused:
        batcher.submit(pages(query="bad"), "text", 5).result(2)
    assert refused.value.status == 500 and "page text" not in refused.value.message
    assert batcher.submit(pages(), "text", 5).result(2).order == (0, 1)


def test_closing_finishes_what_was_accepted_and_takes_no_more(make):
    model = Model()
    batcher = make(model)
    first = busy(model, batcher)
    waiting = batcher.submit(pages(), "text", 5)
    threading.Timer(0.05, model.free.set).start()
    batcher.close(2)
    assert first.done() and waiting.result(0).order == (0, 1)
    with pytest.raises(WireError) as refused:
        batcher.submit(pages(), "text", 5)
    assert refused.value.status == 503 and not batcher.alive


def test_closing_refuses_what_does_not_finish_in_time(make):
    model = Model()
    batcher = make(model)
    busy(model, batcher)
    waiting = batcher.submit(pages(), "text", 5)
    batcher.close(0.05)
    with pytest.raises(WireError) as refused:
        waiting.result(0)
    assert refused.value.status == 503
