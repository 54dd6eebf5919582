"""How fast ``mmr5 rerank-run`` is with one worker and with two, on this machine.

    python benchmarks/rerank_run.py CORPUS RUN [--split dev] [--limit 48] [--workers 1 2] [--model mini] [--engine transformers]

For each number of workers: seconds until the first question is kept (Ray, the model and the corpus are opened), questions a
second from then on, and the most memory that a worker took. Questions are handed out two at a time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

from mmr5.data.corpus import load_corpus
from mmr5.evaluation.benchmark import Setup
from mmr5.scale.cluster import Workers
from mmr5.scale.driver import rerank_run
from mmr5.scale.worker import Job


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


def measure(job: Job, workers: int) -> dict[str, float]:
    """One run into a folder of its own."""
    corpus = load_corpus(job.setup.corpus).split(job.setup.split)
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
            Workers(workers),
            batch=2,
            progress=lambda _, done, __: times.append((time.perf_counter() - start, done)),
        )
    ended.set()
    (first, had), (last, done) = times[0], times[-1]
    return {
        "workers": workers,
        "first_kept_s": round(first, 1),
        "questions_per_s": round((done - had) / (last - first), 3),
        "total_s": round(time.perf_counter() - start, 1),
        "questions": done,
        "worker_mib": round(memory[0]),
    }


def main() -> None:
    """Measure and print one line of JSON a number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("run")
    parser.add_argument("--split")
    parser.add_argument("--limit", type=int, default=48)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    setup = Setup(given.corpus, split=given.split, retriever=given.run, model=given.model, limit=given.limit)
    for n in given.workers:
        print(json.dumps(measure(Job(setup, given.engine, dtype=given.dtype), n)), flush=True)


if __name__ == "__main__":
    main()
