"""How fast ``mmr5 rerank-run`` is with one worker and with two, on this machine, and what its driver bears.

    python benchmarks/rerank_run.py CORPUS RUN [--split dev] [--limit 48] [--workers 1 2] [--threads 1] [--batch 2] [--model mini]
    python benchmarks/rerank_run.py CORPUS RUN --served 0.5 --method direct --view text --batch 8      # bound by waiting
    python benchmarks/rerank_run.py --driver 10000 100000                                             # no model: the driver alone
    python benchmarks/rerank_run.py --made 2000 --batch 1 --limit 2000                              # no model: Ray and the worker

For each number of workers: seconds until the first question is kept (Ray, the model and the corpus are opened), questions a
second after the first eighth, and the most memory that a worker took. ``--served S``: the model is a server, a process of
its own, that answers each request after S seconds. ``--driver N``: a run of N questions whose outcomes cost nothing, in shards
of eight; what the driver alone takes, first and with ``--resume`` over the finished file. ``--made N``: a made corpus of N
questions and the scripted engine, so that what is timed is the way through Ray.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mmr5.corpora import load_corpus
from mmr5.scale.driver import rerank_run
from mmr5.scale.shards import Outcome, Shard
from mmr5.scale.worker import Job
from mmr5.settings import EvaluationSettings, WorkerSettings

EXAMPLE = Path(__file__).parents[1] / "examples" / "harbour-report.pdf"
PAGES, CANDIDATES, DOCUMENT_QUESTIONS = 12, 10, 100


def worker_memory() -> float:
    """MiB of the largest worker process that runs now (resident set)."""
    most = 0.0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_text().startswith("ray::MapWorker"):
                rows = (entry / "status").read_text().splitlines()
                most = max(most, *(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmHWM")))
        except (OSError, TypeError):
            continue
    return most


class Slow(BaseHTTPRequestHandler):
    """Answers each chat request after a while, always with the same words."""

    protocol_version = "HTTP/1.1"
    seconds = 0.0

    def do_POST(self) -> None:
        """Read, wait, answer."""
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.seconds)
        message = {"content": "<answer>[2, 1]</answer>"}
        data = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _serve(seconds: float, port: Any) -> None:
    Slow.seconds = seconds
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    port.value = server.server_port
    server.serve_forever()


@contextmanager
def served(seconds: float | None) -> Iterator[str | None]:
    """The address of a server in a process of its own, or None."""
    if seconds is None:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    process = context.Process(target=_serve, args=(seconds, port), daemon=True)
    process.start()
    try:
        while not port.value:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port.value}"
    finally:
        process.kill()
        process.join()


def measure(job: Job, workers: int, batch: int) -> dict[str, float]:
    """One run into a folder of its own."""
    corpus = load_corpus(job.setup.corpus, ocr=job.setup.ocr).split(job.setup.split)  # type: ignore[arg-type]
    times: list[tuple[float, int]] = []
    memory, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            memory[0] = max(memory[0], worker_memory())

    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        rerank_run(
            job,
            corpus,
            Path(out) / "run",
            WorkerSettings(workers),
            batch=batch,
            progress=lambda _, done, __: times.append((time.perf_counter() - start, done)),
        )
    ended.set()
    last, done = times[-1]
    settled, had = next(found for found in times if found[1] * 8 >= done)
    return {
        "workers": workers,
        "threads": job.threads,
        "first_kept_s": round(times[0][0], 1),
        "questions_per_s": round((done - had) / (last - settled), 3),
        "total_s": round(time.perf_counter() - start, 1),
        "questions": done,
        "worker_mib": round(memory[0]),
        "driver_mib": round(_peak() / 1024),
    }


def large_corpus(folder: Path, questions: int) -> Path:
    """A corpus of copies of one document with so many questions, ten candidates each; the run is beside it."""
    (folder / "pdf").mkdir(parents=True)
    documents = -(-questions // DOCUMENT_QUESTIONS)
    with (folder / "questions.jsonl").open("w") as asked, (folder / "first.trec").open("w") as run:
        for i in range(questions):
            doc_name, k = f"d{i // DOCUMENT_QUESTIONS}", i % DOCUMENT_QUESTIONS
            question = f"What does a night alongside cost in the {k}th week of the year, for a boat of fourteen metres?"
            asked.write(json.dumps({"doc_name": doc_name, "question": question, "page_ids": [k % PAGES]}) + "\n")
            for rank in range(CANDIDATES):
                run.write(f"{doc_name}#{k} Q0 {doc_name}:{(k + rank) % PAGES} {rank + 1} {9.876543 - rank:.6f} first\n")
    for d in range(documents):
        (folder / "pdf" / f"d{d}.pdf").symlink_to(EXAMPLE)
    docs = [{"doc_name": f"d{d}", "domain": "Report", "pages": PAGES} for d in range(documents)]
    (folder / "docs.json").write_text(json.dumps(docs))
    return folder


def free(job: Job, work: Sequence[Shard], workers: WorkerSettings) -> Iterator[Outcome]:
    """Outcomes that cost nothing: the first-stage order turned round."""
    del workers
    facts = {"config": {"model": job.setup.model}, "prompt_fingerprint": "0", "device": "none"}
    for piece in work:
        lines = {}
        for qid, ranked in zip(piece.qids, piece.ranked, strict=True):
            pages = [page for page, _ in ranked]
            scores = [score for _, score in ranked]
            line = {"qid": qid, "doc_name": piece.doc_name, "domain": "Report", "question": "q" * 90, "relevant": [0]}
            line |= {"candidates": pages, "ranking": pages[::-1], "scores": scores, "first_stage_scores": scores}
            line |= {
                "reply": "r" * 1000,
                "latency_ms": {"read": 1.0, "retrieve": 0.0, "model": 1.0},
                "tokens": {"prompt_tokens": 9},
            }
            lines[qid] = json.dumps(line)
        yield Outcome(facts, lines)


def driver(questions: int) -> None:
    """Print one line of JSON: a run of so many questions through the driver alone, in a process of its own."""
    with tempfile.TemporaryDirectory() as made:
        folder = large_corpus(Path(made) / "corpus", questions)
        setup = EvaluationSettings(str(folder), retriever=str(folder / "first.trec"), model="m", ocr="never")
        before = _peak()
        clock = time.perf_counter()
        corpus = load_corpus(str(folder), ocr="never")
        opened, times = time.perf_counter() - clock, []
        for resume in (False, True):
            clock = time.perf_counter()
            rerank_run(Job(setup), corpus, Path(made) / "out", WorkerSettings(1), batch=8, resume=resume, source=free)
            times.append(time.perf_counter() - clock)
        size = (Path(made) / "out" / "run.jsonl").stat().st_size
        found = {
            "questions": questions,
            "corpus_s": round(opened, 1),
            "run_s": round(times[0], 3),
            "resume_s": round(times[1], 1),
            "kib_a_question": round((_peak() - before) / questions, 2),
            "run_bytes_a_question": round(size / questions),
            "first_stage_bytes_a_question": round((folder / "first.trec").stat().st_size / questions),
        }
        print(json.dumps(found), flush=True)
        shutil.rmtree(Path(made) / "out")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure and print one line of JSON a number of workers, or a number of questions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("run", nargs="?")
    parser.add_argument("--driver", type=int, nargs="+", metavar="QUESTIONS")
    parser.add_argument("--made", type=int, metavar="QUESTIONS")
    parser.add_argument("--served", type=float, metavar="SECONDS")
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int, default=48)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--view", default="auto")
    parser.add_argument("--ocr", default="auto")
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    for questions in given.driver or []:
        process = multiprocessing.get_context("spawn").Process(target=driver, args=(questions,))
        process.start()
        process.join()
    if given.driver:
        return
    with tempfile.TemporaryDirectory() as made:
        if given.made is not None:
            folder = large_corpus(Path(made) / "corpus", given.made)
            given.corpus, given.run, given.method, given.view = str(folder), str(folder / "first.trec"), "direct", "text"
        if given.corpus is None or given.run is None:
            parser.error("give CORPUS and RUN, or --made, or --driver")
        how = {"method": given.method, "view": given.view, "ocr": given.ocr, "limit": given.limit}
        engine = "scripted" if given.made else "transformers" if given.served is None else "openai"
        with served(given.served) as url:
            model = {"model": given.model, "engine": engine, "base_url": url, "dtype": given.dtype}
            setup = EvaluationSettings(given.corpus, split=given.split, retriever=given.run, **model, **how)
            for n in given.workers:
                print(json.dumps(measure(Job(setup, given.threads), n, given.batch)), flush=True)


if __name__ == "__main__":
    main()
