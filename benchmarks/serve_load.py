"""How the server behaves above its capacity: 4× overload for a bounded time, on 127.0.0.1 only.

    python benchmarks/serve_load.py --seconds 60 --overload 4

It starts a server of its own over a scripted engine that takes a fixed time a request (so that what is measured is the server
and not a model), measures one request at a time, then the capacity, then offers a multiple of it at a fixed rate whether or not
answers come back; at last it kills the server under load and starts it again. One JSON object on stdout; exit status 1 when a
contract is broken: an answer other than 200, 429, 503 or 504, a refusal without Retry-After, p99 of accepted requests above
unloaded p99 + queue wait, or memory that grows.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CONTRACT = frozenset({200, 429, 503, 504})
BATCH = 8
MEMORY_GROWTH = 1.15
"""Resident memory of the last quarter of the overload against its second quarter, at most."""


@dataclass
class Tally:
    """What came back: statuses, times of the 200s in seconds, refusals without Retry-After, broken connections."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    without_retry: int = 0
    broken: int = 0

    def summary(self) -> dict[str, Any]:
        """The tally as JSON values."""
        return {
            "answered": self.statuses[200],
            "refused": {str(status): n for status, n in sorted(self.statuses.items()) if status != 200},
            "refused_without_retry_after": self.without_retry,
            "broken_connections": self.broken,
            "p50_ms": quantile(self.seconds, 0.5),
            "p99_ms": quantile(self.seconds, 0.99),
        }


