"""The reasoning is told while it is written."""

import asyncio
import json
import random
import threading
import time

import httpx
import pytest

from mmr5.answer import fold, parse
from mmr5.engines.protocol import Reply
from mmr5.engines.scripted import ScriptedEngine
from mmr5.server.events import NOTE, THINKING, EventQueue
from mmr5.server.prometheus import Metrics
from mmr5.server.request_queue import Batcher
from mmr5.server.stream_parser import NoteParser, ReasoningParser, TextRelay
from mmr5.types import Candidates, Page, Ranking

from .conftest import reverser
from .test_search import REPORT

DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]


class Held(ScriptedEngine):
    """Writes word by word, and waits at a word of a reply until it is let go."""

    def __init__(self, script=reverser, word="2") -> None:
        super().__init__(script)
        self.go, self.word = threading.Event(), word

    def generate(self, requests, sampling, on_text=None) -> list[Reply]:
        def tell(position, piece):
            on_text(position, piece)
            if self.word in piece and position == 0:
                assert self.go.wait(20)

        return super().generate(requests, sampling, None if on_text is None else tell)


def read(lines):
    """Events as they come, (name, data)."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def stream(url, path):
    form = {"data": {"query": "harbour", "stream": "true"}, "files": [("files", ("r.pdf", REPORT, "application/pdf"))]}
    body = {"json": {"query": "harbour", "documents": DOCS, "stream": True}}
    return httpx.stream("POST", url + path, timeout=60, **(form if path == "/v1/search" else body))


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/search"])
def test_the_reasoning_comes_before_the_model_is_done_and_is_whole_in_the_end(serve, path):
    engine = Held()
    live = serve(engine, method="reason")
    found = []
    with stream(live.url, path) as answer:
        for name, data in read(answer.iter_lines()):
            if name == THINKING and not engine.go.is_set():
                engine.go.set()
            found.append((name, data))
    assert engine.go.is_set()
    names = [name for name, _ in found]
    last = len(names) - 1 - names[::-1].index(THINKING)
    assert names.index("candidates" if path == "/v1/search" else "accepted") < names.index(THINKING)
    assert last < names.index("page") < names.index("reasoning") < names.index("result")
    told = "".join(data["text"] for name, data in found if name == THINKING)
    assert told == dict(found)["reasoning"]["reasoning"] == dict(found)["result"]["reasoning"]
    assert "Image 3" in told and "answer" not in told


def annotator(request) -> str:
    """A model whose note on the page about dredging is borne out by it, and whose other notes are not."""
    page = "".join(part["text"] for part in request.messages[-1]["content"] if part["type"] == "text")
    return "  The harbour   was dredged\tin 1931.\n" if "1931" in page.partition("Question:")[0] else " It speaks of whales.\n"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/search"])
def test_notes_come_by_page_before_the_model_is_done_and_what_counts_comes_with_the_page(serve, path):
    engine = Held(annotator, "dredged")
    live = serve(engine, method="pointwise")
    told, found = {}, []
    with stream(live.url, path) as answer:
        for name, data in read(answer.iter_lines()):
            if name == NOTE:
                told[data["index"]] = told.get(data["index"], "") + data["text"]
                assert engine.go.is_set() or set(told) == {1}
                if told == {1: "The harbour was dredged"}:
                    engine.go.set()
            found.append((name, data))
    assert engine.go.is_set()
    assert told == {0: "It speaks of whales.", 1: "The harbour was dredged in 1931.", 2: "It speaks of whales."}
    names = [name for name, _ in found]
    assert names.index("candidates" if path == "/v1/search" else "accepted") < names.index(NOTE)
    assert len(names) - 1 - names[::-1].index(NOTE) < names.index("page")
    assert THINKING not in names and "reasoning" not in names
    kept = {data["index"]: data.get("reason", data.get("reasoning")) for name, data in found if name == "page"}
    assert kept == {0: None, 1: told[1], 2: None}


def test_a_client_that_leaves_while_the_model_thinks_stops_nobody_else(serve):
    engine = Held()
    live = serve(engine, method="reason")
    with stream(live.url, "/v1/rerank") as answer:
        next(data for name, data in read(answer.iter_lines()) if name == THINKING)
    engine.go.set()
    with stream(live.url, "/v1/rerank") as answer:
        assert [name for name, _ in read(answer.iter_lines())][-2:] == ["result", "done"]
    assert httpx.get(live.url + "/ready").status_code == 200


def test_methods_that_write_nothing_tell_nothing(make_client):
    answer = make_client(method="likelihood").post("/v1/rerank", json={"query": "harbour", "documents": DOCS, "stream": True})
    names = [name for name, _ in read(answer.text.splitlines())]
    assert "result" in names and not {THINKING, NOTE} & set(names)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_joined_are_the_parsed_reasoning(seed):
    dice = random.Random(seed)
    replies = [
        "<think>\n a < b, <b>bold</b>\n\n c  d </think><answer>[1]</answer>",
        "  <THINK>x\n</Think> <answer>[1]</answer>",
        "<think></think><answer>[1]</answer>",
        "<answer>[1]</answer>",
    ]
    dice.shuffle(replies)
    text, thoughts, told = "\n\n".join(replies), ReasoningParser(), ""
    while text:
        size = dice.randint(1, 9)
        told += thoughts.push(text[:size])
        text = text[size:]
    assert told == "\n\n".join(r for r in (parse(reply, 1).reasoning for reply in replies) if r)


@pytest.mark.parametrize("piece", [" ", "<", "x ", "<think>"])
def test_a_long_piece_of_a_reply_is_heard_in_time(piece):
    thoughts, text = ReasoningParser(), "x" + piece * (500_000 // len(piece)) + "1"
    start = time.process_time()
    assert thoughts.push("<think>" + text) == text
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("seed", range(10))
def test_pieces_joined_are_the_folded_note(seed):
    dice = random.Random(seed)
    text = "".join(dice.choices("ab ,\n\t\xa0é", k=60))
    rest, note, told = text, NoteParser(), []
    while rest:
        size = dice.randint(1, 5)
        told.append(note.push(rest[:size]))
        rest = rest[size:]
    assert "".join(told) == fold(text)


def test_pieces_of_several_notes_become_one_a_page():
    queue = EventQueue()
    queue.put("stage", {})
    for i in range(300):
        queue.put(NOTE, {"index": i % 3, "text": str(i % 3)})
    queue.put("page", {})
    queue.put(NOTE, {"index": 0, "text": "later"})
    queue.end()

    async def drain():
        return [piece.decode() async for piece in aiter_of(queue)]

    taken = asyncio.run(drain())
    told = [json.loads(piece.split("data: ")[1]) for piece in taken]
    assert told == [{}, *({"index": i, "text": str(i) * 100} for i in range(3)), {}, {"index": 0, "text": "later"}]


async def aiter_of(queue):
    while (piece := await queue.take()) is not None:
        yield piece


def test_pieces_that_a_client_has_not_taken_become_one():
    async def lag():
        queue = EventQueue()
        queue.put("accepted", {})
        for i in range(1000):
            queue.put(THINKING, {"text": str(i % 10)})
        queue.put("result", {})
        queue.end()
        return [piece.decode() async for piece in aiter_of(queue)]

    taken = asyncio.run(lag())
    assert len(taken) == 3 and '"' + "0123456789" * 100 + '"' in taken[1]


def test_a_relay_whose_loop_is_gone_does_no_harm():
    async def make():
        return TextRelay()

    relay = asyncio.run(make())
    relay("<think>nobody hears this</think>")
    relay("nor this", 0)


def test_what_is_ranked_again_is_not_told_twice():
    heard = {"a": [], "bad": []}
    hear = {query: lambda *piece, to=to: to.append(piece) for query, to in heard.items()}

    def rank(view, batch, on_text):
        for position, candidates in enumerate(batch):
            if on_text is not None:
                on_text(position, candidates.query)
                on_text(position, "of a page", 0)
        if any(c.query == "bad" for c in batch):
            raise ValueError
        return [Ranking((0,)) for _ in batch]

    limits = {"queue_size": 4, "batch_requests": 2, "batch_pages": 9, "batch_wait_s": 5.0, "queue_wait_s": 5.0}
    batcher = Batcher(rank, metrics=Metrics(), **limits)
    futures = [batcher.submit(Candidates(q, (Page("d", text="t"),)), "text", 5, hear[q]) for q in heard]
    assert futures[0].result(5).order == (0,)
    batcher.close(2)
    assert heard == {query: [(query, None), ("of a page", 0)] for query in heard}
