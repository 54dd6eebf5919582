"""Connections, their number and their time; and the log that they cannot fill."""

import base64
import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time

import httpx
import PIL.Image
import pytest
import uvicorn

from mmr5.cli.serve import uvicorn_options
from mmr5.engines.scripted import ScriptedEngine
from mmr5.reranker import Reranker
from mmr5.server.app import create_app
from mmr5.server.logs import RateFilter
from mmr5.server.startup import LoadingApp
from mmr5.settings import ServerSettings


class Bounded:
    """A server as the command runs it, on a local port."""

    def __init__(self, app=None, **limits) -> None:
        settings = ServerSettings(**{"retriever": "bm25", "grace_s": 1, **limits})
        app = app or create_app(Reranker(ScriptedEngine(), method="pointwise", view="text"), settings)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(settings)))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def connect(self, sent=b""):
        connection = socket.create_connection(self.address, timeout=5)
        connection.sendall(sent)
        return connection

    def stop(self):
        self.server.should_exit = True
        self.thread.join(30)
        self.socket.close()


@pytest.fixture
def bounded():
    running = []

    def start(*arguments, **limits):
        running.append(Bounded(*arguments, **limits))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def closed(connection):
    """Whether the other side closes the connection, within five seconds."""
    try:
        while connection.recv(65536):
            continue
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def answered(connection):
    """Read a whole answer of ``/health``."""
    found = b""
    while not found.endswith(b'{"status":"ok"}'):
        found += connection.recv(65536)
    assert b"200 OK" in found


GET = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"\r\n"])
def test_a_head_that_does_not_arrive_is_given_up(bounded, sent):
    with bounded(head_timeout_s=0.3).connect(sent) as connection:
        started = time.monotonic()
        assert closed(connection) and time.monotonic() - started < 3


def test_so_is_a_second_head_and_whole_requests_are_answered(bounded):
    with bounded(head_timeout_s=0.5).connect(GET) as connection:
        answered(connection)
        time.sleep(0.8)  # an idle connection is kept longer than that
        connection.sendall(GET)
        answered(connection)
        connection.sendall(GET[:20])
        assert closed(connection)


def test_a_head_is_bounded(bounded):
    with bounded().connect(b"GET /health HTTP/1.1\r\nX: " + b"a" * 100_000) as connection:
        assert closed(connection)


def test_connections_are_bounded_and_the_others_go_on(bounded):
    server = bounded(max_connections=3)
    kept = [server.connect() for _ in range(3)]
    time.sleep(0.2)
    with server.connect(GET) as refused:
        assert closed(refused)
    kept[0].sendall(GET)
    answered(kept[0])
    for connection in kept:
        connection.close()
    time.sleep(0.2)
    assert httpx.get(server.url + "/health").status_code == 200


def test_an_answer_that_is_not_read_is_given_up(bounded):
    server = bounded(deadline_s=3.0)
    noise = io.BytesIO()
    PIL.Image.effect_noise((1500, 1500), 100).save(noise, "PNG")
    documents = [{"text": "a", "image": base64.b64encode(noise.getvalue()).decode()}] * 8
    body = json.dumps({"query": "q", "documents": documents, "return_documents": True}).encode()
    head = f"POST /rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connections = server.server.server_state.connections
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.address)
        connection.sendall(head.encode() + body)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        until = time.monotonic() + 20
        while connections:
            assert time.monotonic() < until, "the connection is kept"
            time.sleep(0.05)


def test_open_files_bound_the_connections():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))\n"
        "from mmr5.server.connections import most_connections; from mmr5.settings import ServerSettings\n"
        "print(most_connections(ServerSettings()), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["172", "300"]


def test_one_line_instead_of_a_flood(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mmr5.server.logs.time.monotonic", lambda: now[0])
    keep = RateFilter(10)

    def record(line):
        return logging.LogRecord("asyncio", logging.ERROR, "file.py", line, "out of system resource", (), None)

    assert [keep.filter(record(1)) for _ in range(1000)] == [True] + [False] * 999
    assert keep.filter(record(2))
    now[0] = 10.0
    later = record(1)
    assert keep.filter(later) and later.fields == {"left_out": 999}


def test_a_server_answers_while_its_model_is_loaded(bounded):
    go, ready = threading.Event(), []

    def build():
        go.wait(10)
        return create_app(Reranker(ScriptedEngine(), method="pointwise", view="text"), ServerSettings(retriever="bm25"))

    server = bounded(LoadingApp(build, on_ready=ready.append, on_failure=lambda: None))
    body = {"query": "q", "documents": ["a"]}
    assert httpx.get(server.url + "/health").json() == {"status": "ok"}
    for answer in (httpx.get(server.url + "/ready"), httpx.post(server.url + "/v1/rerank", json=body)):
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert ready == []
    go.set()
    until = time.monotonic() + 10
    while httpx.get(server.url + "/ready").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert httpx.post(server.url + "/v1/rerank", json=body).status_code == 200
    service = ready[0].state.service
    server.stop()
    assert not service.batcher.alive and not ready[0].state.store.root.exists()


def test_a_model_that_cannot_be_loaded_ends_the_server():
    failed = threading.Event()

    def build():
        raise ValueError("no such model")

    app = LoadingApp(build, on_ready=lambda app: None, on_failure=failed.set)
    server = Bounded(app)
    assert failed.wait(5) and str(app.error) == "no such model"
    server.stop()


def refused(connection):
    """Read an answer that refuses; returns its status line and how long it took."""
    start, found = time.monotonic(), b""
    while not found.endswith(b"}}") and (read := connection.recv(65536)):
        found += read
    return found.partition(b"\r\n")[0], time.monotonic() - start


@pytest.mark.parametrize("length", [b"20", b"65537", b"20\r\nExpect: 100-continue"])
def test_what_is_refused_by_its_head_waits_for_a_small_body(bounded, length):
    server = bounded()
    head = b"POST /rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://other\r\nContent-Length: " + length + b"\r\n\r\n"
    connection = server.connect(head)
    if length != b"20":
        status, took = refused(connection)
        assert status == b"HTTP/1.1 403 Forbidden" and took < 0.5
        return
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(5)
    connection.sendall(b"x" * 20)
    status, took = refused(connection)
    assert status == b"HTTP/1.1 403 Forbidden" and took < 0.5
    connection.sendall(GET)
    answered(connection)  # and the connection lives on


def test_a_body_that_does_not_come_is_not_awaited_for_long(bounded):
    connection = bounded().connect(
        b"POST /rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://other\r\nContent-Length: 20\r\n\r\n"
    )
    status, took = refused(connection)
    assert status == b"HTTP/1.1 403 Forbidden" and 0.5 < took < 3