def quantile(seconds: list[float], share: float) -> float | None:
    """A quantile in milliseconds, by the nearest rank."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1)


def body(documents: int) -> dict[str, Any]:
    """A request with texts, and a picture among them."""
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.new("RGB", (200, 280), "white").save(buffer, "PNG")
    picture = {"text": "a page with a picture", "image": base64.b64encode(buffer.getvalue()).decode()}
    texts = [f"Page {i} tells how the harbour was dredged in {1900 + i}. " * 20 for i in range(documents - 1)]
    return {"query": "When was the harbour dredged?", "documents": [*texts, picture]}


def serve(port: int, model_ms: float, queue_wait: float) -> None:
    """The server under test."""
    from mmr5.cli.serve import open_port, run
    from mmr5.engines.protocol import Request
    from mmr5.engines.scripted import ScriptedEngine
    from mmr5.reranker import Reranker
    from mmr5.server.app import create_app
    from mmr5.settings import ServerSettings

    def slow(request: Request) -> str:
        del request
        time.sleep(model_ms / 1000)
        return "<answer>[2, 1]</answer>"

    settings = ServerSettings(queue_wait_s=queue_wait, batch_requests=BATCH, retriever="bm25")
    run(
        lambda: create_app(Reranker(ScriptedEngine(slow), method="direct", view="text"), settings),
        open_port("127.0.0.1", port),
        settings,
    )


class Server:
    """The process under test."""

    def __init__(self, options: argparse.Namespace) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Start it; returns the seconds until it was ready."""
        started = time.monotonic()
        own = ["--serve", str(self.port), "--model-ms", str(self.options.model_ms), "--queue-wait", str(self.options.queue_wait)]
        self.process = subprocess.Popen([sys.executable, str(Path(__file__).resolve()), *own])
        while time.monotonic() - started < 60:
            try:
                if httpx.get(self.url + "/ready").status_code == 200:
                    return time.monotonic() - started
            except httpx.TransportError:
                time.sleep(0.05)
        raise SystemExit("the server did not start within 60 s")

    def resident_mb(self) -> float:
        """Resident memory in MiB."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def kill(self, how: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        assert self.process is not None
        os.kill(self.process.pid, how)
        self.process.wait(30)


class Client:
    """Asks over kept connections, as many as are needed; plain HTTP/1.1, so that the client costs little beside the server.

    Args:
        server: whom to ask.
        payload: the JSON body of every request.
    """

    def __init__(self, server: Server, payload: bytes) -> None:
        self.port = server.port
        head = f"POST /v1/rerank HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
        self.request = f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, tally: Tally) -> None:
        """One request and what came of it."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(60):
                reader, writer = await self.connection()
                writer.write(self.request)
                status, headers = head_of(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(int(headers["content-length"]))
        except (OSError, EOFError, TimeoutError):
            tally.broken += 1
            return
        if headers.get("connection") == "close":
            writer.close()
        else:
            self.idle.append((reader, writer))
        tally.statuses[status] += 1
        if status == 200:
            tally.seconds.append(time.monotonic() - started)
        elif "retry-after" not in headers:
            tally.without_retry += 1

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A kept connection that the server has not closed since, or a new one."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        """Close what is kept."""
        for _, writer in self.idle:
            writer.close()


def head_of(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, by lower-case name."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def one_at_a_time(server: Server, payload: bytes, requests: int) -> Tally:
    """Requests that meet no other."""
    tally = Tally()
    with contextlib.closing(Client(server, payload)) as client:
        for _ in range(requests):
            await client.ask(tally)
    return tally


async def capacity(server: Server, payload: bytes, seconds: float) -> float:
    """Answers a second with as many clients as a batch holds, twice over."""
    tally = Tally()
    until = time.monotonic() + seconds

    async def loop(client: Client) -> None:
        while time.monotonic() < until:
            await client.ask(tally)

    with contextlib.closing(Client(server, payload)) as client:
        await asyncio.gather(*(loop(client) for _ in range(2 * BATCH)))
    return tally.statuses[200] / seconds


async def overload(
    server: Server, payload: bytes, rate: float, seconds: float, kill_after: float | None = None
) -> tuple[Tally, list[float]]:
    """Offer requests at a fixed rate; returns what came back and the memory, sampled twice a second."""
    tally, memory, tasks = Tally(), [], set()
    started = time.monotonic()
    sent, sampled, killed = 0, 0.0, False
    with contextlib.closing(Client(server, payload)) as client:
        while (now := time.monotonic() - started) < seconds:
            if kill_after is not None and now >= kill_after and not killed:
                await asyncio.to_thread(server.kill, signal.SIGKILL)
                killed = True
            if not killed and now - sampled >= 0.5:
                sampled = now
                memory.append(server.resident_mb())
            while sent < now * rate:
                task = asyncio.create_task(client.ask(tally))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
    return tally, memory


def verdict(unloaded: Tally, loaded: Tally, memory: list[float], options: argparse.Namespace) -> dict[str, bool]:
    """Which contracts hold."""
    quarter = max(1, len(memory) // 4)
    before, after = statistics.mean(memory[quarter : 2 * quarter] or memory), statistics.mean(memory[-quarter:])
    bound = (quantile(unloaded.seconds, 0.99) or 0) + options.queue_wait * 1000
    return {
        "every_answer_by_contract": set(loaded.statuses) <= CONTRACT and loaded.broken == 0,
        "every_refusal_says_when_to_return": loaded.without_retry == 0,
        "p99_within_bound": (quantile(loaded.seconds, 0.99) or 0) <= bound,
        "memory_flat": after <= before * MEMORY_GROWTH,
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of overload, at most 300")
    parser.add_argument("--overload", type=float, default=4, help="times the measured capacity, at most 10")
    parser.add_argument("--documents", type=int, default=10, help="a request")
    parser.add_argument("--model-ms", type=float, default=30, help="what the scripted model takes a request")
    parser.add_argument("--queue-wait", type=float, default=2, help="the server's longest wait, in seconds")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 0 < options.seconds <= 300 or not 0 < options.overload <= 10:
        parser.error("--seconds is at most 300 and --overload at most 10: this is a bounded load")
    return options


def main() -> int:
    """Run all parts; returns the exit status."""
    options = parse_arguments()
    if options.serve is not None:
        serve(options.serve, options.model_ms, options.queue_wait)
        return 0
    payload = json.dumps(body(options.documents)).encode()
    server = Server(options)
    ready = server.start()
    try:
        unloaded = asyncio.run(one_at_a_time(server, payload, 50))
        per_second = asyncio.run(capacity(server, payload, 5))
        loaded, memory = asyncio.run(overload(server, payload, per_second * options.overload, options.seconds))
        after = asyncio.run(one_at_a_time(server, payload, 20))
        asyncio.run(overload(server, payload, per_second * options.overload, 3, kill_after=1))
        restart = server.start()
        restarted = asyncio.run(one_at_a_time(server, payload, 20))
        server.kill(signal.SIGTERM)
    finally:
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
    holds = verdict(unloaded, loaded, memory, options)
    holds["same_after_overload"] = after.statuses == Counter({200: 20})
    holds["same_after_kill_9"] = restarted.statuses == Counter({200: 20})
    report = {
        "command": " ".join(["python", "benchmarks/serve_load.py", *sys.argv[1:]]),
        "cores": os.cpu_count(),
        "ready_s": round(ready, 2),
        "unloaded": unloaded.summary(),
        "capacity_per_s": round(per_second, 1),
        "offered_per_s": round(per_second * options.overload, 1),
        "overload_s": options.seconds,
        "overloaded": loaded.summary(),
        "memory_mb": {"first": round(memory[0], 1), "peak": round(max(memory), 1), "last": round(memory[-1], 1)},
        "after_overload": after.summary(),
        "restart_after_kill_9_s": round(restart, 2),
        "holds": holds,
    }
    print(json.dumps(report, indent=2))
    return 0 if all(holds.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
