"""The reasoning is told while it is written."""

import asyncio
import json
import random
import threading

import httpx
import pytest

from mmr5.answer import parse
from mmr5.engines.base import Reply
from mmr5.engines.scripted import ScriptedEngine
from mmr5.server.batching import Batcher
from mmr5.server.events import THINKING, Outbox
from mmr5.server.metrics import Metrics
from mmr5.server.thoughts import Ear, Thoughts
from mmr5.types import Candidates, Page, Ranking

from .conftest import reverser
from .test_search import REPORT

DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]


class Held(ScriptedEngine):
    """Writes word by word, and waits in the middle of a reply until it is let go."""

    def __init__(self) -> None:
        super().__init__(reverser)
        self.go = threading.Event()

    def generate(self, requests, sampling, on_text=None) -> list[Reply]:
        def tell(position, piece):
            on_text(position, piece)
            if "2" in piece and position == 0:
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


def test_a_client_that_leaves_while_the_model_thinks_stops_nobody_else(serve):
    engine = Held()
    live = serve(engine, method="reason")
    with stream(live.url, "/v1/rerank") as answer:
        next(data for name, data in read(answer.iter_lines()) if name == THINKING)
    engine.go.set()
    with stream(live.url, "/v1/rerank") as answer:
        assert [name for name, _ in read(answer.iter_lines())][-2:] == ["result", "done"]
    assert httpx.get(live.url + "/ready").status_code == 200


def test_methods_that_do_not_think_tell_nothing(client):
    answer = client.post("/v1/rerank", json={"query": "harbour", "documents": DOCS, "stream": True})
    assert THINKING not in [name for name, _ in read(answer.text.splitlines())]


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
    text, thoughts, told = "\n\n".join(replies), Thoughts(), ""
    while text:
        size = dice.randint(1, 9)
        told += thoughts.push(text[:size])
        text = text[size:]
    assert told == "\n\n".join(r for r in (parse(reply, 1).reasoning for reply in replies) if r)


def test_pieces_that_a_client_has_not_taken_become_one():
    async def lag():
        outbox = Outbox()
        outbox.put("accepted", {})
        for i in range(1000):
            outbox.put(THINKING, {"text": str(i % 10)})
        outbox.put("result", {})
        outbox.end()
        taken = []
        while (piece := await outbox.take()) is not None:
            taken.append(piece.decode())
        return taken

    taken = asyncio.run(lag())
    assert len(taken) == 3 and '"' + "0123456789" * 100 + '"' in taken[1]


def test_an_ear_whose_loop_is_gone_does_no_harm():
    async def make():
        return Ear()

    asyncio.run(make())("<think>nobody hears this</think>")


def test_what_is_ranked_again_is_not_told_twice():
    heard = {"a": [], "bad": []}

    def rank(view, batch, on_text):
        for position, candidates in enumerate(batch):
            if on_text is not None:
                on_text(position, candidates.query)
        if any(c.query == "bad" for c in batch):
            raise ValueError
        return [Ranking((0,)) for _ in batch]

    limits = {"queue_size": 4, "batch_requests": 2, "batch_pages": 9, "batch_wait_s": 5.0, "queue_wait_s": 5.0}
    batcher = Batcher(rank, metrics=Metrics(), **limits)
    futures = [batcher.submit(Candidates(q, (Page("d", text="t"),)), "text", 5, heard[q].append) for q in heard]
    assert futures[0].result(5).order == (0,)
    batcher.close(2)
    assert heard == {"a": ["a"], "bad": ["bad"]}
