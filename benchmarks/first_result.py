"""How long a person waits for the first result about a long PDF: by the command, from nothing, and by a server that is running.

    python benchmarks/first_result.py queueing.pdf "How is the utilization of a closed network computed?"

*Cold*: ``mmr5 rerank`` as a process of its own, weights on disk, nothing kept of the document. *Resident*: ``mmr5 serve`` with
its models loaded (it was asked about another document before); the PDF is sent to ``/v1/search`` with the question, and nothing
is kept of it (*new*), or it was asked another question before (*again*). Each is measured several times, with a cache of its own
each time, and the best and the median are told, in seconds; then the parts of the best run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

PROGRAM = str(Path(sys.executable).with_name("mmr5"))
Run = tuple[float, dict[str, float]]
"""Seconds from asking to the answer, and milliseconds by part as the answer tells them."""


@contextlib.contextmanager
def fresh_cache() -> Iterator[dict[str, str]]:
    """An environment whose cache holds the weights of the user's own and nothing else."""
    own = Path(os.environ.get("MMR5_CACHE", Path.home() / ".cache" / "mmr5"))
    with tempfile.TemporaryDirectory(prefix="mmr5-cache-") as made:
        if (own / "models").is_dir():
            (Path(made) / "models").symlink_to(own / "models")
        yield {**os.environ, "MMR5_CACHE": made}


def cold(pdf: Path, question: str, flags: Sequence[str]) -> Run:
    """One run of ``mmr5 rerank``."""
    with fresh_cache() as environment:
        start = time.perf_counter()
        done = subprocess.run(
            [PROGRAM, "rerank", question, str(pdf), "--json", *flags],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return time.perf_counter() - start, json.loads(done.stdout)["timings_ms"]


class Server:
    """``mmr5 serve`` on a free port of this machine."""

    def __init__(self, flags: Sequence[str], environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [PROGRAM, "serve", "--port", str(port), "--deadline", "600", *flags]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(self.url + "/ready", timeout=5).status_code == httpx.codes.OK:
                    return
            if self.process.poll() is not None:
                raise SystemExit(f"mmr5 serve ended with {self.process.returncode}")
            time.sleep(0.2)

    def ask(self, file: Path, question: str) -> Run:
        """One question about a file that is sent along."""
        start = time.perf_counter()
        with file.open("rb") as data:
            reply = httpx.post(self.url + "/v1/search", data={"query": question}, files={"files": (file.name, data)}, timeout=600)
        reply.raise_for_status()
        return time.perf_counter() - start, reply.json()["timings_ms"]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


def resident(pdf: Path, question: str, other: Path, flags: Sequence[str]) -> tuple[Run, Run]:
    """A running server asked about a PDF that is new to it, and asked again."""
    with fresh_cache() as environment:
        server = Server(flags, environment)
        try:
            server.ask(other, "What is this about?")
            new = server.ask(pdf, question)
            return new, server.ask(pdf, question + " And why is that so?")
        finally:
            server.stop()


def told(name: str, runs: Sequence[Run]) -> str:
    """One line of Markdown."""
    seconds = sorted(run[0] for run in runs)
    parts = " · ".join(f"{part} {ms:.0f} ms" for part, ms in min(runs, key=lambda run: run[0])[1].items())
    return f"| {name} | {seconds[0]:.2f} | {statistics.median(seconds):.2f} | {parts} |"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pdf", type=Path)
    parser.add_argument("question")
    parser.add_argument("--other", type=Path, default=Path(__file__).parents[1] / "examples" / "harbour-report.pdf")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("cold", "resident"))
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="last: flags of mmr5 rerank and mmr5 serve")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = parse(argv)
    if not args.pdf.is_file():
        raise SystemExit(f"{args.pdf} is no file")
    print("| way | best, s | median, s | parts of the best |\n|---|---:|---:|---|", flush=True)
    if args.only != "resident":
        print(told("cold", [cold(args.pdf, args.question, args.flags) for _ in range(args.runs)]), flush=True)
    if args.only != "cold":
        pairs = [resident(args.pdf, args.question, args.other, args.flags) for _ in range(args.runs)]
        print(told("resident, new", [new for new, _ in pairs]), flush=True)
        print(told("resident, again", [again for _, again in pairs]), flush=True)


if __name__ == "__main__":
    main()
