"""Servers over the scripted engine, in this process and on a local port."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from fastapi.testclient import TestClient

from mmr5.engines.scripted import ScriptedEngine
from mmr5.reranker import Reranker
from mmr5.server.app import create_app
from mmr5.settings import ServerSettings


def png(width: int = 40, height: int = 20, color: str = "white") -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def reverser(request) -> str:
    """A model that prefers the last page."""
    import re

    plain = "".join(p["text"] for m in request.messages for p in m["content"] if p["type"] == "text")
    n = int(re.search(r"id from 1 to (\d+)", plain)[1])
    notes = "".join(f"Image {i}: page {i} is good.\n" for i in range(1, n + 1))
    return f"<think>{notes}</think><answer>{list(range(n, 0, -1))}</answer>"


MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    open_clients = []

    def make(engine=None, *, method="pointwise", view="text", **limits) -> TestClient:
        reranker = Reranker(engine or ScriptedEngine(), method=method, view=view)
        app = create_app(reranker, ServerSettings(**{"retriever": "bm25", "batch_wait_ms": 0, "grace_s": 3, **limits}))
        client = TestClient(app, raise_server_exceptions=True)
        client.__enter__()
        open_clients.append(client)
        return client

    yield make
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    return make_client()


class Live:
    """A server on a local port."""

    def __init__(self, app) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=3))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        until = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(60)  # a loaded machine takes its time, and a server that is half down neither answers nor refuses
        assert not self.thread.is_alive(), "the server does not end"
        self.socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Live]]:
    running = []

    def start(engine=None, *, method="pointwise", view="text", **limits) -> Live:
        reranker = Reranker(engine or ScriptedEngine(), method=method, view=view)
        app = create_app(reranker, ServerSettings(**{"retriever": "bm25", "grace_s": 3, **limits}))
        running.append(Live(app))
        return running[-1]

    yield start
    for live in running:
        live.stop()
